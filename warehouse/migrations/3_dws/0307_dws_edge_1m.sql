CREATE TABLE IF NOT EXISTS dws_edge_1m
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `from` LowCardinality(String) COMMENT 'Step before: its type, for an act with : and the tool; start before the first step',
    `to` LowCardinality(String) COMMENT 'Step after, named the same way; end after the last step',
    `count` UInt64 COMMENT 'Transitions whose later step ended in the window',
    `derived` UInt64 COMMENT 'Of them with a derived step (observe or response that no span said) at either end',
    `errors` UInt64 COMMENT 'Of them whose later step has status error',
    `gap_sum_us` UInt64 COMMENT 'Sum of the times from the end of the step before to the start of the step after, µs; overlaps count 0',
    `duration_sum_us` UInt64 COMMENT 'Sum of the durations of the steps after, µs',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, window_start, `from`, `to`)
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Transitions between typed steps: the flow chart';
