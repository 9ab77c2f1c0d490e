CREATE TABLE IF NOT EXISTS dws_trace
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
ENGINE = ReplacingMergeTree(rev, is_deleted)
ORDER BY (trace_id, segment)
TTL toDateTime(last_time) + toIntervalDay(180)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'A trace so far';
