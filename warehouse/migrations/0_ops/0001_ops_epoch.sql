CREATE TABLE IF NOT EXISTS ops_epoch
(
    `epoch` UInt64 COMMENT 'The epoch' CODEC(Delta, ZSTD(1)),
    `timeline` String COMMENT 'Timeline of the job, part of every insert token',
    `generation` UInt64 COMMENT 'Generation of the process that landed the epoch',
    `wall_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of the epoch, from the epoch log: the ingest_time of its rows' CODEC(Delta, ZSTD(1)),
    `landed_time` DateTime64(3, 'UTC') COMMENT 'When the last block of the epoch was acknowledged' CODEC(Delta, ZSTD(1)),
    `watermark` DateTime64(6, 'UTC') COMMENT 'Watermark of the job before the data of the epoch' CODEC(Delta, ZSTD(1)),
    `records` UInt64 COMMENT 'Kafka records consumed in the epoch',
    `spans` UInt64 COMMENT 'Spans in them: landed + duplicate + rejected',
    `spans_landed` UInt64 COMMENT 'Spans that became rows of dwd_span',
    `spans_duplicate` UInt64 COMMENT 'Spans that had landed before and were dropped',
    `spans_rejected` UInt64 COMMENT 'Spans that became dead letters',
    `spans_late` UInt64 COMMENT 'Landed spans that came after the allowed lateness; they count in no window'
)
ENGINE = MergeTree
ORDER BY epoch
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row an epoch, inserted last: everything up to it has landed';
