CREATE OR REPLACE VIEW otel_traces
(
    `Timestamp` DateTime64(9) COMMENT 'Start',
    `TraceId` String COMMENT 'Trace id',
    `SpanId` String COMMENT 'Span id',
    `ParentSpanId` String COMMENT 'Span id of the parent, empty at a root',
    `TraceState` String COMMENT 'W3C trace state',
    `SpanName` LowCardinality(String) COMMENT 'Name',
    `SpanKind` LowCardinality(String) COMMENT 'Unspecified, Internal, Server, Client, Producer or Consumer',
    `ServiceName` LowCardinality(String) COMMENT 'service.name',
    `ResourceAttributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the resource',
    `ScopeName` String COMMENT 'Instrumentation scope',
    `ScopeVersion` String COMMENT 'Its version',
    `SpanAttributes` Map(LowCardinality(String), String) COMMENT 'Attributes',
    `Duration` UInt64 COMMENT 'Duration, ns',
    `StatusCode` LowCardinality(String) COMMENT 'Unset, Ok or Error, as effective',
    `StatusMessage` String COMMENT 'Status message',
    `Events.Timestamp` Array(DateTime64(9)) COMMENT 'Times of the events',
    `Events.Name` Array(LowCardinality(String)) COMMENT 'Names of the events',
    `Events.Attributes` Array(Map(LowCardinality(String), String)) COMMENT 'Attributes of the events',
    `Links.TraceId` Array(String) COMMENT 'Trace ids of the links',
    `Links.SpanId` Array(String) COMMENT 'Span ids of the links',
    `Links.TraceState` Array(String) COMMENT 'Trace states of the links',
    `Links.Attributes` Array(Map(LowCardinality(String), String)) COMMENT 'Attributes of the links'
)
AS
SELECT
    toDateTime64(span.start_time, 9) AS Timestamp,
    span.trace_id AS TraceId,
    span.span_id AS SpanId,
    span.parent_span_id AS ParentSpanId,
    span.trace_state AS TraceState,
    span.name AS SpanName,
    concat(upper(substring(span.kind, 1, 1)), substring(span.kind, 2)) AS SpanKind,
    span.service_name AS ServiceName,
    span.resource AS ResourceAttributes,
    span.scope AS ScopeName,
    span.scope_version AS ScopeVersion,
    span.attributes AS SpanAttributes,
    span.duration_us * 1000 AS Duration,
    concat(upper(substring(span.status, 1, 1)), substring(span.status, 2)) AS StatusCode,
    span.status_message AS StatusMessage,
    event.times AS `Events.Timestamp`,
    event.names AS `Events.Name`,
    event.attributes_by_event AS `Events.Attributes`,
    arrayMap(link -> link.trace_id, link_list) AS `Links.TraceId`,
    arrayMap(link -> link.span_id, link_list) AS `Links.SpanId`,
    arrayMap(link -> link.trace_state, link_list) AS `Links.TraceState`,
    arrayMap(link -> link.attributes, link_list) AS `Links.Attributes`
FROM
(
    SELECT
        *,
        JSONExtract(
            links,
            'Array(Tuple(trace_id String, span_id String, trace_state String, attributes Map(LowCardinality(String), String)))'
        ) AS link_list
    FROM dwd_span
) AS span
LEFT ANY JOIN
(
    SELECT
        trace_id,
        span_id,
        content_hash,
        arraySort(groupArray((event_index, toDateTime64(time, 9), name, attributes))) AS events,
        arrayMap(event -> event.2, events) AS times,
        arrayMap(event -> event.3, events) AS names,
        arrayMap(event -> event.4, events) AS attributes_by_event
    FROM dwd_event
    GROUP BY trace_id, span_id, content_hash
) AS event
    ON event.trace_id = span.trace_id AND event.span_id = span.span_id AND event.content_hash = span.content_hash
COMMENT 'Spans under the names and types of the OpenTelemetry Collector\'s ClickHouse exporter, for the Grafana data source, HyperDX and others that read its table; attributes over 256 characters are cut, as in dwd_span';
