"""Alerts as a person decides about them: who, from where, with which key, what was called, what failed and what worked.

An alert of a correlation is a case. So are all alerts that a rule of single events raises about one principal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import msgspec
from sigma.backends.keywatch._correlation import Correlation, Rule

from keywatch.hunting.alerts import ORDER, Alerts, texts
from keywatch.hunting.columns import RAW

#: Who calls: the ARN, or the next best thing that a record says.
WHO = """coalesce(nullif("userIdentity.arn", ''), nullif("userIdentity.principalId", ''),
    nullif("userIdentity.invokedBy", ''), nullif("userIdentity.type", ''), '(nobody is named)')"""
#: Why a call failed; null if it worked. The sign-in page says so in the message only.
FAILURE = """coalesce(nullif("errorCode", ''), nullif("errorMessage", ''))"""
#: What a case shows besides times and counts.
FIELDS = {
    "principal": WHO,
    "account": '"recipientAccountId"',
    "key": '"userIdentity.accessKeyId"',
    "address": '"sourceIPAddress"',
    "user agent": '"userAgent"',
    "called": 'concat_ws(\': \', "eventSource", "eventName")',
    "in": '"awsRegion"',
    "failed": FAILURE,
}
#: Values that are shown; of more, the most frequent, and how many others there are.
_MOST = 10
_CASES = f"""CREATE TABLE cases AS SELECT row_number() OVER (ORDER BY first_seen, title, found, who) AS number, *
FROM (
    SELECT rule, found, who, min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS events,
        count({FAILURE}) AS failed
    FROM behind JOIN cloudtrail ON cloudtrail.rowid = event GROUP BY rule, found, who
) JOIN rules USING (rule);
CREATE TABLE events AS SELECT number, event FROM behind JOIN cases
    ON behind.rule = cases.rule AND behind.found IS NOT DISTINCT FROM cases.found
    AND behind.who IS NOT DISTINCT FROM cases.who;
CREATE TABLE facts (number BIGINT, label VARCHAR, first STRUCT(n BIGINT, value VARCHAR)[], total BIGINT)"""  # noqa: S608
#: Each value is counted first, which DuckDB can do outside of memory, and only a few of them are put into a list.
_FACTS = f"""SELECT number, min({{{{'n': -n, 'value': value}}}}, {_MOST}) AS first, count(*) AS total
FROM (
    SELECT number, {{field}} AS value, count(*) AS n FROM events JOIN cloudtrail ON cloudtrail.rowid = event
    WHERE {{where}} GROUP BY number, value
) WHERE value <> '' GROUP BY number"""  # noqa: S608
_ALL = """SELECT any_value(columns(cases.*)), any_value(found.count) AS count, any_value(found."values") AS "values",
    list({'label': label, 'first': first, 'total': facts.total}) AS facts
FROM cases LEFT JOIN facts USING (number) LEFT JOIN found ON found.rowid = cases.found
GROUP BY number ORDER BY number"""
_AT_A_TIME = 1000


@dataclass(frozen=True)
class Values:
    """Values with how often each is there, the most frequent first, and how many there are besides."""

    counts: dict[str, int]
    more: int

    @classmethod
    def of(cls, first: list[dict[str, Any]], total: int) -> Self:
        """Take the first values as DuckDB gives them, and how many there are in all."""
        return cls({one["value"]: -one["n"] for one in first}, total - len(first))


@dataclass(frozen=True)
class Case:
    """One or several alerts that are decided about together. Times are UTC, without saying so."""

    number: int
    rule: Rule
    #: How many alerts it is; one of a correlation is a case of its own.
    alerts: int
    #: The most distinct values, or events, in one window of a correlation, and the values; None for single events.
    count: int | None
    values: list[str]
    first_seen: datetime
    last_seen: datetime
    events: int
    failed: int
    #: The labels of FIELDS → what the events have there.
    facts: dict[str, Values]

    @property
    def level(self) -> str:
        """The rule's level, empty if it says none."""
        return self.rule.level.name.lower() if self.rule.level else ""


def look_behind(alerts: Alerts) -> None:
    """Make the table `behind`: which events are behind which alert, or behind which principal of a rule."""
    singles = len(alerts.singles)
    parts = [
        f"SELECT rule, NULL::BIGINT AS found, {WHO} AS who, event"  # noqa: S608
        f" FROM matches JOIN cloudtrail ON cloudtrail.rowid = event WHERE rule < {singles}"
    ]
    for number, rule in enumerate(alerts.rules):
        correlation = Correlation.of(rule)
        if correlation is None:
            continue
        for part, names, before in _parts(correlation):
            keys = ", ".join(map(alerts.quoted, names))
            parts.append(
                "SELECT found.rule, found.rowid, NULL, event FROM found"  # noqa: S608
                f" JOIN cloudtrail ON found.rule = {number} AND keys = [{keys}]::VARCHAR[]"
                f' AND "eventTime" BETWEEN found.first_seen - INTERVAL {before} SECONDS AND found.last_seen'
                f" JOIN matches ON matches.event = cloudtrail.rowid AND matches.rule = {alerts.number(part)}"
            )
    connection = alerts.connection
    # An event that two rules of a correlation match is there once.
    connection.execute(f"CREATE TABLE behind AS {' UNION '.join(parts) if len(parts) > 1 else parts[0]}")
    connection.execute(_CASES)
    for label, field in FIELDS.items():
        query = _FACTS.format(field=field, where="true")
        connection.execute(f"INSERT INTO facts SELECT number, $1, first, total FROM ({query})", [label])  # noqa: S608


def _parts(correlation: Correlation) -> Iterator[tuple[Rule, tuple[str, ...], int]]:
    """Yield the rules of single events behind a correlation, directly or not.

    With each are the fields that it is grouped by, and for how many seconds before the alert its events are behind it:
    what completes a correlation inside began earlier.
    """
    known: dict[tuple[int, tuple[str, ...]], int] = {}
    found: dict[tuple[int, tuple[str, ...]], Rule] = {}
    todo = [(correlation, correlation.group, 0)]
    while todo:
        view, group, before = todo.pop()
        for reference in view.rule.referenced_rules:
            meant, inner = view.aliases_in(reference), Correlation.of(reference.rule)
            names = tuple(meant.get(name, name) for name in group)
            began = before + inner.window if inner else before
            key = id(reference.rule), names
            if known.get(key, -1) < began:
                known[key] = began
                if inner:
                    todo.append((inner, names, began))
                else:
                    found[key] = reference.rule
    for key, rule in found.items():
        yield rule, key[1], known[key]


def cases(alerts: Alerts) -> Iterator[Case]:
    """Yield the cases by first time seen; `look_behind` was called before."""
    result = alerts.connection.execute(_ALL)
    names = [column[0] for column in result.description or ()]
    while rows := result.fetchmany(_AT_A_TIME):
        for values in rows:
            row: dict[str, Any] = dict(zip(names, values, strict=True))
            yield Case(
                number=row["number"],
                rule=alerts.rules[row["rule"]],
                alerts=row["events"] if row["found"] is None else 1,
                count=row["count"],
                values=msgspec.json.decode(row["values"] or "[]"),
                first_seen=row["first_seen"],
                last_seen=row["last_seen"],
                events=row["events"],
                failed=row["failed"],
                facts={
                    fact["label"]: Values.of(fact["first"], fact["total"]) for fact in row["facts"] if fact["label"]
                },
            )


def values_behind(alerts: Alerts, field: str, most: int) -> dict[int, Values]:
    """Return the values that a field has in the events of each of the first cases that have any, by the case's number.

    :param most: the number of the last case.
    """
    query = _FACTS.format(field=alerts.quoted(field), where="number <= $1")
    rows = alerts.connection.execute(query, [most]).fetchall()
    return {number: Values.of(first, total) for number, first, total in rows}


def records(alerts: Alerts) -> Iterator[memoryview]:
    """Yield the raw records behind the alerts as lines of JSON, alert after alert as `Alerts.ndjson` has them.

    `alert` in a line is the line of its alert there, from 1; `event` is the record.
    """
    before = 0
    for when in alerts.slices():
        numbered = f"SELECT *, {before} + row_number() OVER (ORDER BY {ORDER}) AS number FROM ({alerts.relation(when)})"  # noqa: S608
        yield from texts(
            alerts.connection,
            f"""SELECT concat('{{"alert":', number, ',', head, ',"event":', "{RAW}", '}}', chr(10)) AS line
            FROM ({numbered}) AS alert JOIN behind ON behind.rule = alert.rule
                AND CASE WHEN alert.found IS NULL THEN behind.event = alert.event ELSE behind.found = alert.found END
            JOIN cloudtrail ON cloudtrail.rowid = behind.event
            ORDER BY number, "eventTime", "eventID", cloudtrail.rowid""",  # noqa: S608
        )
        [(count,)] = alerts.connection.execute(f"SELECT count(*) FROM ({alerts.relation(when)})").fetchall()  # noqa: S608
        before += count
