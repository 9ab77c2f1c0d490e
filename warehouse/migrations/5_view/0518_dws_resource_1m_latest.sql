CREATE OR REPLACE VIEW dws_resource_1m_latest AS
SELECT *
FROM dws_resource_1m FINAL
COMMENT 'The newest version of each row of dws_resource_1m, without deleted ones';
