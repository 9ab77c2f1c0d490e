CREATE TABLE IF NOT EXISTS dws_user_1d
(
    `day` Date COMMENT 'Day in the business time zone',
    `namespace` LowCardinality(String) COMMENT 'service.namespace',
    `user_id` String COMMENT 'User',
    `segment` UInt64 COMMENT 'Epoch at which this segment was opened: after session_ttl a key opens a new one',
    `sessions` UInt64 COMMENT 'Sessions that were active on the day',
    `traces` UInt64 COMMENT 'Traces that ended on the day',
    `turns` UInt64 COMMENT 'Turns',
    `steps` UInt64 COMMENT 'Steps',
    `llm_calls` UInt64 COMMENT 'Think spans',
    `tool_calls` UInt64 COMMENT 'Act spans',
    `errors` UInt64 COMMENT 'Spans with status error',
    `input_tokens` UInt64 COMMENT 'Tokens in, of think spans only',
    `output_tokens` UInt64 COMMENT 'Tokens out, of think spans only',
    `cost_nanousd` UInt64 COMMENT 'Cost in nano-dollars, of think spans only',
    `first_time` DateTime64(6, 'UTC') COMMENT 'Earliest start of a span' CODEC(Delta, ZSTD(1)),
    `last_time` DateTime64(6, 'UTC') COMMENT 'Latest end of a span' CODEC(Delta, ZSTD(1)),
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(day)
ORDER BY (day, namespace, user_id, segment)
TTL day + toIntervalDay(730)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'A day of a user, in the business time zone';
