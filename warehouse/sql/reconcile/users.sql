-- A user's day in dws_user_1d holds exactly the traces of the user that ended on that day, key by key. Segments of a trace
-- count one by one on both sides.
WITH
    (SELECT any(value) FROM ops_setting FINAL WHERE name = 'business_time_zone') AS zone,
    sides AS
    (
        SELECT
            toDate(toTimeZone(last_time, zone)) AS day, namespace, user_id,
            'left' AS side,
            count() AS traces,
            sum(turns) AS all_turns,
            sum(errors) AS all_errors,
            sum(input_tokens + output_tokens) AS tokens,
            sum(cost_nanousd) AS cost
        FROM dws_trace FINAL
        WHERE user_id != ''
        GROUP BY day, namespace, user_id
        HAVING day >= {day_from:Date}
        UNION ALL
        SELECT
            day, namespace, user_id, 'right',
            traces, turns, errors, input_tokens + output_tokens, cost_nanousd
        FROM dws_user_1d FINAL
        WHERE day >= {day_from:Date}
    ),
    keyed AS
    (
        SELECT
            (day, namespace, user_id) AS key,
            arrayJoin(
                [
                    (1, 'traces', sumIf(traces, side = 'left'), sumIf(traces, side = 'right')),
                    (2, 'turns', sumIf(all_turns, side = 'left'), sumIf(all_turns, side = 'right')),
                    (3, 'errors', sumIf(all_errors, side = 'left'), sumIf(all_errors, side = 'right')),
                    (4, 'tokens', sumIf(tokens, side = 'left'), sumIf(tokens, side = 'right')),
                    (5, 'cost', sumIf(cost, side = 'left'), sumIf(cost, side = 'right'))
                ]
            ) AS measure
        FROM sides
        GROUP BY key
    )
SELECT
    measure.2 || ' of dws_trace by user and day = dws_user_1d' AS name,
    sum(measure.3) AS left,
    sum(measure.4) AS right,
    sum(abs(toInt64(measure.3) - toInt64(measure.4))) AS difference,
    if(difference = 0, '', 'day and key ' || toString(argMax(key, abs(toInt64(measure.3) - toInt64(measure.4))))) AS example
FROM keyed
GROUP BY measure.1, measure.2
ORDER BY measure.1
