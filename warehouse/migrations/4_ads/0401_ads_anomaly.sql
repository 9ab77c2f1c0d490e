CREATE TABLE IF NOT EXISTS ads_anomaly
(
    `anomaly_id` String COMMENT 'Hash of detector, key and the window that opened it, hex',
    `detector` LowCardinality(String) COMMENT 'Detector that flagged it: error_rate, latency_p95, loop, …',
    `severity` LowCardinality(String) COMMENT 'info, warning or critical',
    `agent` LowCardinality(String) COMMENT 'Agent',
    `step_type` LowCardinality(String) COMMENT 'Step type, empty where it has no meaning',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where it has no meaning',
    `model` LowCardinality(String) COMMENT 'Model, empty where it has no meaning',
    `session_id` String COMMENT 'Session, empty for a window',
    `trace_id` String COMMENT 'Trace, empty for a window',
    `window_start` DateTime('UTC') COMMENT 'Start of the window that opened it' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the newest window that it covers' CODEC(Delta, ZSTD(1)),
    `value` Float64 COMMENT 'What was seen, in the unit that the message names',
    `expected` Float64 COMMENT 'What was expected, same unit',
    `score` Float64 COMMENT 'How far it is out; the higher the worse',
    `evidence` Array(String) COMMENT 'Ids of spans, traces or windows that show it',
    `message` String COMMENT 'One sentence for people',
    `state` LowCardinality(String) COMMENT 'open, updated or resolved',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
ORDER BY anomaly_id
TTL window_start + toIntervalDay(180)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One flag';
