CREATE TABLE IF NOT EXISTS ops_migration
(
    `number` UInt32 COMMENT 'Number of the migration, the first four digits of its file name',
    `name` String COMMENT 'Name of the migration, the rest of its file name',
    `checksum` String COMMENT 'SHA-256 of the file, lowercase hex',
    `applied_time` DateTime64(3, 'UTC') COMMENT 'When its last statement had run'
)
ENGINE = ReplacingMergeTree(applied_time)
ORDER BY number
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Migrations that have been applied, one row each; written after the last statement of the file';
