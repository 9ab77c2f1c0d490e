-- Replicated and distributed form of Spanflow's tables. It has been checked as text, not run on a cluster.

CREATE DATABASE IF NOT EXISTS `spanflow` ON CLUSTER 'prod';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_migration_local` ON CLUSTER 'prod'
(
    `number` UInt32 COMMENT 'Number of the migration, the first four digits of its file name',
    `name` String COMMENT 'Name of the migration, the rest of its file name',
    `checksum` String COMMENT 'SHA-256 of the file, lowercase hex',
    `applied_time` DateTime64(3, 'UTC') COMMENT 'When its last statement had run'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', applied_time)
ORDER BY number
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Migrations that have been applied, one row each; written after the last statement of the file';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_migration` ON CLUSTER 'prod' AS `spanflow`.`ops_migration_local`
ENGINE = Distributed('prod', 'spanflow', 'ops_migration_local', cityHash64(number))
COMMENT 'Migrations that have been applied, one row each; written after the last statement of the file';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_epoch_local` ON CLUSTER 'prod'
(
    `epoch` UInt64 COMMENT 'The epoch' CODEC(Delta, ZSTD(1)),
    `timeline` String COMMENT 'Timeline of the job, part of every insert token',
    `generation` UInt64 COMMENT 'Generation of the process that landed the epoch',
    `wall_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of the epoch, from the epoch log: the ingest_time of its rows' CODEC(Delta, ZSTD(1)),
    `landed_time` DateTime64(3, 'UTC') COMMENT 'When the last block of the epoch was acknowledged' CODEC(Delta, ZSTD(1)),
    `watermark` DateTime64(6, 'UTC') COMMENT 'Watermark of the job before the data of the epoch' CODEC(Delta, ZSTD(1)),
    `records` UInt64 COMMENT 'Kafka records consumed in the epoch',
    `spans` UInt64 COMMENT 'Spans in them: landed + duplicate + rejected',
    `spans_landed` UInt64 COMMENT 'Spans that became rows of dwd_span',
    `spans_duplicate` UInt64 COMMENT 'Spans that had landed before and were dropped',
    `spans_rejected` UInt64 COMMENT 'Spans that became dead letters',
    `spans_late` UInt64 COMMENT 'Landed spans that came after the allowed lateness; they count in no window'
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
ORDER BY epoch
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'One row an epoch, inserted last: everything up to it has landed';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_epoch` ON CLUSTER 'prod' AS `spanflow`.`ops_epoch_local`
ENGINE = Distributed('prod', 'spanflow', 'ops_epoch_local', cityHash64(timeline))
COMMENT 'One row an epoch, inserted last: everything up to it has landed';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_probe_local` ON CLUSTER 'prod'
(
    `probe` String COMMENT 'Id of one probe, its insert token',
    `row` UInt8 COMMENT '1 for the row that must land, 2 for the one that must be dropped',
    `time` DateTime64(3, 'UTC') COMMENT 'When it was inserted'
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
ORDER BY (probe, row)
TTL toDateTime(time) + toIntervalDay(1)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Where the job proves at start that the warehouse drops a block whose token it has seen';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_probe` ON CLUSTER 'prod' AS `spanflow`.`ops_probe_local`
ENGINE = Distributed('prod', 'spanflow', 'ops_probe_local', cityHash64(probe))
COMMENT 'Where the job proves at start that the warehouse drops a block whose token it has seen';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_setting_local` ON CLUSTER 'prod'
(
    `name` String COMMENT 'Name of the setting',
    `value` String COMMENT 'Its value',
    `changed_time` DateTime64(3, 'UTC') COMMENT 'When it was written'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', changed_time)
ORDER BY name
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'What the SQL of the warehouse must know: business_time_zone (fixed at the first migrate), orphan_grace_seconds and slo_error_budget';

CREATE TABLE IF NOT EXISTS `spanflow`.`ops_setting` ON CLUSTER 'prod' AS `spanflow`.`ops_setting_local`
ENGINE = Distributed('prod', 'spanflow', 'ops_setting_local', cityHash64(name))
COMMENT 'What the SQL of the warehouse must know: business_time_zone (fixed at the first migrate), orphan_grace_seconds and slo_error_budget';

CREATE TABLE IF NOT EXISTS `spanflow`.`ods_record_local` ON CLUSTER 'prod'
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') COMMENT 'Timestamp of the record, as the producer or the broker set it' CODEC(Delta, ZSTD(1)),
    `key` String COMMENT 'Key as it came, empty when null' CODEC(ZSTD(1)),
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes' CODEC(ZSTD(1)),
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as: otlp_protobuf, otlp_json, document, or undecodable',
    `payload` String COMMENT 'Value as it came, any bytes' CODEC(ZSTD(1)),
    `spans` UInt32 COMMENT 'Spans in it: spans_landed + spans_duplicate + spans_rejected; 0 when undecodable',
    `spans_landed` UInt32 COMMENT 'Spans of it that became rows of dwd_span',
    `spans_duplicate` UInt32 COMMENT 'Spans of it that had landed before and were dropped',
    `spans_rejected` UInt32 COMMENT 'Spans of it that became dead letters',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset)
TTL toDateTime(ingest_time) + toIntervalDay(7)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One Kafka record as it came';

CREATE TABLE IF NOT EXISTS `spanflow`.`ods_record` ON CLUSTER 'prod' AS `spanflow`.`ods_record_local`
ENGINE = Distributed('prod', 'spanflow', 'ods_record_local', _shard)
COMMENT 'One Kafka record as it came';

CREATE TABLE IF NOT EXISTS `spanflow`.`ods_dead_letter_local` ON CLUSTER 'prod'
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the span in its record, 0 for a whole record',
    `unit` LowCardinality(String) COMMENT 'What was rejected: record or span',
    `error_code` LowCardinality(String) COMMENT 'Why, as a stable code such as time_out_of_range',
    `error` String COMMENT 'Why, in words, with the place in the payload' CODEC(ZSTD(1)),
    `timestamp` DateTime64(3, 'UTC') COMMENT 'Timestamp of the record' CODEC(Delta, ZSTD(1)),
    `key` String COMMENT 'Key of the record as it came, empty when null' CODEC(ZSTD(1)),
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes' CODEC(ZSTD(1)),
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as, or undecodable',
    `spans` UInt32 COMMENT 'Spans rejected by this row: 0 for an undecodable record, else 1',
    `trace_id` String COMMENT 'Trace id of the span as sent, hex; empty where none could be read',
    `span_id` String COMMENT 'Span id of the span as sent, hex; empty where none could be read',
    `payload` String COMMENT 'The rejected bytes as they came: the whole record, or the one span' CODEC(ZSTD(1)),
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY (topic, partition, offset, index)
TTL toDateTime(ingest_time) + toIntervalDay(7)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One rejected record or span, with what is needed to replay it';

CREATE TABLE IF NOT EXISTS `spanflow`.`ods_dead_letter` ON CLUSTER 'prod' AS `spanflow`.`ods_dead_letter_local`
ENGINE = Distributed('prod', 'spanflow', 'ods_dead_letter_local', _shard)
COMMENT 'One rejected record or span, with what is needed to replay it';

ALTER TABLE `spanflow`.`ods_record_local` ON CLUSTER 'prod'
    ADD COLUMN IF NOT EXISTS `points` UInt32 COMMENT 'Metric points in it: points_landed + points_duplicate + points_rejected; 0 when undecodable',
    ADD COLUMN IF NOT EXISTS `points_landed` UInt32 COMMENT 'Points of it that became rows of dwd_metric_point',
    ADD COLUMN IF NOT EXISTS `points_duplicate` UInt32 COMMENT 'Points of it that had landed before and were dropped',
    ADD COLUMN IF NOT EXISTS `points_rejected` UInt32 COMMENT 'Points of it that became dead letters',
    COMMENT COLUMN IF EXISTS `encoding` 'What the payload was read as: otlp_protobuf, otlp_json, document, otlp_metrics, otlp_metrics_json, or undecodable';

ALTER TABLE `spanflow`.`ods_record` ON CLUSTER 'prod'
    ADD COLUMN IF NOT EXISTS `points` UInt32 COMMENT 'Metric points in it: points_landed + points_duplicate + points_rejected; 0 when undecodable',
    ADD COLUMN IF NOT EXISTS `points_landed` UInt32 COMMENT 'Points of it that became rows of dwd_metric_point',
    ADD COLUMN IF NOT EXISTS `points_duplicate` UInt32 COMMENT 'Points of it that had landed before and were dropped',
    ADD COLUMN IF NOT EXISTS `points_rejected` UInt32 COMMENT 'Points of it that became dead letters',
    COMMENT COLUMN IF EXISTS `encoding` 'What the payload was read as: otlp_protobuf, otlp_json, document, otlp_metrics, otlp_metrics_json, or undecodable';

ALTER TABLE `spanflow`.`ods_dead_letter_local` ON CLUSTER 'prod'
    COMMENT COLUMN IF EXISTS `unit` 'What was rejected: record, span or point; gap for records that were deleted before they were read',
    COMMENT COLUMN IF EXISTS `index` 'Position of the span or point in its record, else 0';

ALTER TABLE `spanflow`.`ods_dead_letter` ON CLUSTER 'prod'
    COMMENT COLUMN IF EXISTS `unit` 'What was rejected: record, span or point; gap for records that were deleted before they were read',
    COMMENT COLUMN IF EXISTS `index` 'Position of the span or point in its record, else 0';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_span_local` ON CLUSTER 'prod'
(
    `trace_id` String COMMENT 'Trace id, 32 lowercase hex digits' CODEC(ZSTD(1)),
    `span_id` String COMMENT 'Span id, 16 lowercase hex digits' CODEC(ZSTD(1)),
    `parent_span_id` String COMMENT 'Span id of the parent, empty at a root' CODEC(ZSTD(1)),
    `trace_ref` String COMMENT 'A session document: its session_id and conversation_id as given; else empty' CODEC(ZSTD(1)),
    `span_ref` String COMMENT 'A session document: span_id as given; else empty' CODEC(ZSTD(1)),
    `parent_span_ref` String COMMENT 'A session document: parent_span_id as given; else empty' CODEC(ZSTD(1)),
    `trace_hash` UInt64 COMMENT 'xxh3(trace_id), part of the key',
    `content_hash` UInt128 COMMENT 'xxh3-128 of what the span says (ids, parent, name, kind, times, status, attributes, events): the fingerprint of deduplication',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start' CODEC(Delta, ZSTD(1)),
    `end_time` DateTime64(6, 'UTC') COMMENT 'End: the event time of the span' CODEC(Delta, ZSTD(1)),
    `duration_us` UInt64 COMMENT 'Duration in µs, from the nanoseconds sent',
    `namespace` LowCardinality(String) COMMENT 'service.namespace, else empty',
    `agent` LowCardinality(String) COMMENT 'service.name unless missing or unknown_service*, else the agent name of the span, else unknown; namespace/ before it where there is one',
    `agent_name` LowCardinality(String) COMMENT 'Agent name that the span itself gives',
    `service_name` LowCardinality(String) COMMENT 'service.name as sent',
    `name` LowCardinality(String) COMMENT 'Name of the span',
    `kind` LowCardinality(String) COMMENT 'unspecified, internal, server, client, producer or consumer',
    `scope` LowCardinality(String) COMMENT 'Instrumentation scope',
    `scope_version` LowCardinality(String) COMMENT 'Version of the instrumentation scope',
    `session_id` String COMMENT 'Session id that the span itself gives; the resolved one is in dwd_step and dws_trace' CODEC(ZSTD(1)),
    `conversation_id` String COMMENT 'Conversation id that the span itself gives' CODEC(ZSTD(1)),
    `user_id` String COMMENT 'User id that the span itself gives' CODEC(ZSTD(1)),
    `step_type` LowCardinality(String) COMMENT 'session, think, act, observe, response, embedding, retrieval, rerank, guardrail, evaluate, chain or other, from the span alone',
    `step_no` UInt32 COMMENT 'Step number as sent, else 0',
    `late` Bool COMMENT 'Came after the allowed lateness: counts in no window',
    `convention` LowCardinality(String) COMMENT 'Convention that decided: agent, openinference, genai, openllmetry, document or none',
    `model` LowCardinality(String) COMMENT 'Model, the one that answered where that is known',
    `provider` LowCardinality(String) COMMENT 'Provider of the model',
    `tool_name` LowCardinality(String) COMMENT 'Tool that was called',
    `status` LowCardinality(String) COMMENT 'ok, error or unset, as effective: an exception event or error.type makes it error',
    `status_message` String COMMENT 'Status message as sent' CODEC(ZSTD(1)),
    `error_type` LowCardinality(String) COMMENT 'Kind of the error, empty without one',
    `error_message` String COMMENT 'Message of the error' CODEC(ZSTD(1)),
    `error_stack` String COMMENT 'Stack of the error' CODEC(ZSTD(1)),
    `input_tokens` UInt64 COMMENT 'Tokens in, as the span says; only think spans are summed in totals',
    `output_tokens` UInt64 COMMENT 'Tokens out, as the span says',
    `cache_read_tokens` UInt64 COMMENT 'Tokens in that came from a cache',
    `cost_nanousd` UInt64 COMMENT 'Cost in nano-dollars (1e-9 USD)',
    `args_hash` UInt64 COMMENT 'Hash of the arguments of a tool call, canonical where they are JSON; 0 where there are none',
    `input_preview` String COMMENT 'First 256 characters of the input' CODEC(ZSTD(1)),
    `output_preview` String COMMENT 'First 256 characters of the output' CODEC(ZSTD(1)),
    `input_hash` String COMMENT 'Key in dwd_content of an input over 256 characters, else empty' CODEC(ZSTD(1)),
    `output_hash` String COMMENT 'Key in dwd_content of an output over 256 characters, else empty' CODEC(ZSTD(1)),
    `attributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the span; a value over 256 characters is cut' CODEC(ZSTD(1)),
    `attribute_hashes` Map(LowCardinality(String), String) COMMENT 'By attribute: key in dwd_content of a value that was cut' CODEC(ZSTD(1)),
    `resource` Map(LowCardinality(String), String) COMMENT 'Attributes of the resource; a value over 256 characters is cut' CODEC(ZSTD(1)),
    `trace_state` String COMMENT 'W3C trace state' CODEC(ZSTD(1)),
    `links` String COMMENT 'Links as JSON: [{"trace_id", "span_id", "trace_state", "attributes"}], empty without any' CODEC(ZSTD(1)),
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the span in its record',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_start start_time TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY (agent, toStartOfMinute(start_time), trace_hash, span_id, content_hash)
TTL toDateTime(ingest_time) + toIntervalDay(30)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One clean span: says only what the span says by itself, and is never changed';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_span` ON CLUSTER 'prod' AS `spanflow`.`dwd_span_local`
ENGINE = Distributed('prod', 'spanflow', 'dwd_span_local', _shard)
COMMENT 'One clean span: says only what the span says by itself, and is never changed';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_content_local` ON CLUSTER 'prod'
(
    `hash` String COMMENT 'xxh3-128 of the text, 32 lowercase hex digits of the big-endian number' CODEC(ZSTD(1)),
    `content` String COMMENT 'The text' CODEC(ZSTD(3)),
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY hash
TTL toDateTime(ingest_time) + toIntervalDay(30)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Long texts (over 256 characters) by hash. A set: the same text may have several rows until they merge';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_content` ON CLUSTER 'prod' AS `spanflow`.`dwd_content_local`
ENGINE = Distributed('prod', 'spanflow', 'dwd_content_local', _shard)
COMMENT 'Long texts (over 256 characters) by hash. A set: the same text may have several rows until they merge';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_event_local` ON CLUSTER 'prod'
(
    `trace_id` String COMMENT 'Trace id, 32 lowercase hex digits' CODEC(ZSTD(1)),
    `span_id` String COMMENT 'Span id, 16 lowercase hex digits' CODEC(ZSTD(1)),
    `trace_hash` UInt64 COMMENT 'xxh3(trace_id), part of the key',
    `content_hash` UInt128 COMMENT 'content_hash of the span',
    `event_index` UInt32 COMMENT 'Position of the event in its span; exceptions first',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start of the span' CODEC(Delta, ZSTD(1)),
    `time` DateTime64(6, 'UTC') COMMENT 'Time of the event' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent of the span',
    `name` LowCardinality(String) COMMENT 'Name of the event, exception for exceptions',
    `error_type` LowCardinality(String) COMMENT 'exception.type',
    `error_message` String COMMENT 'exception.message' CODEC(ZSTD(1)),
    `error_stack` String COMMENT 'exception.stacktrace' CODEC(ZSTD(1)),
    `attributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the event; a value over 256 characters is cut' CODEC(ZSTD(1)),
    `attribute_hashes` Map(LowCardinality(String), String) COMMENT 'By attribute: key in dwd_content of a value that was cut' CODEC(ZSTD(1)),
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the span in its record',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY (agent, toStartOfMinute(start_time), trace_hash, span_id, content_hash, event_index)
TTL toDateTime(ingest_time) + toIntervalDay(30)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One event of a span';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_event` ON CLUSTER 'prod' AS `spanflow`.`dwd_event_local`
ENGINE = Distributed('prod', 'spanflow', 'dwd_event_local', _shard)
COMMENT 'One event of a span';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_metric_point_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent, as in dwd_span',
    `namespace` LowCardinality(String) COMMENT 'service.namespace, else empty',
    `service_name` LowCardinality(String) COMMENT 'service.name as sent',
    `instance` LowCardinality(String) COMMENT 'service.instance.id, else host and process id',
    `metric` LowCardinality(String) COMMENT 'Name of the metric, such as process.cpu.time',
    `kind` LowCardinality(String) COMMENT 'gauge, sum, histogram, exponential_histogram or summary',
    `unit` LowCardinality(String) COMMENT 'Unit as sent (UCUM, such as s or By)',
    `temporality` LowCardinality(String) COMMENT 'delta, cumulative, or empty where it has no meaning',
    `monotonic` Bool COMMENT 'A sum that only grows',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start of the interval of a sum or histogram; 1970 when none was sent' CODEC(Delta, ZSTD(1)),
    `time` DateTime64(6, 'UTC') COMMENT 'Time of the point' CODEC(Delta, ZSTD(1)),
    `value` Float64 COMMENT 'Value of a gauge or a sum; of a histogram or summary its sum',
    `count` UInt64 COMMENT 'Measurements in a histogram or summary, else 0',
    `bounds` Array(Float64) COMMENT 'Upper bounds of the buckets of an explicit histogram; quantiles of a summary' CODEC(ZSTD(1)),
    `bucket_counts` Array(UInt64) COMMENT 'Measurements by bucket; one more than bounds' CODEC(ZSTD(1)),
    `attributes` Map(LowCardinality(String), String) COMMENT 'Attributes of the point' CODEC(ZSTD(1)),
    `resource` Map(LowCardinality(String), String) COMMENT 'Attributes of the resource' CODEC(ZSTD(1)),
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record' CODEC(Delta, ZSTD(1)),
    `index` UInt32 COMMENT 'Position of the point in its record',
    `_epoch` UInt64 COMMENT 'Epoch of the stream job in which the row landed',
    `_shard` UInt16 COMMENT 'Sink shard that inserted the row; with the epoch it names the block',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'Wall clock of that epoch, from the epoch log: a replay writes the same; partition and TTL go by it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(ingest_time)
ORDER BY (agent, metric, toStartOfMinute(time))
TTL toDateTime(ingest_time) + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One metric point: CPU and memory of an agent process, counters of an agent';

CREATE TABLE IF NOT EXISTS `spanflow`.`dwd_metric_point` ON CLUSTER 'prod' AS `spanflow`.`dwd_metric_point_local`
ENGINE = Distributed('prod', 'spanflow', 'dwd_metric_point_local', _shard)
COMMENT 'One metric point: CPU and memory of an agent process, counters of an agent';

ALTER TABLE `spanflow`.`dwd_metric_point_local` ON CLUSTER 'prod'
    ADD COLUMN IF NOT EXISTS `late` Bool COMMENT 'It came after the allowed lateness and counts in no window',
    ADD COLUMN IF NOT EXISTS `quantile_values` Array(Float64) COMMENT 'Of a summary, the values at the quantiles in bounds' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS `content_hash` UInt128 COMMENT 'Hash of the point with its resource and scope, by which copies are dropped' CODEC(ZSTD(1)),
    COMMENT COLUMN IF EXISTS `attributes` 'Attributes of the point; a value over 256 characters is cut',
    COMMENT COLUMN IF EXISTS `resource` 'Attributes of the resource; a value over 256 characters is cut';

ALTER TABLE `spanflow`.`dwd_metric_point` ON CLUSTER 'prod'
    ADD COLUMN IF NOT EXISTS `late` Bool COMMENT 'It came after the allowed lateness and counts in no window',
    ADD COLUMN IF NOT EXISTS `quantile_values` Array(Float64) COMMENT 'Of a summary, the values at the quantiles in bounds' CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS `content_hash` UInt128 COMMENT 'Hash of the point with its resource and scope, by which copies are dropped' CODEC(ZSTD(1)),
    COMMENT COLUMN IF EXISTS `attributes` 'Attributes of the point; a value over 256 characters is cut',
    COMMENT COLUMN IF EXISTS `resource` 'Attributes of the resource; a value over 256 characters is cut';

ALTER TABLE `spanflow`.`dwd_span_local` ON CLUSTER 'prod' ADD INDEX IF NOT EXISTS by_ingest ingest_time TYPE minmax GRANULARITY 1;

ALTER TABLE `spanflow`.`dwd_span_local` ON CLUSTER 'prod' ADD INDEX IF NOT EXISTS by_end end_time TYPE minmax GRANULARITY 1;

ALTER TABLE `spanflow`.`dwd_span_local` ON CLUSTER 'prod' MATERIALIZE INDEX by_ingest;

ALTER TABLE `spanflow`.`dwd_span_local` ON CLUSTER 'prod' MATERIALIZE INDEX by_end;

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_1m_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none; __overflow__ where the agent has more keys than the cap',
    `model` LowCardinality(String) COMMENT 'Model, empty where none; __overflow__ as for tools',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `count` UInt64 COMMENT 'Spans that ended in the window',
    `errors` UInt64 COMMENT 'Of them with status error',
    `duration_sum_us` UInt64 COMMENT 'Sum of their durations, µs',
    `duration_max_us` UInt64 COMMENT 'Longest of their durations, µs',
    `input_tokens` UInt64 COMMENT 'Sum of tokens in',
    `output_tokens` UInt64 COMMENT 'Sum of tokens out',
    `cost_nanousd` UInt64 COMMENT 'Sum of cost, nano-dollars',
    `duration_buckets` Map(Int16, UInt64) COMMENT 'Spans by logarithmic bucket of duration (base 1.02); read it with spanflow_quantile(q, duration_buckets)',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, step_type, tool_name, model, window_start)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Steps by agent, step type, tool and model in windows of 1 minute, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_1m` ON CLUSTER 'prod' AS `spanflow`.`dws_step_1m_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_step_1m_local', cityHash64(agent, step_type, tool_name, model, window_start))
COMMENT 'Steps by agent, step type, tool and model in windows of 1 minute, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_5m_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none; __overflow__ where the agent has more keys than the cap',
    `model` LowCardinality(String) COMMENT 'Model, empty where none; __overflow__ as for tools',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 5 minutes, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `count` UInt64 COMMENT 'Spans that ended in the window',
    `errors` UInt64 COMMENT 'Of them with status error',
    `duration_sum_us` UInt64 COMMENT 'Sum of their durations, µs',
    `duration_max_us` UInt64 COMMENT 'Longest of their durations, µs',
    `input_tokens` UInt64 COMMENT 'Sum of tokens in',
    `output_tokens` UInt64 COMMENT 'Sum of tokens out',
    `cost_nanousd` UInt64 COMMENT 'Sum of cost, nano-dollars',
    `duration_buckets` Map(Int16, UInt64) COMMENT 'Spans by logarithmic bucket of duration (base 1.02); read it with spanflow_quantile(q, duration_buckets)',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, step_type, tool_name, model, window_start)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Steps by agent, step type, tool and model in windows of 5 minutes that start each minute: a span counts in five of them, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_5m` ON CLUSTER 'prod' AS `spanflow`.`dws_step_5m_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_step_5m_local', cityHash64(agent, step_type, tool_name, model, window_start))
COMMENT 'Steps by agent, step type, tool and model in windows of 5 minutes that start each minute: a span counts in five of them, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_1h_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none; __overflow__ where the agent has more keys than the cap',
    `model` LowCardinality(String) COMMENT 'Model, empty where none; __overflow__ as for tools',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 hour, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `count` UInt64 COMMENT 'Spans that ended in the window',
    `errors` UInt64 COMMENT 'Of them with status error',
    `duration_sum_us` UInt64 COMMENT 'Sum of their durations, µs',
    `duration_max_us` UInt64 COMMENT 'Longest of their durations, µs',
    `input_tokens` UInt64 COMMENT 'Sum of tokens in',
    `output_tokens` UInt64 COMMENT 'Sum of tokens out',
    `cost_nanousd` UInt64 COMMENT 'Sum of cost, nano-dollars',
    `duration_buckets` Map(Int16, UInt64) COMMENT 'Spans by logarithmic bucket of duration (base 1.02); read it with spanflow_quantile(q, duration_buckets)',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, step_type, tool_name, model, window_start)
TTL window_start + toIntervalDay(730)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Steps by agent, step type, tool and model in windows of 1 hour, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_step_1h` ON CLUSTER 'prod' AS `spanflow`.`dws_step_1h_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_step_1h_local', cityHash64(agent, step_type, tool_name, model, window_start))
COMMENT 'Steps by agent, step type, tool and model in windows of 1 hour, by end time';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_trace_local` ON CLUSTER 'prod'
(
    `trace_id` String COMMENT 'Trace id, 32 lowercase hex digits',
    `segment` UInt64 COMMENT 'Epoch at which this segment was opened: after session_ttl a key opens a new one',
    `namespace` LowCardinality(String) COMMENT 'service.namespace of the first root',
    `session_id` String COMMENT 'Session id of the trace, else its conversation id, else trace: and the trace id',
    `session_source` LowCardinality(String) COMMENT 'Where the session id is from: session, conversation or trace',
    `agent` LowCardinality(String) COMMENT 'Agent of the first root',
    `agents` Array(String) COMMENT 'All agents that took part, sorted',
    `user_id` String COMMENT 'User, empty where none is known',
    `first_time` DateTime64(6, 'UTC') COMMENT 'Earliest start of a span' CODEC(Delta, ZSTD(1)),
    `last_time` DateTime64(6, 'UTC') COMMENT 'Latest end of a span' CODEC(Delta, ZSTD(1)),
    `state` LowCardinality(String) COMMENT 'open, idle, done or failed',
    `traces` UInt64 COMMENT 'Traces',
    `turns` UInt64 COMMENT 'Turns: root steps of type session',
    `steps` UInt64 COMMENT 'Steps: spans of type think, act, observe or response',
    `llm_calls` UInt64 COMMENT 'Think spans',
    `tool_calls` UInt64 COMMENT 'Act spans',
    `errors` UInt64 COMMENT 'Spans with status error',
    `input_tokens` UInt64 COMMENT 'Tokens in, of think spans only',
    `output_tokens` UInt64 COMMENT 'Tokens out, of think spans only',
    `cost_nanousd` UInt64 COMMENT 'Cost in nano-dollars, of think spans only',
    `max_repeat` UInt32 COMMENT 'Longest run of calls of one tool with equal arguments',
    `flags` Array(String) COMMENT 'What was flagged, such as loop; sorted',
    `root_name` String COMMENT 'Name of the first root, empty while none has come',
    `duration_us` UInt64 COMMENT 'last_time - first_time, µs',
    `orphans` UInt64 COMMENT 'Spans whose parent has not come after orphan_grace',
    `spans` UInt64 COMMENT 'Spans',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
ORDER BY (trace_id, segment)
TTL toDateTime(last_time) + toIntervalDay(180)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'A trace so far';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_trace` ON CLUSTER 'prod' AS `spanflow`.`dws_trace_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_trace_local', cityHash64(trace_id, segment))
COMMENT 'A trace so far';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_session_local` ON CLUSTER 'prod'
(
    `namespace` LowCardinality(String) COMMENT 'service.namespace of the first root',
    `session_id` String COMMENT 'Session id of the trace, else its conversation id, else trace: and the trace id',
    `segment` UInt64 COMMENT 'Epoch at which this segment was opened: after session_ttl a key opens a new one',
    `session_source` LowCardinality(String) COMMENT 'Where the session id is from: session, conversation or trace',
    `agent` LowCardinality(String) COMMENT 'Agent of the first root',
    `agents` Array(String) COMMENT 'All agents that took part, sorted',
    `user_id` String COMMENT 'User, empty where none is known',
    `first_time` DateTime64(6, 'UTC') COMMENT 'Earliest start of a span' CODEC(Delta, ZSTD(1)),
    `last_time` DateTime64(6, 'UTC') COMMENT 'Latest end of a span' CODEC(Delta, ZSTD(1)),
    `state` LowCardinality(String) COMMENT 'open, idle, done or failed',
    `traces` UInt64 COMMENT 'Traces',
    `turns` UInt64 COMMENT 'Turns: root steps of type session',
    `steps` UInt64 COMMENT 'Steps: spans of type think, act, observe or response',
    `llm_calls` UInt64 COMMENT 'Think spans',
    `tool_calls` UInt64 COMMENT 'Act spans',
    `errors` UInt64 COMMENT 'Spans with status error',
    `input_tokens` UInt64 COMMENT 'Tokens in, of think spans only',
    `output_tokens` UInt64 COMMENT 'Tokens out, of think spans only',
    `cost_nanousd` UInt64 COMMENT 'Cost in nano-dollars, of think spans only',
    `max_repeat` UInt32 COMMENT 'Longest run of calls of one tool with equal arguments',
    `flags` Array(String) COMMENT 'What was flagged, such as loop; sorted',
    `spans` UInt64 COMMENT 'Spans',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
ORDER BY (namespace, session_id, segment)
TTL toDateTime(last_time) + toIntervalDay(180)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'A session so far';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_session` ON CLUSTER 'prod' AS `spanflow`.`dws_session_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_session_local', cityHash64(namespace, session_id, segment))
COMMENT 'A session so far';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_user_1d_local` ON CLUSTER 'prod'
(
    `day` Date COMMENT 'Day in the business time zone',
    `namespace` LowCardinality(String) COMMENT 'service.namespace',
    `user_id` String COMMENT 'User',
    `segment` UInt64 COMMENT 'Epoch at which this segment was opened: after session_ttl a key opens a new one',
    `sessions` UInt64 COMMENT 'Sessions that were active on the day',
    `traces` UInt64 COMMENT 'Traces that ended on the day',
    `turns` UInt64 COMMENT 'Turns',
    `steps` UInt64 COMMENT 'Steps',
    `llm_calls` UInt64 COMMENT 'Think spans',
    `tool_calls` UInt64 COMMENT 'Act spans',
    `errors` UInt64 COMMENT 'Spans with status error',
    `input_tokens` UInt64 COMMENT 'Tokens in, of think spans only',
    `output_tokens` UInt64 COMMENT 'Tokens out, of think spans only',
    `cost_nanousd` UInt64 COMMENT 'Cost in nano-dollars, of think spans only',
    `first_time` DateTime64(6, 'UTC') COMMENT 'Earliest start of a span' CODEC(Delta, ZSTD(1)),
    `last_time` DateTime64(6, 'UTC') COMMENT 'Latest end of a span' CODEC(Delta, ZSTD(1)),
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(day)
ORDER BY (day, namespace, user_id, segment)
TTL day + toIntervalDay(730)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'A day of a user, in the business time zone';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_user_1d` ON CLUSTER 'prod' AS `spanflow`.`dws_user_1d_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_user_1d_local', cityHash64(day, namespace, user_id, segment))
COMMENT 'A day of a user, in the business time zone';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_edge_1m_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `from` LowCardinality(String) COMMENT 'Step before: its type, for an act with : and the tool; start before the first step',
    `to` LowCardinality(String) COMMENT 'Step after, named the same way; end after the last step',
    `count` UInt64 COMMENT 'Transitions whose later step ended in the window',
    `derived` UInt64 COMMENT 'Of them with a derived step (observe or response that no span said) at either end',
    `errors` UInt64 COMMENT 'Of them whose later step has status error',
    `gap_sum_us` UInt64 COMMENT 'Sum of the times from the end of the step before to the start of the step after, µs; overlaps count 0',
    `duration_sum_us` UInt64 COMMENT 'Sum of the durations of the steps after, µs',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, window_start, `from`, `to`)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'Transitions between typed steps: the flow chart';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_edge_1m` ON CLUSTER 'prod' AS `spanflow`.`dws_edge_1m_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_edge_1m_local', cityHash64(agent, window_start, `from`, `to`))
COMMENT 'Transitions between typed steps: the flow chart';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_resource_1m_local` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `instance` LowCardinality(String) COMMENT 'service.instance.id, else host and process id',
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `samples` UInt64 COMMENT 'Memory points in the window',
    `cpu_time_us` UInt64 COMMENT 'CPU time used in the window, all cores, µs',
    `memory_sum_bytes` UInt64 COMMENT 'Sum of the resident memory of the points, bytes; divide by samples',
    `memory_max_bytes` UInt64 COMMENT 'Highest resident memory, bytes',
    `threads_max` UInt32 COMMENT 'Most threads, 0 where not sent',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, instance, window_start)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'CPU and memory of an agent process';

CREATE TABLE IF NOT EXISTS `spanflow`.`dws_resource_1m` ON CLUSTER 'prod' AS `spanflow`.`dws_resource_1m_local`
ENGINE = Distributed('prod', 'spanflow', 'dws_resource_1m_local', cityHash64(agent, instance, window_start))
COMMENT 'CPU and memory of an agent process';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_anomaly_local` ON CLUSTER 'prod'
(
    `anomaly_id` String COMMENT 'Hash of detector, key and the window that opened it, hex',
    `detector` LowCardinality(String) COMMENT 'Detector that flagged it: error_rate, latency_p95, loop, …',
    `severity` LowCardinality(String) COMMENT 'info, warning or critical',
    `agent` LowCardinality(String) COMMENT 'Agent',
    `step_type` LowCardinality(String) COMMENT 'Step type, empty where it has no meaning',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where it has no meaning',
    `model` LowCardinality(String) COMMENT 'Model, empty where it has no meaning',
    `session_id` String COMMENT 'Session, empty for a window',
    `trace_id` String COMMENT 'Trace, empty for a window',
    `window_start` DateTime('UTC') COMMENT 'Start of the window that opened it' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the newest window that it covers' CODEC(Delta, ZSTD(1)),
    `value` Float64 COMMENT 'What was seen, in the unit that the message names',
    `expected` Float64 COMMENT 'What was expected, same unit',
    `score` Float64 COMMENT 'How far it is out; the higher the worse',
    `evidence` Array(String) COMMENT 'Ids of spans, traces or windows that show it',
    `message` String COMMENT 'One sentence for people',
    `state` LowCardinality(String) COMMENT 'open, updated or resolved',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
ORDER BY anomaly_id
TTL window_start + toIntervalDay(180)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'One flag';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_anomaly` ON CLUSTER 'prod' AS `spanflow`.`ads_anomaly_local`
ENGINE = Distributed('prod', 'spanflow', 'ads_anomaly_local', cityHash64(anomaly_id))
COMMENT 'One flag';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_slow_local` ON CLUSTER 'prod'
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent',
    `rank` UInt16 COMMENT 'Rank in the window, from 1',
    `trace_id` String COMMENT 'Trace id',
    `span_id` String COMMENT 'Span id',
    `session_id` String COMMENT 'Session id that the span itself gives',
    `name` LowCardinality(String) COMMENT 'Name of the span',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none',
    `model` LowCardinality(String) COMMENT 'Model, empty where none',
    `status` LowCardinality(String) COMMENT 'ok, error or unset',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start' CODEC(Delta, ZSTD(1)),
    `duration_us` UInt64 COMMENT 'Duration, µs',
    `cost_nanousd` UInt64 COMMENT 'Cost, nano-dollars',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'The slowest steps of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_slow` ON CLUSTER 'prod' AS `spanflow`.`ads_top_slow_local`
ENGINE = Distributed('prod', 'spanflow', 'ads_top_slow_local', cityHash64(window_start, agent, rank))
COMMENT 'The slowest steps of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_error_local` ON CLUSTER 'prod'
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent',
    `rank` UInt16 COMMENT 'Rank in the window, from 1',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none',
    `model` LowCardinality(String) COMMENT 'Model, empty where none',
    `error_type` LowCardinality(String) COMMENT 'Kind of the error',
    `count` UInt64 COMMENT 'Errors',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'The most frequent errors of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_error` ON CLUSTER 'prod' AS `spanflow`.`ads_top_error_local`
ENGINE = Distributed('prod', 'spanflow', 'ads_top_error_local', cityHash64(window_start, agent, rank))
COMMENT 'The most frequent errors of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_cost_local` ON CLUSTER 'prod'
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `agent` LowCardinality(String) COMMENT 'Agent',
    `rank` UInt16 COMMENT 'Rank in the window, from 1',
    `trace_id` String COMMENT 'Trace id',
    `span_id` String COMMENT 'Span id',
    `session_id` String COMMENT 'Session id that the span itself gives',
    `name` LowCardinality(String) COMMENT 'Name of the span',
    `step_type` LowCardinality(String) COMMENT 'Step type',
    `tool_name` LowCardinality(String) COMMENT 'Tool, empty where none',
    `model` LowCardinality(String) COMMENT 'Model, empty where none',
    `status` LowCardinality(String) COMMENT 'ok, error or unset',
    `start_time` DateTime64(6, 'UTC') COMMENT 'Start' CODEC(Delta, ZSTD(1)),
    `duration_us` UInt64 COMMENT 'Duration, µs',
    `cost_nanousd` UInt64 COMMENT 'Cost, nano-dollars',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, agent, rank)
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'The most expensive steps of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_top_cost` ON CLUSTER 'prod' AS `spanflow`.`ads_top_cost_local`
ENGINE = Distributed('prod', 'spanflow', 'ads_top_cost_local', cityHash64(window_start, agent, rank))
COMMENT 'The most expensive steps of an agent in a window';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_freshness_local` ON CLUSTER 'prod'
(
    `window_start` DateTime('UTC') COMMENT 'Start of the window of 1 minute, inclusive' CODEC(Delta, ZSTD(1)),
    `window_end` DateTime('UTC') COMMENT 'End of the window, exclusive' CODEC(Delta, ZSTD(1)),
    `spans` UInt64 COMMENT 'Spans that became visible in the window',
    `delay_p50_ms` UInt64 COMMENT 'Median delay from the end of a span to its row being visible, ms',
    `delay_p95_ms` UInt64 COMMENT '95th percentile of it, ms',
    `delay_p99_ms` UInt64 COMMENT '99th percentile of it, ms',
    `delay_max_ms` UInt64 COMMENT 'Longest, ms',
    `delay_buckets` Map(Int16, UInt64) COMMENT 'Spans by logarithmic bucket of delay in µs; read it with spanflow_quantile(q, delay_buckets)',
    `records` UInt64 COMMENT 'Kafka records consumed',
    `spans_in` UInt64 COMMENT 'Spans in them',
    `spans_landed` UInt64 COMMENT 'Spans that became rows of dwd_span',
    `spans_duplicate` UInt64 COMMENT 'Spans that had landed before',
    `spans_rejected` UInt64 COMMENT 'Spans that became dead letters',
    `spans_late` UInt64 COMMENT 'Landed spans that count in no window',
    `final` Bool COMMENT 'The watermark has passed window_end + allowed_lateness: the row changes no more',
    `rev` UInt64 COMMENT 'Epoch of the change; of rows with one key the highest rev counts',
    `is_deleted` UInt8 COMMENT '1 retracts the key, else 0'
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY window_start
TTL window_start + toIntervalDay(90)
SETTINGS replicated_deduplication_window_seconds = 2592000, replicated_deduplication_window = 10000
COMMENT 'The delay of the pipeline itself, and the counts in and out';

CREATE TABLE IF NOT EXISTS `spanflow`.`ads_freshness` ON CLUSTER 'prod' AS `spanflow`.`ads_freshness_local`
ENGINE = Distributed('prod', 'spanflow', 'ads_freshness_local', cityHash64(window_start))
COMMENT 'The delay of the pipeline itself, and the counts in and out';

ALTER TABLE `spanflow`.`ads_freshness_local` ON CLUSTER 'prod' COMMENT COLUMN `delay_buckets` 'Spans by logarithmic bucket of delay in ms; read it with spanflow_quantile(q, delay_buckets)';

ALTER TABLE `spanflow`.`ads_freshness` ON CLUSTER 'prod' COMMENT COLUMN `delay_buckets` 'Spans by logarithmic bucket of delay in ms; read it with spanflow_quantile(q, delay_buckets)';

CREATE OR REPLACE FUNCTION spanflow_bucket_value ON CLUSTER 'prod' AS
    /* spanflow_bucket_value(bucket): the value, in µs, that stands for a logarithmic bucket (base 1.02): 0 for bucket -1,
       else the middle of the bucket, 2 * 1.02^bucket / 2.02, rounded; at most 1 % from any value of the bucket */
    (bucket) -> if(bucket < 0, 0, toUInt64(round(2 * pow(1.02, bucket) / 2.02)));

CREATE OR REPLACE FUNCTION spanflow_quantile ON CLUSTER 'prod' AS
    /* spanflow_quantile(q, buckets): the q-quantile (0 to 1), in µs, of values counted in logarithmic buckets: the value of
       the smallest bucket whose cumulative count reaches max(1, ceil(q * n)); 0 when there are none. Buckets of several
       rows are added with sumMap(buckets) */
    (q, buckets) -> if(
        empty(buckets),
        toUInt64(0),
        spanflow_bucket_value(
            arraySort(mapKeys(buckets))[
                arrayFirstIndex(
                    reached -> reached >= greatest(1, ceil(q * arraySum(mapValues(buckets)))),
                    arrayCumSum(arraySort((count, bucket) -> bucket, mapValues(buckets), mapKeys(buckets)))
                )
            ]
        )
    );

CREATE OR REPLACE VIEW `spanflow`.`dws_step_1m_latest` ON CLUSTER 'prod' AS
SELECT *
FROM dws_step_1m FINAL
COMMENT 'The newest version of each row of dws_step_1m, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_step_5m_latest` ON CLUSTER 'prod' AS
SELECT *
FROM dws_step_5m FINAL
COMMENT 'The newest version of each row of dws_step_5m, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_step_1h_latest` ON CLUSTER 'prod' AS
SELECT *
FROM dws_step_1h FINAL
COMMENT 'The newest version of each row of dws_step_1h, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_trace_latest` ON CLUSTER 'prod' AS
SELECT
    trace_id,
    max(s.segment) AS segment,
    argMinIf(s.namespace, s.segment, s.agent != '') AS namespace,
    argMin(s.session_id, (-indexOf(['trace', 'conversation', 'session'], s.session_source), s.segment)) AS session_id,
    argMin(s.session_source, (-indexOf(['trace', 'conversation', 'session'], s.session_source), s.segment)) AS session_source,
    argMinIf(s.agent, s.segment, s.agent != '') AS agent,
    arraySort(groupUniqArrayArray(s.agents)) AS agents,
    argMinIf(s.user_id, s.segment, s.user_id != '') AS user_id,
    min(s.first_time) AS first_time,
    max(s.last_time) AS last_time,
    argMax(s.state, s.segment) AS state,
    max(s.traces) AS traces,
    sum(s.turns) AS turns,
    sum(s.steps) AS steps,
    sum(s.llm_calls) AS llm_calls,
    sum(s.tool_calls) AS tool_calls,
    sum(s.errors) AS errors,
    sum(s.input_tokens) AS input_tokens,
    sum(s.output_tokens) AS output_tokens,
    sum(s.cost_nanousd) AS cost_nanousd,
    max(s.max_repeat) AS max_repeat,
    arraySort(groupUniqArrayArray(s.flags)) AS flags,
    argMinIf(s.root_name, s.segment, s.root_name != '') AS root_name,
    toUInt64(dateDiff('microsecond', min(s.first_time), max(s.last_time))) AS duration_us,
    sum(s.orphans) AS orphans,
    sum(s.spans) AS spans,
    max(s.rev) AS rev,
    max(s.is_deleted) AS is_deleted
FROM dws_trace AS s FINAL
GROUP BY trace_id
COMMENT 'The newest state of each key of dws_trace: segments combined, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_session_latest` ON CLUSTER 'prod' AS
SELECT
    namespace,
    session_id,
    max(s.segment) AS segment,
    argMin(s.session_source, (-indexOf(['trace', 'conversation', 'session'], s.session_source), s.segment)) AS session_source,
    argMinIf(s.agent, s.segment, s.agent != '') AS agent,
    arraySort(groupUniqArrayArray(s.agents)) AS agents,
    argMinIf(s.user_id, s.segment, s.user_id != '') AS user_id,
    min(s.first_time) AS first_time,
    max(s.last_time) AS last_time,
    argMax(s.state, s.segment) AS state,
    sum(s.traces) AS traces,
    sum(s.turns) AS turns,
    sum(s.steps) AS steps,
    sum(s.llm_calls) AS llm_calls,
    sum(s.tool_calls) AS tool_calls,
    sum(s.errors) AS errors,
    sum(s.input_tokens) AS input_tokens,
    sum(s.output_tokens) AS output_tokens,
    sum(s.cost_nanousd) AS cost_nanousd,
    max(s.max_repeat) AS max_repeat,
    arraySort(groupUniqArrayArray(s.flags)) AS flags,
    sum(s.spans) AS spans,
    max(s.rev) AS rev,
    max(s.is_deleted) AS is_deleted
FROM dws_session AS s FINAL
GROUP BY namespace, session_id
COMMENT 'The newest state of each key of dws_session: segments combined, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_user_1d_latest` ON CLUSTER 'prod' AS
SELECT
    day,
    namespace,
    user_id,
    max(s.segment) AS segment,
    sum(s.sessions) AS sessions,
    sum(s.traces) AS traces,
    sum(s.turns) AS turns,
    sum(s.steps) AS steps,
    sum(s.llm_calls) AS llm_calls,
    sum(s.tool_calls) AS tool_calls,
    sum(s.errors) AS errors,
    sum(s.input_tokens) AS input_tokens,
    sum(s.output_tokens) AS output_tokens,
    sum(s.cost_nanousd) AS cost_nanousd,
    min(s.first_time) AS first_time,
    max(s.last_time) AS last_time,
    max(s.rev) AS rev,
    max(s.is_deleted) AS is_deleted
FROM dws_user_1d AS s FINAL
GROUP BY day, namespace, user_id
COMMENT 'The newest state of each key of dws_user_1d: segments combined, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_edge_1m_latest` ON CLUSTER 'prod' AS
SELECT *
FROM dws_edge_1m FINAL
COMMENT 'The newest version of each row of dws_edge_1m, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dws_resource_1m_latest` ON CLUSTER 'prod' AS
SELECT *
FROM dws_resource_1m FINAL
COMMENT 'The newest version of each row of dws_resource_1m, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`ads_anomaly_latest` ON CLUSTER 'prod' AS
SELECT *
FROM ads_anomaly FINAL
COMMENT 'The newest version of each row of ads_anomaly, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`ads_top_slow_latest` ON CLUSTER 'prod' AS
SELECT *
FROM ads_top_slow FINAL
COMMENT 'The newest version of each row of ads_top_slow, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`ads_top_error_latest` ON CLUSTER 'prod' AS
SELECT *
FROM ads_top_error FINAL
COMMENT 'The newest version of each row of ads_top_error, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`ads_top_cost_latest` ON CLUSTER 'prod' AS
SELECT *
FROM ads_top_cost FINAL
COMMENT 'The newest version of each row of ads_top_cost, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`ads_freshness_latest` ON CLUSTER 'prod' AS
SELECT *
FROM ads_freshness FINAL
COMMENT 'The newest version of each row of ads_freshness, without deleted ones';

CREATE OR REPLACE VIEW `spanflow`.`dwd_step` ON CLUSTER 'prod' AS
WITH
    -- A span with what the rest of its trace says of it. The windows go by session and trace, so that a condition on either
    -- reaches the tables below; as a trace has one session, that splits no trace.
    seen AS
    (
        SELECT
            *,
            max(step_no) OVER same_trace > 0 AS numbered,
            max(step_type = 'observe') OVER same_trace AS observe_sent,
            max(step_type = 'response') OVER same_trace AS response_sent,
            max(parent_span_id = '') OVER same_trace AS root_came,
            argMaxIf(
                (span_id, content_hash),
                (end_time, span_id, content_hash),
                step_type = 'think' AND output_preview != ''
            ) OVER same_trace AS last_output,
            -- Backwards in time, an act by its end and after a think of the same instant: the last think seen is the next one.
            minIf(start_time, step_type = 'think') OVER (
                PARTITION BY trace_session_id, trace_id
                ORDER BY if(step_type = 'act', end_time, start_time) DESC, step_type = 'act'
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS think_time
        FROM dwd_span
        LEFT ANY JOIN (SELECT trace_id AS parent_trace_id, span_id AS found_span_id FROM dwd_span) AS parent
            ON parent_trace_id = trace_id AND found_span_id = parent_span_id
        LEFT ANY JOIN
        (
            SELECT trace_id AS rolled_trace_id, session_id AS trace_session_id, user_id AS trace_user_id FROM dws_trace_latest
        ) AS rolled
            ON rolled_trace_id = trace_id
        WINDOW same_trace AS (PARTITION BY trace_session_id, trace_id)
    ),
    -- A row for the span itself (part is empty), and one for each step that is derived from it.
    parted AS
    (
        SELECT
            *,
            arrayJoin(
                arrayConcat(
                    [''],
                    if(
                        step_type = 'act' AND output_preview != '' AND NOT observe_sent AND think_time >= end_time,
                        ['observe'],
                        []
                    ),
                    if(root_came AND NOT response_sent AND (span_id, content_hash) = last_output, ['response'], [])
                )
            ) AS part
        FROM seen
    ),
    -- A derived step takes the place and the output of its span, and none of its counts.
    shaped AS
    (
        SELECT
            * REPLACE (
                trace_session_id AS session_id,
                trace_user_id AS user_id,
                if(part = '', name, part) AS name,
                if(part = '', step_type, part) AS step_type,
                if(part = '', start_time, end_time) AS start_time,
                if(part = 'observe', think_time, end_time) AS end_time,
                multiIf(
                    part = '', duration_us,
                    part = 'observe', toUInt64(dateDiff('microsecond', end_time, think_time)),
                    0
                ) AS duration_us,
                if(part = '', step_no, 0) AS step_no,
                if(part = '', status, 'unset') AS status,
                if(part = '', status_message, '') AS status_message,
                if(part = '', error_type, '') AS error_type,
                if(part = '', error_message, '') AS error_message,
                if(part = '', error_stack, '') AS error_stack,
                if(part = '', input_tokens, 0) AS input_tokens,
                if(part = '', output_tokens, 0) AS output_tokens,
                if(part = '', cache_read_tokens, 0) AS cache_read_tokens,
                if(part = '', cost_nanousd, 0) AS cost_nanousd,
                if(part = '', args_hash, 0) AS args_hash,
                if(part = '', input_preview, '') AS input_preview,
                if(part = '', input_hash, '') AS input_hash
            ),
            toBool(
                part = '' AND parent_span_id != '' AND found_span_id = ''
                AND ingest_time < now64(3) - toIntervalSecond(
                    (SELECT toUInt32OrDefault(any(value), 60::UInt32) FROM ops_setting FINAL WHERE name = 'orphan_grace_seconds')
                )
            ) AS orphan,
            toBool(part != '') AS derived
        FROM parted
    ),
    counted AS
    (
        SELECT
            *,
            sum(step_type IN ('think', 'act', 'observe', 'response')) OVER (
                PARTITION BY session_id, trace_id
                ORDER BY start_time, end_time, derived, span_id, content_hash
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS place
        FROM shaped
    )
SELECT
    * EXCEPT (
        numbered, observe_sent, response_sent, root_came, last_output, parent_trace_id, found_span_id, think_time,
        rolled_trace_id, trace_session_id, trace_user_id, part, place
    )
    REPLACE (
        multiIf(
            numbered, step_no,
            step_type IN ('think', 'act', 'observe', 'response'), toUInt32(place),
            0
        ) AS step_no
    )
FROM counted
COMMENT 'The steps of a trace or a session, to be read by trace_id or session_id: the columns of dwd_span, with session_id and user_id as the whole trace shows them (empty until it is in dws_trace), step_no counted by start over think, act, observe and response where none was sent, orphan (the parent has not come within orphan_grace_seconds of ops_setting), and the derived steps: an observe is the result of a tool, from the end of the act to the start of the next think; a response is the last output of a think step, of a trace whose root has come; either only in a trace that sent none of its own';

CREATE OR REPLACE VIEW `spanflow`.`otel_traces` ON CLUSTER 'prod'
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

CREATE OR REPLACE VIEW `spanflow`.`otel_traces_trace_id_ts` ON CLUSTER 'prod'
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

CREATE OR REPLACE VIEW `spanflow`.`ads_agent_health` ON CLUSTER 'prod'
(
    `agent` LowCardinality(String) COMMENT 'Agent',
    `window_start` DateTime('UTC') COMMENT 'Start of the minute',
    `window_end` DateTime('UTC') COMMENT 'End of the minute',
    `steps` UInt64 COMMENT 'Steps that ended in the minute, all types but session',
    `turns` UInt64 COMMENT 'Steps of type session that ended in it',
    `steps_per_second` Float64 COMMENT 'steps / 60',
    `errors` UInt64 COMMENT 'Of the steps those with status error',
    `error_rate` Float64 COMMENT 'errors / steps, 0 to 1',
    `slo_burn` Float64 COMMENT 'error_rate over the error budget (slo_error_budget of ops_setting, 0.01): above 1 the budget does not last',
    `duration_p50_us` UInt64 COMMENT 'Median duration of the steps, µs',
    `duration_p95_us` UInt64 COMMENT '95th percentile of it, µs',
    `duration_p99_us` UInt64 COMMENT '99th percentile of it, µs',
    `turn_p95_us` UInt64 COMMENT '95th percentile of the duration of turns, µs',
    `input_tokens` UInt64 COMMENT 'Tokens in, of think steps',
    `output_tokens` UInt64 COMMENT 'Tokens out, of think steps',
    `cost_nanousd` UInt64 COMMENT 'Cost of think steps, nano-dollars',
    `open_sessions` UInt64 COMMENT 'Sessions of the agent between whose first and last span the minute lies',
    `final` Bool COMMENT 'All rows behind it are final'
)
AS
WITH
    toFloat64OrDefault(
        (SELECT any(value) FROM ops_setting FINAL WHERE name = 'slo_error_budget'), 0.01
    ) AS slo_error_budget
SELECT
    step.agent AS agent,
    step.window_start AS window_start,
    any(step.window_end) AS window_end,
    sumIf(step.count, step.step_type != 'session') AS steps,
    sumIf(step.count, step.step_type = 'session') AS turns,
    steps / 60 AS steps_per_second,
    sumIf(step.errors, step.step_type != 'session') AS errors,
    if(steps = 0, 0, errors / steps) AS error_rate,
    error_rate / slo_error_budget AS slo_burn,
    sumMapIf(step.duration_buckets, step.step_type != 'session') AS buckets,
    spanflow_quantile(0.5, buckets) AS duration_p50_us,
    spanflow_quantile(0.95, buckets) AS duration_p95_us,
    spanflow_quantile(0.99, buckets) AS duration_p99_us,
    spanflow_quantile(0.95, sumMapIf(step.duration_buckets, step.step_type = 'session')) AS turn_p95_us,
    sumIf(step.input_tokens, step.step_type = 'think') AS input_tokens,
    sumIf(step.output_tokens, step.step_type = 'think') AS output_tokens,
    sumIf(step.cost_nanousd, step.step_type = 'think') AS cost_nanousd,
    any(session.sessions) AS open_sessions,
    min(step.final) AS final
FROM dws_step_1m_latest AS step
LEFT ANY JOIN
(
    SELECT
        agent,
        arrayJoin(
            arrayMap(
                minute -> toDateTime(minute * 60, 'UTC'),
                range(intDiv(toUnixTimestamp(first_time), 60), intDiv(toUnixTimestamp(last_time), 60) + 1)
            )
        ) AS window_start,
        count() AS sessions
    FROM dws_session_latest
    GROUP BY agent, window_start
) AS session
    ON session.agent = step.agent AND session.window_start = step.window_start
GROUP BY agent, window_start
COMMENT 'Health of an agent by minute';

CREATE OR REPLACE VIEW `spanflow`.`ads_session_feature` ON CLUSTER 'prod'
(
    `namespace` LowCardinality(String) COMMENT 'service.namespace',
    `session_id` String COMMENT 'Session',
    `agent` LowCardinality(String) COMMENT 'Agent of the first root',
    `user_id` String COMMENT 'User, empty where none is known',
    `state` LowCardinality(String) COMMENT 'open, idle, done or failed',
    `first_time` DateTime64(6, 'UTC') COMMENT 'Earliest start of a span',
    `duration_s` Float64 COMMENT 'From the first start to the last end, s',
    `start_hour` UInt8 COMMENT 'Hour of first_time, UTC, 0 to 23',
    `start_weekday` UInt8 COMMENT 'Weekday of first_time, 1 Monday to 7 Sunday',
    `agents` UInt64 COMMENT 'Agents that took part',
    `traces` UInt64 COMMENT 'Traces',
    `turns` UInt64 COMMENT 'Turns',
    `steps` UInt64 COMMENT 'Steps',
    `llm_calls` UInt64 COMMENT 'Think spans',
    `tool_calls` UInt64 COMMENT 'Act spans',
    `errors` UInt64 COMMENT 'Spans with status error',
    `error_rate` Float64 COMMENT 'errors / spans, 0 to 1',
    `steps_per_turn` Float64 COMMENT 'steps / turns',
    `tool_share` Float64 COMMENT 'tool_calls / steps',
    `input_tokens_per_call` Float64 COMMENT 'Tokens in by think span',
    `output_tokens_per_call` Float64 COMMENT 'Tokens out by think span',
    `input_tokens` UInt64 COMMENT 'Tokens in',
    `output_tokens` UInt64 COMMENT 'Tokens out',
    `cost_usd` Float64 COMMENT 'Cost, dollars',
    `max_repeat` UInt32 COMMENT 'Longest run of calls of one tool with equal arguments',
    `looped` Bool COMMENT 'Flagged as a loop',
    `flags` UInt64 COMMENT 'Flags'
)
AS
SELECT
    session.namespace AS namespace,
    session.session_id AS session_id,
    session.agent AS agent,
    session.user_id AS user_id,
    session.state AS state,
    session.first_time AS first_time,
    dateDiff('microsecond', session.first_time, session.last_time) / 1e6 AS duration_s,
    toHour(toTimeZone(session.first_time, 'UTC')) AS start_hour,
    toDayOfWeek(session.first_time) AS start_weekday,
    length(session.agents) AS agents,
    session.traces AS traces,
    session.turns AS turns,
    session.steps AS steps,
    session.llm_calls AS llm_calls,
    session.tool_calls AS tool_calls,
    session.errors AS errors,
    if(session.spans = 0, 0, session.errors / session.spans) AS error_rate,
    if(session.turns = 0, 0, session.steps / session.turns) AS steps_per_turn,
    if(session.steps = 0, 0, session.tool_calls / session.steps) AS tool_share,
    if(session.llm_calls = 0, 0, session.input_tokens / session.llm_calls) AS input_tokens_per_call,
    if(session.llm_calls = 0, 0, session.output_tokens / session.llm_calls) AS output_tokens_per_call,
    session.input_tokens AS input_tokens,
    session.output_tokens AS output_tokens,
    session.cost_nanousd / 1e9 AS cost_usd,
    session.max_repeat AS max_repeat,
    toBool(has(session.flags, 'loop')) AS looped,
    length(session.flags) AS flags
FROM dws_session_latest AS session
COMMENT 'Features of a session, for training';

CREATE OR REPLACE VIEW `spanflow`.`ods_dead_letter_status` ON CLUSTER 'prod'
(
    `id` String COMMENT 'What a replay names in its header spanflow-replay-of: topic/partition/offset, and /index for a span',
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record',
    `index` UInt32 COMMENT 'Position of the span in its record, 0 for a whole record',
    `unit` LowCardinality(String) COMMENT 'What was rejected: record or span; gap: offsets that were deleted before they were read',
    `error_code` LowCardinality(String) COMMENT 'Why, as a stable code such as time_out_of_range',
    `error` String COMMENT 'Why, in words, with the place in the payload',
    `key` String COMMENT 'Key of the record as it came, empty when null',
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes',
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as, or undecodable',
    `trace_id` String COMMENT 'Trace id of the span as sent, hex; empty where none could be read',
    `span_id` String COMMENT 'Span id of the span as sent, hex; empty where none could be read',
    `payload` String COMMENT 'The rejected bytes as they came: the whole record, or the one span',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'When it was rejected',
    `replay_of` String COMMENT 'The letter that stands for it in replays: its own id, or that of the letter which it was a replay of',
    `status` LowCardinality(String) COMMENT 'open, replayed (a replay of it has landed) or rejected (replays of it came and were rejected again)',
    `replays` UInt64 COMMENT 'Records that came as replays of it',
    `replayed_time` DateTime64(3, 'UTC') COMMENT 'When the first replay landed, 1970 when none has'
)
AS
SELECT
    letter.id AS id,
    letter.topic AS topic,
    letter.partition AS partition,
    letter.offset AS offset,
    letter.index AS index,
    letter.unit AS unit,
    letter.error_code AS error_code,
    letter.error AS error,
    letter.key AS key,
    letter.headers AS headers,
    letter.encoding AS encoding,
    letter.trace_id AS trace_id,
    letter.span_id AS span_id,
    letter.payload AS payload,
    letter.ingest_time AS ingest_time,
    letter.stands_for AS replay_of,
    multiIf(replay.landed > 0, 'replayed', replay.came > 0, 'rejected', 'open') AS status,
    replay.came AS replays,
    replay.first_landed AS replayed_time
FROM
(
    SELECT
        *,
        concat(topic, '/', toString(partition), '/', toString(offset), if(unit = 'span', concat('/', toString(index)), '')) AS id,
        arrayFirst(header -> lower(header.1) = 'spanflow-replay-of', headers).2 AS named,
        if(named = '', id, named) AS stands_for
    FROM ods_dead_letter
) AS letter
LEFT JOIN
(
    SELECT
        arrayFirst(header -> lower(header.1) = 'spanflow-replay-of', headers).2 AS stood_for,
        count() AS came,
        countIf(spans_landed + spans_duplicate > 0) AS landed,
        minIf(ingest_time, spans_landed + spans_duplicate > 0) AS first_landed
    FROM ods_record
    WHERE stood_for != ''
    GROUP BY stood_for
) AS replay ON replay.stood_for = letter.stands_for
COMMENT 'Dead letters, and what became of them';

CREATE OR REPLACE VIEW `spanflow`.`ods_dead_letter_status` ON CLUSTER 'prod'
(
    `id` String COMMENT 'What a replay names in its header spanflow-replay-of: topic/partition/offset, and /index for a span or point',
    `topic` LowCardinality(String) COMMENT 'Kafka topic of the record',
    `partition` Int32 COMMENT 'Kafka partition of the record',
    `offset` Int64 COMMENT 'Kafka offset of the record',
    `index` UInt32 COMMENT 'Position of the span or point in its record, else 0',
    `unit` LowCardinality(String) COMMENT 'What was rejected: record, span or point; gap: offsets that were deleted before they were read',
    `error_code` LowCardinality(String) COMMENT 'Why, as a stable code such as time_out_of_range',
    `error` String COMMENT 'Why, in words, with the place in the payload',
    `key` String COMMENT 'Key of the record as it came, empty when null',
    `headers` Array(Tuple(name String, value String)) COMMENT 'Headers in the order sent; a value may hold any bytes',
    `encoding` LowCardinality(String) COMMENT 'What the payload was read as, or undecodable',
    `trace_id` String COMMENT 'Trace id of the span as sent, hex; empty where none could be read',
    `span_id` String COMMENT 'Span id of the span as sent, hex; empty where none could be read',
    `payload` String COMMENT 'The rejected bytes as they came: the whole record, or the one span or point',
    `ingest_time` DateTime64(3, 'UTC') COMMENT 'When it was rejected',
    `replay_of` String COMMENT 'The letter that stands for it in replays: its own id, or that of the letter which it was a replay of',
    `status` LowCardinality(String) COMMENT 'open, replayed (a replay of it has landed) or rejected (replays of it came and were rejected again)',
    `replays` UInt64 COMMENT 'Records that came as replays of it',
    `replayed_time` DateTime64(3, 'UTC') COMMENT 'When the first replay landed, 1970 when none has'
)
AS
SELECT
    letter.id AS id,
    letter.topic AS topic,
    letter.partition AS partition,
    letter.offset AS offset,
    letter.index AS index,
    letter.unit AS unit,
    letter.error_code AS error_code,
    letter.error AS error,
    letter.key AS key,
    letter.headers AS headers,
    letter.encoding AS encoding,
    letter.trace_id AS trace_id,
    letter.span_id AS span_id,
    letter.payload AS payload,
    letter.ingest_time AS ingest_time,
    letter.stands_for AS replay_of,
    multiIf(replay.landed > 0, 'replayed', replay.came > 0, 'rejected', 'open') AS status,
    replay.came AS replays,
    replay.first_landed AS replayed_time
FROM
(
    SELECT
        *,
        concat(topic, '/', toString(partition), '/', toString(offset), if(unit IN ('span', 'point'), concat('/', toString(index)), '')) AS id,
        arrayFirst(header -> lower(header.1) = 'spanflow-replay-of', headers).2 AS named,
        if(named = '', id, named) AS stands_for
    FROM ods_dead_letter
) AS letter
LEFT JOIN
(
    SELECT
        arrayFirst(header -> lower(header.1) = 'spanflow-replay-of', headers).2 AS stood_for,
        count() AS came,
        countIf(landed_rows > 0) AS landed,
        minIf(ingest_time, landed_rows > 0) AS first_landed
    FROM (SELECT *, spans_landed + spans_duplicate + points_landed + points_duplicate AS landed_rows FROM ods_record)
    WHERE stood_for != ''
    GROUP BY stood_for
) AS replay ON replay.stood_for = letter.stands_for
COMMENT 'Dead letters, and what became of them';

INSERT INTO `spanflow`.`ops_migration` (number, name, checksum, applied_time)
SETTINGS distributed_foreground_insert = 1
VALUES
    (0, 'ops_migration', '2e2c067e31b0c4aa1050991686baef5cbf0ee1e591f2b9cf7999ffa7b0ee583d', now64(3)),
    (1, 'ops_epoch', 'f45f411d4bbc5cb38d38a8138c2992ce9588057f90434b0f125052d5c642ae67', now64(3)),
    (2, 'ops_probe', 'f86dc3811b336d985f819c79943908c77458151c1bcc1f9b6a06b807cfef28eb', now64(3)),
    (3, 'ops_setting', '90a59e01fd0dd1f3b4651b6cb43010a486d9f442de73bd0e01d43c726acdb30b', now64(3)),
    (101, 'ods_record', '4f66bc7193695373960a8df0e2d8d25d44245a1e633040c1d3033b43bb7d2600', now64(3)),
    (102, 'ods_dead_letter', 'c11f3f7878599357be4f887826013462147ba254936f0f0498fe93ca3b3fc124', now64(3)),
    (103, 'ods_points', 'd8c9b6dc06d53e5d3552f216c29ab7be0c7767be91d3e07458bfdc9ebe8d44dd', now64(3)),
    (201, 'dwd_span', '10efe6a80a5e2548411ccb7f27e1c5b2b1a349968bd63626cb0e29bad47da796', now64(3)),
    (202, 'dwd_content', '73b4668fed2a0d38cb76b0a0f231651d55c5d65d20062571e18dc2a27d477163', now64(3)),
    (203, 'dwd_event', 'bd37ccb8ebf63063098759d30821dbe2d22772f72ecf24272d3bc6ecc63e3ecd', now64(3)),
    (204, 'dwd_metric_point', 'da0ed719ab6f221419d67dd5328395aa5a46e15c06aba76f1f201ac5cbacfeae', now64(3)),
    (205, 'dwd_metric_point_late', '53b36471cab8ff0b997d1182f7aaa0d3f7e1e9bb54c9522afef6ae55c2fe117a', now64(3)),
    (206, 'dwd_span_times', '346d137c8a26a509d2ee136ff62e00de5aae31e8aeb419c9e9c0775e977797ec', now64(3)),
    (301, 'dws_step_1m', '20360262aea7250f1509ec8b09ff57adbc84dce13498a41beadc01c5f1336d44', now64(3)),
    (302, 'dws_step_5m', '831fcae8e3005e00f5a9a51721b8ebb79c146cb7d53e4e7766f46d0add72fe8b', now64(3)),
    (303, 'dws_step_1h', '7968acbe0941eb5e7362a2cb7185807e56f87c5b678ff0f260810a8c4de76efb', now64(3)),
    (304, 'dws_trace', '41e1d534d400035d1b5800c409382be0f7022bacc77a42176678a536e3d2e98a', now64(3)),
    (305, 'dws_session', '1c8f70108c90d1dee844b1234a7bfd635001aa73bc909c6501c121a198896221', now64(3)),
    (306, 'dws_user_1d', '5da36bd4577de77a2e2a50b3d050b1544329255ff5bf0ac4a367d8288610545f', now64(3)),
    (307, 'dws_edge_1m', '9c17826da77602416c6f62cd9e708b8e9f4ef6fd19e990d443f0af8295ddcd56', now64(3)),
    (308, 'dws_resource_1m', '3c61858700f7e8a866360fd6cf7d6e627fd949393c405ac696415fa07495e252', now64(3)),
    (401, 'ads_anomaly', 'b4d9ebe822c4457131a376fd83f6da4be7e2dde2703f8c4a78711dcdbe78b6a9', now64(3)),
    (402, 'ads_top_slow', 'f2f85c4906f94a8d2e571ba7b1296de7526eb1bf4ea0f7b048b13eedd4ac884e', now64(3)),
    (403, 'ads_top_error', '79c463b84061b2d51ee199dc4021cc1c4ab7ea1050bd6704379e08923b5df0ce', now64(3)),
    (404, 'ads_top_cost', '180b46db91e6362c653f7e82c4131efa978524a5dafefa1aba6ef6102ab48b99', now64(3)),
    (405, 'ads_freshness', 'e067fd6994107ab59107806dc91faeea242cc1f739467cd2a24296eed91e1ce0', now64(3)),
    (406, 'ads_freshness_delay_unit', '268270268563276cebdd47d263f904e9c1f322558e26cff846386f2d8411cd62', now64(3)),
    (501, 'spanflow_quantile', '08e182edabf55d78d996e096374e30c44494e058dea5faeae9862b9fc36c94b7', now64(3)),
    (511, 'dws_step_1m_latest', '25750628337bc4b72669f333a6249f78b3453babcd0f9dda74ce76c2c65799c7', now64(3)),
    (512, 'dws_step_5m_latest', 'c8f09ff6271c14760f79f6a4eb302e3b4969f9c19d02a1ae6760723688d5afde', now64(3)),
    (513, 'dws_step_1h_latest', '4009e6f5d318d1b0661cffe0b47195a8f7f01eb80aef4b5751f09f6acf8f8ac6', now64(3)),
    (514, 'dws_trace_latest', 'ff7a51e2394530061e7986b8fb21cc956a1a5621e46b643d088d153b9245b9dc', now64(3)),
    (515, 'dws_session_latest', 'f6c342745473b418890399b075c19e1171f386f66a90df9a30a6a4f2d18e2161', now64(3)),
    (516, 'dws_user_1d_latest', '876487b97c2efd2f4722b9db1d595f8518e00016f71b230408bf20b16149c5d3', now64(3)),
    (517, 'dws_edge_1m_latest', 'e13c210891548dc28d648302fe9c9c1afe2476cdb8409f319bbcbe42687f0f17', now64(3)),
    (518, 'dws_resource_1m_latest', 'f5b2b7970ab5a4117d979f4fb24a8e12e14fd61957558220774b05422a4ff22e', now64(3)),
    (521, 'ads_anomaly_latest', '5841cace0a866b438ca1a0ec206756228ea58a9bd614ba10a7e66363fc2d9e91', now64(3)),
    (522, 'ads_top_slow_latest', 'ff83c1a3c4296186f4bb76ebe8688ca670e32c09c4e6f5574c98acb86b6bc6bb', now64(3)),
    (523, 'ads_top_error_latest', '7c4bf668b61afd9134fea5caf6b7c59fcf12adf703552a89d1db45b26373b574', now64(3)),
    (524, 'ads_top_cost_latest', '10fb09a7c9e21e90a08fb8a0dcbd95c740194a24ce25b79e99a0e2716b456cf1', now64(3)),
    (525, 'ads_freshness_latest', '7fc33ed949b08b217c15afbd02ebb014fc743234212a8aa605d3ee463d0a2899', now64(3)),
    (531, 'dwd_step', 'd42f7ae2dce57e4491a0c1d9b2970daab30c10182f700c988cd49f77756bbb4a', now64(3)),
    (532, 'otel_traces', '04086e888834e6766925fcc82ce628c757a5e5215ebaf94d07dbcdf10efd0733', now64(3)),
    (533, 'otel_traces_trace_id_ts', 'f04ebd85047a4ebec2609608507be47270985395c6ddd43cec6ea2fa76bf0f7c', now64(3)),
    (534, 'ads_agent_health', '8c3eeffa4e635028608c51e2d0b27d849debf59be93d8208473bbcd4fa73eb77', now64(3)),
    (535, 'ads_session_feature', '4b4b7b85f8a796949edf376d7f4e01b61fd56e3341401a41a0f2fa837893ab39', now64(3)),
    (536, 'ods_dead_letter_status', '7a67404f49698e841110fc1fa964012e30100dbdd02a4589794907f60101313d', now64(3)),
    (537, 'ods_dead_letter_status_points', '6cdfcf81899b3c3da33bcf5def9045a6a1b9254b243c14e1a9aeb76966c3c6cb', now64(3));
