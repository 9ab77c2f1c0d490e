CREATE TABLE IF NOT EXISTS ops_probe
(
    `probe` String COMMENT 'Id of one probe, its insert token',
    `row` UInt8 COMMENT '1 for the row that must land, 2 for the one that must be dropped',
    `time` DateTime64(3, 'UTC') COMMENT 'When it was inserted'
)
ENGINE = MergeTree
ORDER BY (probe, row)
TTL toDateTime(time) + toIntervalDay(1)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Where the job proves at start that the warehouse drops a block whose token it has seen';
