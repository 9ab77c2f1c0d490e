-- A topic's records, counted by the one who asks, are the rows of ods_record.
SELECT
    'records of ' || {topic:String} || ' as counted = ods_record rows' AS name,
    {records:UInt64} AS left,
    count() AS right,
    abs(toInt64(left) - toInt64(right)) AS difference,
    '' AS example
FROM ods_record
WHERE topic = {topic:String} AND _epoch <= {last_epoch:UInt64}
