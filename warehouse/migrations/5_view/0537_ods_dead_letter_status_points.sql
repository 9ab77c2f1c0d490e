CREATE OR REPLACE VIEW ods_dead_letter_status
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
