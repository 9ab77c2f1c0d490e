CREATE TABLE IF NOT EXISTS ops_probe
(
    `probe` String,
    `row` UInt8,
    `time` DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (probe, row)
TTL toDateTime(time) + INTERVAL 1 DAY
SETTINGS non_replicated_deduplication_window = 10000;
