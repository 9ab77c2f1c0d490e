CREATE OR REPLACE VIEW dws_session_latest AS
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
