CREATE TABLE IF NOT EXISTS ads_freshness
(
    `window_start` DateTime('UTC'),
    `window_end` DateTime('UTC'),
    `spans` UInt64,
    `delay_p50_ms` UInt64,
    `delay_p95_ms` UInt64,
    `delay_p99_ms` UInt64,
    `delay_max_ms` UInt64,
    `delay_buckets` Map(Int16, UInt64),
    `records` UInt64,
    `spans_in` UInt64,
    `spans_landed` UInt64,
    `spans_duplicate` UInt64,
    `spans_rejected` UInt64,
    `spans_late` UInt64,
    `final` Bool,
    `rev` UInt64,
    `is_deleted` UInt8
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY window_start
TTL window_start + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
