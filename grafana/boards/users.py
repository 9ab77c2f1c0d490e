"""Who uses the agents, do they come back, and are they answered?"""

from __future__ import annotations

from boards.parts import Dashboard, Row, bars, chart, field_options, link, rows, series, stat, table, text, thresholds
from boards.sql import AGENT, SESSIONS, TRACES, agent_variable, anomaly_marks, given, to_trace

FILTERS = f"{AGENT} AND {given('user_id = ${user:sqlstring}', 'user')}"
# A turn is answered when its root has come and did not fail. One without a root, or silent for `session_idle`, never ended.
UNANSWERED = "state IN ('failed', 'idle')"
# What was ever unanswered is little, so that the view combines few traces; the condition outside says what still is.
UNANSWERED_TURNS = f"""(
    SELECT * FROM dws_trace_latest
    WHERE trace_id IN (
        SELECT trace_id FROM dws_trace WHERE last_time >= $__fromTime AND first_time <= $__toTime AND {UNANSWERED}
    )
)"""
# Days are those of the time zone that the first migrate was given.
ZONE = "(SELECT any(value) FROM ops_setting FINAL WHERE name = 'business_time_zone')"
# The days that the range touches, of the chosen user.
DAYS = f"""(
    SELECT *, toDateTime(day, {ZONE}) AS midnight FROM dws_user_1d_latest
    WHERE day >= toDate(toTimeZone($__fromTime, {ZONE})) AND day <= toDate(toTimeZone($__toTime, {ZONE}))
        AND {given("user_id = ${user:sqlstring}", "user")}
)"""
DEAREST = f"(SELECT user_id FROM {DAYS} GROUP BY user_id ORDER BY sum(cost_nanousd) DESC LIMIT 10)"
# The days on which each user was there: of all agents from `dws_user_1d`, which is kept for two years, of some from sessions.
# ClickHouse knows before it reads anything which half is empty.
ALL_AGENTS = "$__conditionalAll(1 = 0, $agent)"
DAYS_THERE = f"""(
    SELECT user_id, day FROM dws_user_1d_latest WHERE {ALL_AGENTS}
    UNION ALL
    SELECT user_id, toDate(toTimeZone(last_time, {ZONE})) AS day
    FROM dws_session_latest WHERE NOT ({ALL_AGENTS}) AND user_id != '' AND {AGENT}
)"""
# Of a million users at one point of a chart, two have one hash with a chance of 1 in 30 million; whole ids take twice as long.
COUNT_USERS = "uniqExactIf(cityHash64(user_id), user_id != '')"
RETENTION_DAYS = (1, 2, 3, 7, 14, 30)


def dashboard() -> Dashboard:
    return Dashboard(
        "spanflow-users",
        "Users and business",
        "Active users, sessions and turns, retention, turns without an answer, and what users cost.",
        [agent_variable(), text("user", "User", "This user alone")],
        [_now(), _activity(), _days(), _retention(), _unanswered(), _users()],
        [anomaly_marks()],
        start="now-24h",
    )


def _now() -> Row:
    return Row(
        "In the time range",
        4,
        [
            stat(
                "Active users",
                4,
                rows(f"SELECT uniqExactIf(user_id, user_id != '') AS users FROM {TRACES} WHERE {FILTERS}"),
            ),
            stat("Sessions", 4, rows(f"SELECT count() AS sessions FROM {SESSIONS} WHERE {FILTERS}")),
            stat("Turns", 4, rows(f"SELECT sum(turns) AS turns FROM {TRACES} WHERE {FILTERS}")),
            stat(
                "Turns a session",
                4,
                rows(f"SELECT avg(turns) AS turns FROM {SESSIONS} WHERE {FILTERS}"),
                decimals=1,
            ),
            stat(
                "Unanswered",
                4,
                rows(f"SELECT countIf({UNANSWERED}) / count() AS share FROM {TRACES} WHERE {FILTERS}"),
                "percentunit",
                "Turns that failed or never ended, of all turns",
                thresholds((None, "green"), (0.02, "orange"), (0.1, "red")),
            ),
            stat(
                "Cost a session",
                4,
                rows(f"SELECT avg(cost_nanousd) / 1e9 AS cost FROM {SESSIONS} WHERE {FILTERS}"),
                "currencyUSD",
            ),
        ],
    )


def _activity() -> Row:
    return Row(
        "Activity",
        8,
        [
            chart(
                "Active users",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(first_time) AS time, agent, {COUNT_USERS} AS users
                    FROM {TRACES} WHERE {FILTERS} AND first_time >= $__fromTime GROUP BY time, agent ORDER BY time
                    """
                ),
                label="agent",
                description="Users with a turn that began in the interval",
            ),
            chart(
                "Turns",
                8,
                series(
                    f"""
                    SELECT $__timeInterval(first_time) AS time, agent, sum(turns) AS turns
                    FROM {TRACES} WHERE {FILTERS} AND first_time >= $__fromTime GROUP BY time, agent ORDER BY time
                    """
                ),
                label="agent",
                bars=True,
                stacked=True,
            ),
            bars(
                "Sessions, by number of turns",
                8,
                rows(
                    f"""
                    SELECT concat(if(turns >= 10, '10 and more', toString(turns)), ' turns') AS length, count() AS sessions
                    FROM {SESSIONS} WHERE {FILTERS} GROUP BY length, least(turns, 10) AS place ORDER BY place
                    """
                ),
            ),
        ],
    )


def _days() -> Row:
    note = "A point a day of the business time zone, of all agents. Days are kept for two years."
    return Row(
        "By day",
        8,
        [
            chart(
                "Active users a day",
                8,
                series(f"SELECT midnight AS time, uniqExact(user_id) AS users FROM {DAYS} GROUP BY time ORDER BY time"),
                bars=True,
                description=note,
            ),
            chart(
                "Sessions and turns a day",
                8,
                series(
                    f"""
                    SELECT midnight AS time, sum(sessions) AS sessions, sum(turns) AS turns
                    FROM {DAYS} GROUP BY time ORDER BY time
                    """
                ),
                bars=True,
                description=f"{note} Of users that are known.",
            ),
            chart(
                "Cost a day, by user",
                8,
                series(
                    f"""
                    SELECT midnight AS time, if(user_id IN {DEAREST}, user_id, 'others') AS user,
                        sum(cost_nanousd) / 1e9 AS cost
                    FROM {DAYS} GROUP BY time, user ORDER BY time
                    """
                ),
                unit="currencyUSD",
                label="user",
                bars=True,
                stacked=True,
                description=f"{note} The ten users that cost most, and the others together.",
            ),
        ],
    )


def _retention() -> Row:
    back = ", ".join(
        f"if(first_day + {days} > today(), NULL, countIf(has(days, first_day + {days})) / count()) AS `day {days}`"
        for days in RETENTION_DAYS
    )
    return Row(
        "Retention",
        9,
        [
            table(
                "Users that came back",
                24,
                rows(
                    f"""
                    SELECT first_day AS `first day`, count() AS users, {back}
                    FROM (
                        SELECT user_id, groupUniqArray(day) AS days, arrayMin(days) AS first_day
                        FROM {DAYS_THERE}
                        GROUP BY user_id
                    )
                    GROUP BY first_day
                    ORDER BY first_day DESC
                    LIMIT 60
                    """
                ),
                *(
                    field_options(f"day {days}", unit="percentunit", decimals=0, cell={"type": "color-background"})
                    for days in RETENTION_DAYS
                ),
                description="By the first day on which a user was there: the share that was there so many days later. "
                "All that is kept counts, whatever the time range: two years, with an agent chosen as long as sessions "
                "are kept. Days that have not come are empty.",
                color={"mode": "continuous-blues"},
                min=0,
                max=1,
            )
        ],
    )


def _unanswered() -> Row:
    return Row(
        "Without an answer",
        9,
        [
            chart(
                "Unanswered turns",
                10,
                series(
                    f"""
                    SELECT
                        $__timeInterval(first_time) AS time,
                        countIf(state = 'failed') AS failed,
                        countIf(state = 'idle') AS never_ended
                    FROM {UNANSWERED_TURNS} WHERE {FILTERS} AND first_time >= $__fromTime GROUP BY time ORDER BY time
                    """
                ),
                bars=True,
                stacked=True,
            ),
            table(
                "Newest unanswered turns",
                14,
                rows(
                    f"""
                    SELECT
                        first_time AS began, agent, user_id AS user, if(state = 'idle', 'never ended', state) AS why, steps, errors,
                        session_id AS session, trace_id AS trace
                    FROM {UNANSWERED_TURNS} WHERE {FILTERS} AND {UNANSWERED} ORDER BY began DESC LIMIT 200
                    """
                ),
                field_options("trace", links=[to_trace("session", "trace")]),
            ),
        ],
    )


def _users() -> Row:
    return Row(
        "Users",
        11,
        [
            table(
                "Users",
                24,
                rows(
                    f"""
                    SELECT
                        user_id AS user,
                        count() AS sessions,
                        sum(turns) AS turns,
                        sum(errors) AS errors,
                        sum(input_tokens + output_tokens) AS tokens,
                        sum(cost_nanousd) / 1e9 AS cost,
                        max(last_time) AS last_seen
                    FROM {SESSIONS} WHERE {FILTERS} AND user_id != '' GROUP BY user ORDER BY cost DESC LIMIT 500
                    """
                ),
                field_options(
                    "user",
                    links=[
                        link(
                            "Sessions of this user",
                            "/d/spanflow-session?var-user=${__data.fields.user:percentencode}&${__url_time_range}",
                        )
                    ],
                ),
                field_options("cost", unit="currencyUSD"),
            )
        ],
    )
