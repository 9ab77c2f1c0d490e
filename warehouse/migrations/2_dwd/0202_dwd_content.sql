CREATE TABLE IF NOT EXISTS dwd_content
(
    `hash` String,
    `content` String CODEC(ZSTD(3)),
    `_epoch` UInt64,
    `_shard` UInt16,
    `ingest_time` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ingest_time)
ORDER BY hash
TTL toDateTime(ingest_time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;
