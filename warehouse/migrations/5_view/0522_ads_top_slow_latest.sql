CREATE OR REPLACE VIEW ads_top_slow_latest AS
SELECT *
FROM ads_top_slow FINAL
COMMENT 'The newest version of each row of ads_top_slow, without deleted ones';
