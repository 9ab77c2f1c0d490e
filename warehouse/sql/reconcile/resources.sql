-- The minutes of dws_resource_1m hold exactly the points of memory that are not late, process by process; a number that no
-- process can have does not count.
WITH
    rolled AS
    (
        SELECT * FROM dws_resource_1m_latest WHERE window_start >= {window_from:DateTime('UTC')}
    ),
    settled AS
    (
        SELECT window_start FROM rolled
        GROUP BY window_start
        HAVING {drained:Bool} OR max(final AND rev <= {last_epoch:UInt64})
    ),
    sides AS
    (
        SELECT
            agent, instance, toDateTime(toStartOfMinute(time), 'UTC') AS window_start, 'left' AS side,
            toUInt64(count()) AS samples, toUInt64(sum(round(value))) AS memory
        FROM dwd_metric_point
        WHERE
            metric = 'process.memory.usage' AND kind IN ('gauge', 'sum') AND value BETWEEN 0 AND 1e16
            AND NOT late AND _epoch <= {last_epoch:UInt64}
        GROUP BY agent, instance, window_start
        HAVING window_start >= {window_from:DateTime('UTC')}
        UNION ALL
        SELECT agent, instance, window_start, 'right', samples, memory_sum_bytes
        FROM rolled
    ),
    keyed AS
    (
        SELECT
            (agent, instance, window_start) AS key,
            arrayJoin(
                [
                    (1, 'points of memory', sumIf(samples, side = 'left'), sumIf(samples, side = 'right')),
                    (2, 'memory', sumIf(memory, side = 'left'), sumIf(memory, side = 'right'))
                ]
            ) AS measure
        FROM sides
        WHERE {drained:Bool} OR window_start IN (SELECT window_start FROM settled)
        GROUP BY agent, instance, window_start
    )
SELECT
    measure.2 || ' of dwd_metric_point = dws_resource_1m_latest' AS name,
    sum(measure.3) AS left,
    sum(measure.4) AS right,
    sum(abs(toInt64(measure.3) - toInt64(measure.4))) AS difference,
    if(difference = 0, '', 'process and window ' || toString(argMax(key, abs(toInt64(measure.3) - toInt64(measure.4))))) AS example
FROM keyed
GROUP BY measure.1, measure.2
ORDER BY measure.1
