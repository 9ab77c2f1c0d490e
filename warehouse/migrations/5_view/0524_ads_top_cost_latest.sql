CREATE OR REPLACE VIEW ads_top_cost_latest AS
SELECT *
FROM ads_top_cost FINAL
COMMENT 'The newest version of each row of ads_top_cost, without deleted ones';
