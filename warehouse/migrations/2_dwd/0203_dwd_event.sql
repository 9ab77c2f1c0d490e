CREATE TABLE IF NOT EXISTS dwd_event
(
    `trace_id` String,
    `span_id` String,
    `trace_hash` UInt64,
    `content_hash` UInt128,
    `event_index` UInt32,
    `start_time` DateTime64(6, 'UTC'),
    `time` DateTime64(6, 'UTC'),
    `agent` LowCardinality(String),
    `name` LowCardinality(String),
    `error_type` LowCardinality(String),
    `error_message` String,
    `error_stack` String,
    `attributes` Map(LowCardinality(String), String),
    `attribute_hashes` Map(LowCardinality(String), String),
    `topic` LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    `index` UInt32,
    `_epoch` UInt64,
    `_shard` UInt16,
    `ingest_time` DateTime64(3, 'UTC'),
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (agent, toStartOfMinute(start_time), trace_hash, span_id, content_hash, event_index)
TTL toDateTime(ingest_time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;
