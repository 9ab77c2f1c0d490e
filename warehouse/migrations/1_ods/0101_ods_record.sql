CREATE TABLE IF NOT EXISTS ods_record
(
    `topic` LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    `timestamp` DateTime64(3, 'UTC'),
    `key` String,
    `headers` Array(Tuple(name String, value String)),
    `encoding` LowCardinality(String),
    `payload` String CODEC(ZSTD(1)),
    `spans` UInt32,
    `spans_landed` UInt32,
    `spans_duplicate` UInt32,
    `spans_rejected` UInt32,
    `_epoch` UInt64,
    `_shard` UInt16,
    `ingest_time` DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset)
TTL toDateTime(ingest_time) + INTERVAL 7 DAY
SETTINGS non_replicated_deduplication_window = 10000;
