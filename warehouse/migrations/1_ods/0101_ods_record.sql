CREATE TABLE IF NOT EXISTS ods_record
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') COMMENT 'Timestamp of the record, as the producer or the broker set it' CODEC(Delta, ZSTD(1)),
    `key` String COMMENT 'Key as it came, empty when null' CODEC(ZSTD(1)),
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes' CODEC(ZSTD(1)),
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as: otlp_protobuf, otlp_json, document, or undecodable',
    `payload` String COMMENT 'Value as it came, any bytes' CODEC(ZSTD(1)),
    `spans` UInt32 COMMENT 'Spans in it: spans_landed + spans_duplicate + spans_rejected; 0 when undecodable',
    `spans_landed` UInt32 COMMENT 'Spans of it that became rows of dwd_span',
    `spans_duplicate` UInt32 COMMENT 'Spans of it that had landed before and were dropped',
    `spans_rejected` UInt32 COMMENT 'Spans of it that became dead letters',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset)
TTL toDateTime(ingest_time) + toIntervalDay(7)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One Kafka record as it came';
