CREATE OR REPLACE VIEW ads_top_error_latest AS
SELECT *
FROM ads_top_error FINAL
COMMENT 'The newest version of each row of ads_top_error, without deleted ones';
