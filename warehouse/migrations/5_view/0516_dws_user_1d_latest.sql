CREATE OR REPLACE VIEW dws_user_1d_latest AS
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
