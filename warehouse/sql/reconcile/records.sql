-- Every record that an epoch consumed is one row of ods_record.
SELECT
    'records consumed = ods_record rows' AS name,
    sum(l) AS left,
    sum(r) AS right,
    sum(abs(toInt64(l) - toInt64(r))) AS difference,
    if(difference = 0, '', 'epoch ' || toString(argMax(unit, abs(toInt64(l) - toInt64(r))))) AS example
FROM
(
    SELECT unit, sum(a) AS l, sum(b) AS r
    FROM
    (
        SELECT epoch AS unit, records AS a, 0 AS b FROM ops_epoch
        WHERE epoch <= {last_epoch:UInt64} AND wall_time >= {ods_from:DateTime64(3, 'UTC')}
        UNION ALL
        SELECT _epoch, 0, 1 FROM ods_record
        WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {ods_from:DateTime64(3, 'UTC')}
    )
    GROUP BY unit
)
