"""Which events each rule of single events matches: the table `matches`, in few passes over `cloudtrail`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._sql import condition_of

from keywatch.errors import UserError
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.needs import named, needs_of

if TYPE_CHECKING:
    import duckdb

#: Rules that one pass tries: of more, DuckDB takes longer to plan than a pass takes.
_TOGETHER = 64
Numbered = Sequence[tuple[int, Rule]]


def match(connection: duckdb.DuckDBPyConnection, rules: Numbered, coverage: Coverage) -> None:
    """Fill the table `matches`: the number of a rule, and the row of an event that it matches.

    A rule that DuckDB can't run, such as one with a regular expression of another dialect, becomes a problem.
    Those that no event can match are not tried: DuckDB takes longer to plan a rule than to run it.
    :param rules: of single events, each with its number.
    """
    connection.execute("CREATE TABLE matches (rule INTEGER, event BIGINT)")
    is_tried = _tried(connection)
    rules = [(number, rule) for number, rule in rules if is_tried(rule)]
    for start in range(0, len(rules), _TOGETHER):
        _match(connection, rules[start : start + _TOGETHER], coverage)


def _tried(connection: duckdb.DuckDBPyConnection) -> Callable[[Rule], bool]:
    """Return what tells of a rule whether DuckDB has to run it.

    Not if no event has the name of a call that the rule needs, and DuckDB could not refuse the rule either.
    """
    there = connection.execute('SELECT DISTINCT "eventName" FROM cloudtrail WHERE "eventName" IS NOT NULL').fetchall()
    may_match = named([name for (name,) in there])
    return lambda rule: "regexp_matches(" in condition_of(rule) or may_match(needs_of([rule]))


def _match(connection: duckdb.DuckDBPyConnection, rules: Numbered, coverage: Coverage) -> None:
    import duckdb

    cases = ",\n".join(f"CASE WHEN {condition_of(rule)} THEN {number} END" for number, rule in rules)
    try:
        connection.execute(
            f"INSERT INTO matches SELECT * FROM (SELECT unnest([{cases}]) AS rule, rowid FROM cloudtrail)"  # noqa: S608
            " WHERE rule IS NOT NULL"
        )
    except duckdb.Error as error:
        if len(rules) > 1:  # one of them can't be run: which?
            half = len(rules) // 2
            _match(connection, rules[:half], coverage)
            _match(connection, rules[half:], coverage)
            return
        note_failure(rules[0][1], error, coverage)


def note_failure(rule: Rule, error: Exception, coverage: Coverage, engine: str = "DuckDB") -> None:
    """Note that an engine can't run a rule."""
    reason = str(error).splitlines()[0]
    path = rule.source.path if rule.source else None
    coverage.problems.append(UserError(f"rule '{rule.title}': {engine} can't run it: {reason}", path))
