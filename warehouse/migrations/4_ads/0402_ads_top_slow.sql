CREATE TABLE IF NOT EXISTS ads_top_slow
(
    `window_start` DateTime('UTC'),
    `window_end` DateTime('UTC'),
    `agent` LowCardinality(String),
    `rank` UInt16,
    `trace_id` String,
    `span_id` String,
    `session_id` String,
    `name` LowCardinality(String),
    `step_type` LowCardinality(String),
    `tool_name` LowCardinality(String),
    `model` LowCardinality(String),
    `status` LowCardinality(String),
    `start_time` DateTime64(6, 'UTC'),
    `duration_us` UInt64,
    `cost_nanousd` UInt64,
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
