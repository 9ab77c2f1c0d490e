CREATE OR REPLACE VIEW dws_step_1h_latest AS
SELECT *
FROM dws_step_1h FINAL
COMMENT 'The newest version of each row of dws_step_1h, without deleted ones';
