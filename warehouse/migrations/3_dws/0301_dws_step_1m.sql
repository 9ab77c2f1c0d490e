CREATE TABLE IF NOT EXISTS dws_step_1m
(
    `agent` LowCardinality(String),
    `step_type` LowCardinality(String),
    `tool_name` LowCardinality(String),
    `model` LowCardinality(String),
    `window_start` DateTime('UTC'),
    `window_end` DateTime('UTC'),
    `count` UInt64,
    `errors` UInt64,
    `duration_sum_us` UInt64,
    `duration_max_us` UInt64,
    `input_tokens` UInt64,
    `output_tokens` UInt64,
    `cost_nanousd` UInt64,
    `duration_buckets` Map(Int16, UInt64),
    `final` Bool,
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, step_type, tool_name, model, window_start)
TTL window_start + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
