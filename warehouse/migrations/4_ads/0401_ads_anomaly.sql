CREATE TABLE IF NOT EXISTS ads_anomaly
(
    `anomaly_id` String,
    `detector` LowCardinality(String),
    `severity` LowCardinality(String),
    `agent` LowCardinality(String),
    `step_type` LowCardinality(String),
    `tool_name` LowCardinality(String),
    `model` LowCardinality(String),
    `session_id` String,
    `trace_id` String,
    `window_start` DateTime('UTC'),
    `window_end` DateTime('UTC'),
    `value` Float64,
    `expected` Float64,
    `score` Float64,
    `evidence` Array(String),
    `message` String,
    `state` LowCardinality(String),
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
ORDER BY anomaly_id
TTL window_start + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000;
