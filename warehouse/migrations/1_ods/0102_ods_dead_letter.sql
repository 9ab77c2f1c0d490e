CREATE TABLE IF NOT EXISTS ods_dead_letter
(
    `topic` LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    `index` UInt32,
    `unit` LowCardinality(String),
    `error_code` LowCardinality(String),
    `error` String,
    `timestamp` DateTime64(3, 'UTC'),
    `key` String,
    `headers` Array(Tuple(name String, value String)),
    `encoding` LowCardinality(String),
    `spans` UInt32,
    `trace_id` String,
    `span_id` String,
    `payload` String CODEC(ZSTD(1)),
    `_epoch` UInt64,
    `_shard` UInt16,
    `ingest_time` DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset, index)
TTL toDateTime(ingest_time) + INTERVAL 7 DAY
SETTINGS non_replicated_deduplication_window = 10000;
