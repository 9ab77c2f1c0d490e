CREATE OR REPLACE VIEW ads_freshness_latest AS
SELECT *
FROM ads_freshness FINAL
COMMENT 'The newest version of each row of ads_freshness, without deleted ones';
