-- Every metric point that a record says has landed is one row of dwd_metric_point.
SELECT
    'points_landed of ods_record = dwd_metric_point rows' AS name,
    sum(l) AS left,
    sum(r) AS right,
    sum(abs(toInt64(l) - toInt64(r))) AS difference,
    if(difference = 0, '', 'record ' || toString(argMax(unit, abs(toInt64(l) - toInt64(r))))) AS example
FROM
(
    SELECT unit, sum(a) AS l, sum(b) AS r
    FROM
    (
        SELECT (topic, partition, offset) AS unit, points_landed AS a, 0 AS b FROM ods_record
        WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {ods_from:DateTime64(3, 'UTC')} AND ingest_time >= {points_from:DateTime64(3, 'UTC')}
        UNION ALL
        SELECT (topic, partition, offset), 0, 1 FROM dwd_metric_point
        WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {ods_from:DateTime64(3, 'UTC')} AND ingest_time >= {points_from:DateTime64(3, 'UTC')}
    )
    GROUP BY unit
)
