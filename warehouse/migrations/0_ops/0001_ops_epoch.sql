CREATE TABLE IF NOT EXISTS ops_epoch
(
    `epoch` UInt64,
    `timeline` String,
    `generation` UInt64,
    `wall_time` DateTime64(3, 'UTC'),
    `landed_time` DateTime64(3, 'UTC'),
    `watermark` DateTime64(6, 'UTC'),
    `records` UInt64,
    `spans` UInt64,
    `spans_landed` UInt64,
    `spans_duplicate` UInt64,
    `spans_rejected` UInt64,
    `spans_late` UInt64
)
ENGINE = MergeTree
ORDER BY epoch
SETTINGS non_replicated_deduplication_window = 10000;
