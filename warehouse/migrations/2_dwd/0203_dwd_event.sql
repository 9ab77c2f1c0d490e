CREATE TABLE IF NOT EXISTS dwd_event
(
    `trace_id` String COMMENT 'Trace id, 32 lowercase hex digits' CODEC(ZSTD(1)),
    `span_id` String COMMENT 'Span id, 16 lowercase hex digits' CODEC(ZSTD(1)),
    `trace_hash` UInt64 COMMENT 'xxh3(trace_id), part of the key',
    `content_hash` UInt128 COMMENT 'content_hash of the span',
    `event_index` UInt32 COMMENT 'Position of the event in its span; exceptions first',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start of the span' CODEC(Delta, ZSTD(1)),
    `time` DateTime64(6, 'UTC') COMMENT 'Time of the event' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent of the span',
    `name` LowCardinality(String) COMMENT 'Name of the event, exception for exceptions',
    `error_type` LowCardinality(String) COMMENT 'exception.type',
    `error_message` String COMMENT 'exception.message' CODEC(ZSTD(1)),
    `error_stack` String COMMENT 'exception.stacktrace' CODEC(ZSTD(1)),
    `attributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the event; a value over 256 characters is cut' CODEC(ZSTD(1)),
    `attribute_hashes` Map(LowCardinality(String), String) COMMENT 'By attribute: key in dwd_content of a value that was cut' CODEC(ZSTD(1)),
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the span in its record',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (agent, toStartOfMinute(start_time), trace_hash, span_id, content_hash, event_index)
TTL toDateTime(ingest_time) + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One event of a span';
