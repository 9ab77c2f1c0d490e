CREATE OR REPLACE VIEW dws_step_5m_latest AS
SELECT *
FROM dws_step_5m FINAL
COMMENT 'The newest version of each row of dws_step_5m, without deleted ones';
