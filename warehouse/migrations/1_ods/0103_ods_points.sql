ALTER TABLE ods_record
    ADD COLUMN IF NOT EXISTS `points` UInt32 COMMENT 'Metric points in it: points_landed + points_duplicate + points_rejected; 0 when undecodable',
    ADD COLUMN IF NOT EXISTS `points_landed` UInt32 COMMENT 'Points of it that became rows of dwd_metric_point',
    ADD COLUMN IF NOT EXISTS `points_duplicate` UInt32 COMMENT 'Points of it that had landed before and were dropped',
    ADD COLUMN IF NOT EXISTS `points_rejected` UInt32 COMMENT 'Points of it that became dead letters',
    COMMENT COLUMN IF EXISTS `encoding` 'What the payload was read as: otlp_protobuf, otlp_json, document, otlp_metrics, otlp_metrics_json, or undecodable';
ALTER TABLE ods_dead_letter
    COMMENT COLUMN IF EXISTS `unit` 'What was rejected: record, span or point; gap for records that were deleted before they were read',
    COMMENT COLUMN IF EXISTS `index` 'Position of the span or point in its record, else 0';
