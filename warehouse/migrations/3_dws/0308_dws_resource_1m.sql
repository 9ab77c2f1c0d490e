CREATE TABLE IF NOT EXISTS dws_resource_1m
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `instance` LowCardinality(String) COMMENT 'service.instance.id, else host and process id',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `samples` UInt64 COMMENT 'Memory points in the window',
    `cpu_time_us` UInt64 COMMENT 'CPU time used in the window, all cores, µs',
    `memory_sum_bytes` UInt64 COMMENT 'Sum of the resident memory of the points, bytes; divide by samples',
    `memory_max_bytes` UInt64 COMMENT 'Highest resident memory, bytes',
    `threads_max` UInt32 COMMENT 'Most threads, 0 where not sent',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, instance, window_start)
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'CPU and memory of an agent process';
