-- No record landed twice.
SELECT
    'ods_record rows = distinct records' AS name,
    sum(copies) AS left,
    count() AS right,
    left - right AS difference,
    if(difference = 0, '', 'record ' || toString(argMax(unit, copies))) AS example
FROM
(
    SELECT (topic, partition, offset) AS unit, count() AS copies
    FROM ods_record
    WHERE _epoch <= {last_epoch:UInt64}
    GROUP BY unit
)
