CREATE TABLE IF NOT EXISTS ods_dead_letter
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the span in its record, 0 for a whole record',
    `unit` LowCardinality(String) COMMENT 'What was rejected: record or span',
    `error_code` LowCardinality(String) COMMENT 'Why, as a stable code such as time_out_of_range',
    `error` String COMMENT 'Why, in words, with the place in the payload' CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') COMMENT 'Timestamp of the record' CODEC(Delta, ZSTD(1)),
    `key` String COMMENT 'Key of the record as it came, empty when null' CODEC(ZSTD(1)),
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes' CODEC(ZSTD(1)),
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as, or undecodable',
    `spans` UInt32 COMMENT 'Spans rejected by this row: 0 for an undecodable record, else 1',
    `trace_id` String COMMENT 'Trace id of the span as sent, hex; empty where none could be read',
    `span_id` String COMMENT 'Span id of the span as sent, hex; empty where none could be read',
    `payload` String COMMENT 'The rejected bytes as they came: the whole record, or the one span' CODEC(ZSTD(1)),
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset, index)
TTL toDateTime(ingest_time) + toIntervalDay(7)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One rejected record or span, with what is needed to replay it';
