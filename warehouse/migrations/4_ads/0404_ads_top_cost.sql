CREATE TABLE IF NOT EXISTS ads_top_cost
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent',
    `rank` UInt16 COMMENT 'Rank in the window, from 1',
    `trace_id` String COMMENT 'Trace id',
    `span_id` String COMMENT 'Span id',
    `session_id` String COMMENT 'Session id that the span itself gives',
    `name` LowCardinality(String) COMMENT 'Name of the span',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none',
    `model` LowCardinality(String) COMMENT 'Model, empty where none',
    `status` LowCardinality(String) COMMENT 'ok, error or unset',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start' CODEC(Delta, ZSTD(1)),
    `duration_us` UInt64 COMMENT 'Duration, µs',
    `cost_nanousd` UInt64 COMMENT 'Cost, nano-dollars',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The most expensive steps of an agent in a window';
