CREATE TABLE IF NOT EXISTS ads_freshness
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `spans` UInt64 COMMENT 'Spans that became visible in the window',
    `delay_p50_ms` UInt64 COMMENT 'Median delay from the end of a span to its row being visible, ms',
    `delay_p95_ms` UInt64 COMMENT '95th percentile of it, ms',
    `delay_p99_ms` UInt64 COMMENT '99th percentile of it, ms',
    `delay_max_ms` UInt64 COMMENT 'Longest, ms',
    `delay_buckets` Map(Int16, UInt64) COMMENT 'Spans by logarithmic bucket of delay in µs; read it with spanflow_quantile(q, delay_buckets)',
    `records` UInt64 COMMENT 'Kafka records consumed',
    `spans_in` UInt64 COMMENT 'Spans in them',
    `spans_landed` UInt64 COMMENT 'Spans that became rows of dwd_span',
    `spans_duplicate` UInt64 COMMENT 'Spans that had landed before',
    `spans_rejected` UInt64 COMMENT 'Spans that became dead letters',
    `spans_late` UInt64 COMMENT 'Landed spans that count in no window',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY window_start
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The delay of the pipeline itself, and the counts in and out';
