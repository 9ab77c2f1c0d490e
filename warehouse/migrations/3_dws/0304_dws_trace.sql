CREATE TABLE IF NOT EXISTS dws_trace
(
    `trace_id` String,
    `segment` UInt64,
    `namespace` LowCardinality(String),
    `session_id` String,
    `session_source` LowCardinality(String),
    `agent` LowCardinality(String),
    `agents` Array(String),
    `user_id` String,
    `first_time` DateTime64(6, 'UTC'),
    `last_time` DateTime64(6, 'UTC'),
    `state` LowCardinality(String),
    `traces` UInt64,
    `turns` UInt64,
    `steps` UInt64,
    `llm_calls` UInt64,
    `tool_calls` UInt64,
    `errors` UInt64,
    `input_tokens` UInt64,
    `output_tokens` UInt64,
    `cost_nanousd` UInt64,
    `max_repeat` UInt32,
    `flags` Array(String),
    `root_name` String,
    `duration_us` UInt64,
    `orphans` UInt64,
    `spans` UInt64,
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
ORDER BY (trace_id, segment)
TTL toDateTime(last_time) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000;
