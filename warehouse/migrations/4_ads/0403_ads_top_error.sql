CREATE TABLE IF NOT EXISTS ads_top_error
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent',
    `rank` UInt16 COMMENT 'Rank in the window, from 1',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none',
    `model` LowCardinality(String) COMMENT 'Model, empty where none',
    `error_type` LowCardinality(String) COMMENT 'Kind of the error',
    `count` UInt64 COMMENT 'Errors',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The most frequent errors of an agent in a window';
