CREATE TABLE IF NOT EXISTS ops_setting
(
    `name` String COMMENT 'Name of the setting',
    `value` String COMMENT 'Its value',
    `changed_time` DateTime64(3, 'UTC') COMMENT 'When it was written'
)
ENGINE = ReplacingMergeTree(changed_time)
ORDER BY name
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What the SQL of the warehouse must know: business_time_zone (fixed at the first migrate), orphan_grace_seconds and slo_error_budget';
