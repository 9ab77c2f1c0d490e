ALTER TABLE dwd_metric_point
    ADD COLUMN IF NOT EXISTS `late` Bool COMMENT 'It came after the allowed lateness and counts in no window',
    ADD COLUMN IF NOT EXISTS `quantile_values` Array(Float64) COMMENT 'Of a summary, the values at the quantiles in bounds' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS `content_hash` UInt128 COMMENT 'Hash of the point with its resource and scope, by which copies are dropped' CODEC(ZSTD(1)),
    COMMENT COLUMN IF EXISTS `attributes` 'Attributes of the point; a value over 256 characters is cut',
    COMMENT COLUMN IF EXISTS `resource` 'Attributes of the resource; a value over 256 characters is cut';
