CREATE OR REPLACE VIEW ads_anomaly_latest AS
SELECT *
FROM ads_anomaly FINAL
COMMENT 'The newest version of each row of ads_anomaly, without deleted ones';
