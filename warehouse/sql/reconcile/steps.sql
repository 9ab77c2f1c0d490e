-- The windows of a dws_step table hold exactly the spans of dwd_span that are not late, key by key. A span's event time is
-- its end; it is in the windows [start, start + width) whose starts are multiples of hop. Where an agent has more keys than
-- the cap, a window of it is compared as a whole. Tokens and cost are compared on think steps.
WITH
    rolled AS
    (
        SELECT * FROM {latest:Identifier} WHERE window_start >= {window_from:DateTime('UTC')}
    ),
    settled AS
    (
        SELECT window_start FROM rolled
        GROUP BY window_start
        HAVING {drained:Bool} OR max(final AND rev <= {last_epoch:UInt64})
    ),
    overflowed AS
    (
        SELECT agent, window_start FROM rolled WHERE tool_name = '__overflow__' OR model = '__overflow__'
    ),
    sides AS
    (
        SELECT
            agent, step_type, tool_name, model,
            arrayJoin(
                arrayMap(
                    hops -> toDateTime(intDiv(toUnixTimestamp(end_time), {hop:UInt32}) * {hop:UInt32} - hops * {hop:UInt32}, 'UTC'),
                    range(intDiv({width:UInt32}, {hop:UInt32}))
                )
            ) AS window_start,
            'left' AS side,
            count() AS spans,
            countIf(status = 'error') AS errors,
            sum(duration_us) AS duration_sum,
            max(duration_us) AS duration_max,
            sumIf(input_tokens, step_type = 'think') AS tokens_in,
            sumIf(output_tokens, step_type = 'think') AS tokens_out,
            sumIf(cost_nanousd, step_type = 'think') AS cost
        FROM dwd_span
        WHERE NOT late AND _epoch <= {last_epoch:UInt64}
        GROUP BY agent, step_type, tool_name, model, window_start
        HAVING window_start >= {window_from:DateTime('UTC')}
        UNION ALL
        SELECT
            agent, step_type, tool_name, model, window_start, 'right',
            count, errors, duration_sum_us, duration_max_us,
            if(step_type = 'think', input_tokens, 0),
            if(step_type = 'think', output_tokens, 0),
            if(step_type = 'think', cost_nanousd, 0)
        FROM rolled
    ),
    keyed AS
    (
        SELECT
            (agent, window_start) IN (SELECT agent, window_start FROM overflowed) AS whole,
            if(whole, (agent, '', '', ''), (agent, step_type, tool_name, model)) AS key,
            window_start,
            arrayJoin(
                [
                    (1, 'spans', sumIf(spans, side = 'left'), sumIf(spans, side = 'right')),
                    (2, 'errors', sumIf(errors, side = 'left'), sumIf(errors, side = 'right')),
                    (3, 'duration sum', sumIf(duration_sum, side = 'left'), sumIf(duration_sum, side = 'right')),
                    (4, 'longest duration', maxIf(duration_max, side = 'left'), maxIf(duration_max, side = 'right')),
                    (5, 'input tokens', sumIf(tokens_in, side = 'left'), sumIf(tokens_in, side = 'right')),
                    (6, 'output tokens', sumIf(tokens_out, side = 'left'), sumIf(tokens_out, side = 'right')),
                    (7, 'cost', sumIf(cost, side = 'left'), sumIf(cost, side = 'right'))
                ]
            ) AS measure
        FROM sides
        WHERE {drained:Bool} OR window_start IN (SELECT window_start FROM settled)
        GROUP BY whole, key, window_start
    )
SELECT
    measure.2 || ' of dwd_span = ' || {latest:String} AS name,
    sum(measure.3) AS left,
    sum(measure.4) AS right,
    sum(abs(toInt64(measure.3) - toInt64(measure.4))) AS difference,
    if(
        difference = 0,
        '',
        'window and key ' || toString(argMax((window_start, key), abs(toInt64(measure.3) - toInt64(measure.4))))
    ) AS example
FROM keyed
GROUP BY measure.1, measure.2
ORDER BY measure.1
