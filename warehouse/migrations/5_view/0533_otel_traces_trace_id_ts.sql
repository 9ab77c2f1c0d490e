CREATE OR REPLACE VIEW otel_traces_trace_id_ts
(
    `TraceId` String COMMENT 'Trace id',
    `Start` DateTime64(9) COMMENT 'Earliest start of a span',
    `End` DateTime64(9) COMMENT 'Latest end of a span'
)
AS
SELECT
    trace_id AS TraceId,
    toDateTime64(first_time, 9) AS Start,
    toDateTime64(last_time, 9) AS End
FROM dws_trace_latest
COMMENT 'When a trace was, under the names of the OpenTelemetry Collector\'s ClickHouse exporter: what a reader of otel_traces looks up first';
