-- No span landed twice. (A copy that comes more than dedup_horizon behind the watermark does, and shows here.)
SELECT
    'dwd_span rows = distinct spans' AS name,
    sum(copies) AS left,
    count() AS right,
    left - right AS difference,
    if(difference = 0, '', 'span ' || toString(argMax(unit, copies))) AS example
FROM
(
    SELECT (trace_id, span_id, content_hash) AS unit, count() AS copies
    FROM dwd_span
    WHERE _epoch <= {last_epoch:UInt64}
    GROUP BY unit
)
