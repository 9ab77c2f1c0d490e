CREATE TABLE IF NOT EXISTS dwd_metric_point
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
ENGINE = MergeTree
PARTITION BY toDate(ingest_time)
ORDER BY (agent, metric, toStartOfMinute(time))
TTL toDateTime(ingest_time) + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One metric point: CPU and memory of an agent process, counters of an agent';
