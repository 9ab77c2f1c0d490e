CREATE TABLE IF NOT EXISTS dws_step_1m
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
ENGINE = ReplacingMergeTree(rev, is_deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (agent, step_type, tool_name, model, window_start)
TTL window_start + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Steps by agent, step type, tool and model in windows of 1 minute, by end time';
