-- A record's metric points landed, had landed before, or were rejected; nothing else can become of them.
SELECT
    'points of ods_record = landed + duplicate + rejected' AS name,
    sum(points) AS left,
    sum(toUInt64(points_landed) + points_duplicate + points_rejected) AS right,
    sum(abs(toInt64(points) - points_landed - points_duplicate - points_rejected)) AS difference,
    if(
        difference = 0,
        '',
        'record ' || toString(argMax((topic, partition, offset), abs(toInt64(points) - points_landed - points_duplicate - points_rejected)))
    ) AS example
FROM ods_record
WHERE _epoch <= {last_epoch:UInt64} AND ingest_time >= {ods_from:DateTime64(3, 'UTC')}
