-- A record's spans landed, had landed before, or were rejected; nothing else can become of them.
SELECT
    'spans of ods_record = landed + duplicate + rejected' AS name,
    sum(spans) AS left,
    sum(toUInt64(spans_landed) + spans_duplicate + spans_rejected) AS right,
    sum(abs(toInt64(spans) - spans_landed - spans_duplicate - spans_rejected)) AS difference,
    if(
        difference = 0,
        '',
        'record ' || toString(argMax((topic, partition, offset), abs(toInt64(spans) - spans_landed - spans_duplicate - spans_rejected)))
    ) AS example
FROM ods_record
WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {ods_from:DateTime64(3, 'UTC')}
