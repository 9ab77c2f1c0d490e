CREATE OR REPLACE VIEW dwd_step AS
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
