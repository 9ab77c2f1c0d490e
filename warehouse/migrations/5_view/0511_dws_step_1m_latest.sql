CREATE OR REPLACE VIEW dws_step_1m_latest AS
SELECT *
FROM dws_step_1m FINAL
COMMENT 'The newest version of each row of dws_step_1m, without deleted ones';
