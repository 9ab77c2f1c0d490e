-- Every span that an epoch says has landed is one row of dwd_span, also where ODS is gone.
SELECT
    'spans_landed by epoch = dwd_span rows' AS name,
    sum(l) AS left,
    sum(r) AS right,
    sum(abs(toInt64(l) - toInt64(r))) AS difference,
    if(difference = 0, '', 'epoch ' || toString(argMax(unit, abs(toInt64(l) - toInt64(r))))) AS example
FROM
(
    SELECT unit, sum(a) AS l, sum(b) AS r
    FROM
    (
        SELECT epoch AS unit, spans_landed AS a, 0 AS b FROM ops_epoch
        WHERE epoch <= {last_epoch:UInt64} AND wall_time >= {dwd_from:DateTime64(3, 'UTC')}
        UNION ALL
        SELECT _epoch, 0, 1 FROM dwd_span
        WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {dwd_from:DateTime64(3, 'UTC')}
    )
    GROUP BY unit
)
