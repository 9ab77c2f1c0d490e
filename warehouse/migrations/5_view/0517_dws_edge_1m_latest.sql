CREATE OR REPLACE VIEW dws_edge_1m_latest AS
SELECT *
FROM dws_edge_1m FINAL
COMMENT 'The newest version of each row of dws_edge_1m, without deleted ones';
