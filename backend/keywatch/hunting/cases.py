"""Alerts as a person decides about them: who, from where, with which key, what was called, what failed and what worked.

An alert of a correlation is a case. So are all alerts that a rule of single events raises about one principal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.correlations import SigmaCorrelationRule

from keywatch.hunting.alerts import ORDER, Alerts, texts
from keywatch.hunting.columns import RAW
from keywatch.hunting.coverage import Coverage

#: Who calls: the ARN, or the next best thing that a record says.
WHO = """coalesce(nullif("userIdentity.arn", ''), nullif("userIdentity.principalId", ''),
    nullif("userIdentity.invokedBy", ''), nullif("userIdentity.type", ''), '(nobody is named)')"""
#: Why a call failed; null if it worked. The sign-in page says so in the message only.
_FAILURE = """coalesce(nullif("errorCode", ''), nullif("errorMessage", ''))"""
_DISTINCT = """list_sort(list(DISTINCT {0}) FILTER ({0} <> ''))"""
_FIELDS = {
    "principals": WHO,
    "accounts": '"recipientAccountId"',
    "keys": '"userIdentity.accessKeyId"',
    "addresses": '"sourceIPAddress"',
    "agents": '"userAgent"',
    "regions": '"awsRegion"',
}
_COUNTS = {"calls": 'concat_ws(\': \', "eventSource", "eventName")', "failures": _FAILURE}
_CASES = f"""SELECT any_value(rule) AS rule, any_value(count) AS count, any_value("values") AS "values",
    any_value(found) AS found, any_value(who) AS who,
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS events,
    {", ".join(f"{_DISTINCT.format(field)} AS {name}" for name, field in _FIELDS.items())},
    {", ".join(f"histogram({field}) FILTER ({field} <> '') AS {name}" for name, field in _COUNTS.items())}
FROM behind JOIN rules USING (rule) JOIN cloudtrail ON cloudtrail.rowid = behind.event
GROUP BY behind.rule, behind.found, behind.who ORDER BY first_seen, any_value(title), behind.found, behind.who"""  # noqa: S608
_AT_A_TIME = 1000


@dataclass(frozen=True)
class Case:
    """One or several alerts that are decided about together. Times are UTC, without saying so."""

    rule: Rule
    #: How many alerts it is; those of correlations are cases of their own.
    alerts: int
    #: The most distinct values, or events, in one window of a correlation, and the values; 1 for single events.
    count: int
    values: list[str]
    first_seen: datetime
    last_seen: datetime
    events: int
    principals: list[str]
    accounts: list[str]
    keys: list[str]
    addresses: list[str]
    agents: list[str]
    regions: list[str]
    #: `service: call` → how often; why calls failed → how often.
    calls: dict[str, int]
    failures: dict[str, int]
    #: What finds its events in the table `behind`.
    found: int | None
    who: str | None
    number: int

    @property
    def level(self) -> str:
        """The rule's level, empty if it says none."""
        return self.rule.level.name.lower() if self.rule.level else ""

    @property
    def failed(self) -> int:
        """How many calls failed."""
        return sum(self.failures.values())


def look_behind(alerts: Alerts, coverage: Coverage) -> None:
    """Make the table `behind`: which events are behind which alert, or behind which principal of a rule."""
    alerts.match_parts(coverage)
    singles = len(alerts.singles)
    parts = [
        f"SELECT rule, NULL::BIGINT AS found, {WHO} AS who, event, 1 AS count, '[]' AS \"values\""  # noqa: S608
        f" FROM matches JOIN cloudtrail ON cloudtrail.rowid = event WHERE rule < {singles}"
    ]
    for number, rule in enumerate(alerts.rules):
        correlation = Correlation.of(rule)
        if correlation is None:
            continue
        for part in alerts.part_numbers(rule):
            keys = ", ".join(map(alerts.quoted, _keys(correlation, alerts.rules[part])))
            parts.append(
                f'SELECT found.rule, found.rowid, NULL, event, count, "values" FROM found'  # noqa: S608
                f" JOIN cloudtrail ON found.rule = {number} AND keys = [{keys}]::VARCHAR[]"
                ' AND "eventTime" BETWEEN found.first_seen AND found.last_seen'
                f" JOIN matches ON matches.event = cloudtrail.rowid AND matches.rule = {part}"
            )
    # An event that two rules of a correlation match is there once.
    alerts.connection.execute(f"CREATE TABLE behind AS {' UNION '.join(parts)}")


def _keys(correlation: Correlation, part: Rule) -> Iterator[str]:
    """Yield the fields that one of a correlation's rules is grouped by."""
    rule: SigmaCorrelationRule = correlation.rule
    aliases = {
        alias.alias: field
        for alias in rule.aliases
        for reference, field in alias.mapping.items()
        if any(one.reference == reference.reference and one.rule is part for one in rule.referenced_rules)
    }
    for name in correlation.group:
        yield aliases.get(name, name)


def cases(alerts: Alerts) -> Iterator[Case]:
    """Yield the cases by first time seen; `look_behind` was called before."""
    result = alerts.connection.execute(_CASES)
    names = [column[0] for column in result.description or ()]
    while rows := result.fetchmany(_AT_A_TIME):
        for values in rows:
            row: dict[str, Any] = dict(zip(names, values, strict=True))
            number = row.pop("rule")
            row["values"] = msgspec.json.decode(row["values"])
            lists = {name: row[name] or [] for name in _FIELDS} | {name: row[name] or {} for name in _COUNTS}
            alone = row["found"] is not None
            yield Case(**row | lists, rule=alerts.rules[number], number=number, alerts=1 if alone else row["events"])


def values_behind(alerts: Alerts, case: Case, fields: list[str]) -> dict[str, list[str]]:
    """Return the distinct values that fields have in the events behind a case."""
    if not fields:
        return {}
    columns = ", ".join(_DISTINCT.format(alerts.quoted(name)) for name in fields)
    [row] = alerts.connection.execute(
        f"SELECT {columns} FROM behind JOIN cloudtrail ON cloudtrail.rowid = event"  # noqa: S608
        " WHERE rule = $1 AND found IS NOT DISTINCT FROM $2 AND who IS NOT DISTINCT FROM $3",
        [case.number, case.found, case.who],
    ).fetchall()
    return dict(zip(fields, (values or [] for values in row), strict=True))


def records(alerts: Alerts) -> Iterator[memoryview]:
    """Yield the raw records behind the alerts as lines of JSON, alert after alert as `Alerts.ndjson` has them.

    `alert` in a line is the line of its alert there, from 1; `event` is the record.
    """
    if not alerts.count:
        return
    numbered = f"SELECT *, row_number() OVER (ORDER BY {ORDER}) AS number FROM ({alerts.relation()})"  # noqa: S608
    yield from texts(
        alerts.connection,
        f"""SELECT concat('{{"alert":', number, ',', head, ',"event":', "{RAW}", '}}', chr(10)) AS line
        FROM ({numbered}) AS alert JOIN behind ON behind.rule = alert.rule
            AND CASE WHEN alert.found IS NULL THEN behind.event = alert.event ELSE behind.found = alert.found END
        JOIN cloudtrail ON cloudtrail.rowid = behind.event
        ORDER BY number, "eventTime", "eventID", cloudtrail.rowid""",  # noqa: S608
    )
