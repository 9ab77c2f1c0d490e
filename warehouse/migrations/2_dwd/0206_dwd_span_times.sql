-- A part is sorted by agent and start: the other times of its rows lie close together too, so few granules hold those of a range.
ALTER TABLE dwd_span ADD INDEX IF NOT EXISTS by_ingest ingest_time TYPE minmax GRANULARITY 1;
ALTER TABLE dwd_span ADD INDEX IF NOT EXISTS by_end end_time TYPE minmax GRANULARITY 1;
-- For the parts that are there; in the background.
ALTER TABLE dwd_span MATERIALIZE INDEX by_ingest;
ALTER TABLE dwd_span MATERIALIZE INDEX by_end;
