CREATE TABLE IF NOT EXISTS dwd_content
(
    `hash` String COMMENT 'xxh3-128 of the text, 32 lowercase hex digits of the big-endian number' CODEC(ZSTD(1)),
    `content` String COMMENT 'The text' CODEC(ZSTD(3)),
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(ingest_time)
ORDER BY hash
TTL toDateTime(ingest_time) + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Long texts (over 256 characters) by hash. A set: the same text may have several rows until they merge';
