CREATE OR REPLACE VIEW ads_agent_health
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
