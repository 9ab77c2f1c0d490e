CREATE TABLE IF NOT EXISTS ads_top_error
(
    `window_start` DateTime('UTC'),
    `window_end` DateTime('UTC'),
    `agent` LowCardinality(String),
    `rank` UInt16,
    `step_type` LowCardinality(String),
    `tool_name` LowCardinality(String),
    `model` LowCardinality(String),
    `error_type` LowCardinality(String),
    `count` UInt64,
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
