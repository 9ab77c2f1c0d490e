-- No epoch was announced twice.
SELECT
    'ops_epoch rows = distinct epochs' AS name,
    sum(copies) AS left,
    count() AS right,
    left - right AS difference,
    if(difference = 0, '', 'epoch ' || toString(argMax(unit, copies))) AS example
FROM
(
    SELECT epoch AS unit, count() AS copies
    FROM ops_epoch
    GROUP BY unit
)
