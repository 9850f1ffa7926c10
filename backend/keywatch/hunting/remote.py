"""Hunt where the data are: an engine there selects the events that rules match, and the rules run on them here.

So an alert is that of a hunt through files, whatever the engine's own correlations can do, and all rules share a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._sql import condition_of
from sigma.rule import SigmaRule

from keywatch.conversion.convert import Conversion, backend_of
from keywatch.conversion.problems import problem_of
from keywatch.conversion.rules import Pack
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from keywatch.hunting.alerts import Alerts
from keywatch.hunting.clients import Client, RefusedError
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage, Scan
from keywatch.hunting.loading import columns_of, connected, finish, load, temporary_folder
from keywatch.hunting.matching import note_failure
from keywatch.hunting.rows import Rows, table_of
from keywatch.hunting.selection import Selection
from keywatch.hunting.statements import LONGEST, Statements, Texts
from keywatch.hunting.workers import Part
from keywatch.words import counted

if TYPE_CHECKING:
    import duckdb

#: What several statements brought more than once, as an event that rules of both match. Of equal events in one
#: statement, such as those whose ID is masked, each counts.
_REPEATED = """
    SELECT rowid FROM (
        SELECT rowid, event, part, row_number() OVER (PARTITION BY event, part) AS copy FROM (
            SELECT rowid, cloudtrail AS event, len(list_filter($starts, lambda start: start <= rowid)) AS part
            FROM cloudtrail
        )
    ) QUALIFY row_number() OVER (PARTITION BY event, copy ORDER BY part) > 1
"""

Conditioned = Sequence[tuple[Rule, str]]


@contextmanager
def hunting_on(
    client: Client,
    conversion: Conversion,
    packs: Sequence[Pack],
    settings: dict[str, Any],
    selection: Selection,
    coverage: Coverage,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Alerts]:
    """Hunt on an engine; give the alerts, which are there as long as the block is not left.

    :param conversion: the rules, converted for the target duckdb; it loses those that can't be run on the engine.
    :param packs: the rules that were converted, and the same once more: a rule can be converted once.
    :param selection: has both ends in time.
    :param coverage: is filled while rows come, so that an interrupted hunt can say how far it came.
    :param progress: is called with how far the engine is.
    :raises UserError: if the engine can't be asked, whatever the rules are.
    """
    pack, twin = packs
    pack.left_out |= {id(rule) for rule in pack.outputs()} - {id(rule) for rule in conversion.rules.values()}
    columns = columns_of(conversion)
    backend = backend_of(TARGETS["athena"], settings, "sql")
    statements = Statements(settings["athena"]["table"], columns, selection)
    with ExitStack() as stack:
        connection = stack.enter_context(connected(stack.enter_context(temporary_folder()), columns))
        asked = _Asked(client, connection, statements, columns, selection, coverage, progress)
        asked.run(list(_conditions(backend, pack, twin, asked)))
        if len(asked.starts) > 1:
            repeated = f"DELETE FROM cloudtrail WHERE rowid IN ({_REPEATED})"  # noqa: S608
            connection.execute(repeated, {"starts": asked.starts})
        if asked.failed:
            _leave_out(conversion, pack, asked.failed, client.name, coverage)
        if coverage.scans and not any(scan.bytes or scan.events for scan in coverage.scans):
            what = f"{selection}: nothing was scanned; has the table such days, as yyyy/MM/dd in its column timestamp?"
            coverage.problems.append(UserError(what))
        finish(connection, coverage)
        yield Alerts(connection, conversion, coverage)


def _conditions(backend: Any, pack: Pack, twin: Pack, asked: _Asked) -> Iterator[tuple[Rule, str]]:
    """Yield the rules of single events with their conditions in the engine's SQL; note those that have none."""
    others = {id(rule): other for rule, other in zip(pack.collection.rules, twin.collection.rules, strict=True)}
    for rule in pack.in_order():
        if isinstance(rule, SigmaRule):
            other = others[id(rule)]
            try:
                backend.convert_rule(other, "sql")
            except Exception as error:  # as in `convert`
                asked.failed.add(id(rule))
                asked.coverage.problems.append(problem_of(error, other))
            else:
                yield rule, condition_of(other)


def _leave_out(conversion: Conversion, pack: Pack, failed: set[int], engine: str, coverage: Coverage) -> None:
    """Take rules out of a conversion, and those that need them: of what they match, some would be missing."""
    for rule in pack.in_order():
        lacking = [reference for reference in getattr(rule, "referenced_rules", ()) if id(reference.rule) in failed]
        if lacking:
            failed.add(id(rule))
            error = RefusedError(f"it needs rule '{lacking[0].reference}'")
            note_failure(rule, error, coverage, engine)
    conversion.rules = {name: rule for name, rule in conversion.rules.items() if id(rule) not in failed}
    conversion.queries = {name: conversion.queries[name] for name in conversion.rules}


class _Asked:
    """What is asked of an engine, and what comes."""

    def __init__(
        self,
        client: Client,
        connection: duckdb.DuckDBPyConnection,
        statements: Statements,
        columns: Columns,
        selection: Selection,
        coverage: Coverage,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.coverage = coverage
        #: Rules that the engine can't run, by their identity.
        self.failed: set[int] = set()
        #: The first row of each statement that brought its events.
        self.starts: list[int] = []
        self._client, self._connection, self._statements = client, connection, statements
        self._columns, self._selection, self._progress = columns, selection, progress
        #: Whether a statement without a rule was run, so that what is wrong with others is one of their rules.
        self._sound = False

    def run(self, rules: Conditioned) -> None:
        """Select the events that rules match, in as few statements as their length allows."""
        place = 0
        for number in self._statements.fitting([condition for _, condition in rules]):
            if number:
                self._run(rules[place : place + number])
            else:
                self._note(rules[place][0], f"its condition has more than {LONGEST} bytes")
            place += number or 1

    def _run(self, rules: Conditioned) -> None:
        """Run a statement. If a rule is wrong in it, look for that one by halves."""
        scan = Scan(len(rules))
        self.coverage.scans.append(scan)
        try:
            start = self._fetch([condition for _, condition in rules], scan)
        except RefusedError as error:
            self.coverage.scans.pop()
            self._blame_rules(error)
            if len(rules) == 1:
                self._note(rules[0][0], str(error))
            else:
                half = len(rules) // 2
                self._run(rules[:half])
                self._run(rules[half:])
        else:
            self.starts.append(start)

    def _note(self, rule: Rule, reason: str) -> None:
        self.failed.add(id(rule))
        note_failure(rule, RefusedError(reason), self.coverage, self._client.name)

    def _blame_rules(self, error: RefusedError) -> None:
        """Make sure that a statement fails by its rules: one without any runs.

        :raises UserError: if it does not: the table is another, or nobody may read it.
        """
        if not self._sound:
            try:
                self._fetch([], Scan(0))
            except RefusedError:
                raise UserError(f"{self._client.name}: {error}") from error
            self._sound = True

    def _fetch(self, conditions: Sequence[str], scan: Scan) -> int:
        """Put the events that meet conditions into the table: all of them, or none if the engine refuses.

        :return: the row in which they begin.
        """

        def told(state: str, read: int) -> None:
            scan.bytes = read
            if self._progress is not None:
                asks = f"Statement {len(self.coverage.scans)}, {counted(len(conditions), 'rule')}"
                self._progress(f"{asks}: {state}, {read / 10**9:.2f} GB scanned")

        [(start,)] = self._connection.execute("SELECT coalesce(max(rowid) + 1, 0) FROM cloudtrail").fetchall()
        own = Coverage()
        try:
            with self._client.running(self._statements.select(conditions), told) as pages:
                load(self._connection, self._parts(pages, scan), self._columns, self._selection, own)
        except RefusedError:  # a transaction would do that, and hold all in memory
            self._connection.execute("DELETE FROM cloudtrail WHERE rowid >= $1", [start])
            raise
        self.coverage.add(own)
        return int(start)

    def _parts(self, pages: Iterator[list[Texts]], scan: Scan) -> Iterator[Part]:
        for texts in pages:
            scan.events += len(texts)
            part = Coverage(records=len(texts))
            yield table_of([Rows(self._statements.values(texts))], self._columns, part), part
