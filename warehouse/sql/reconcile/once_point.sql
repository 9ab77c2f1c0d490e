-- No metric point landed twice. (A copy that comes more than dedup_horizon behind the watermark does, and shows here.)
SELECT
    'dwd_metric_point rows = distinct points' AS name,
    sum(copies) AS left,
    count() AS right,
    left - right AS difference,
    if(difference = 0, '', 'point ' || toString(argMax(unit, copies))) AS example
FROM
(
    SELECT (agent, metric, time, content_hash) AS unit, count() AS copies
    FROM dwd_metric_point
    WHERE _epoch <= {last_epoch:UInt64}
    GROUP BY unit
)
