"""Alerts as they lie in DuckDB, and what is written of them, without ever being Python objects all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from sigma.backends.keywatch._correlation import OUTCOMES, Correlation, Rule, id_of
from sigma.backends.keywatch._sql_text import literal
from sigma.pipelines.keywatch._fields import ELEMENTS, below

from keywatch.conversion.convert import Conversion
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.matching import match, note_failure

if TYPE_CHECKING:
    import duckdb

#: Lines that are taken from DuckDB at a time: as many as its vectors have, of which more would be copied once more.
_BATCH = 2_048
#: Alerts that DuckDB puts in order at a time, with all that is written of them.
_SLICE = 50_000
_HEADS = pa.schema({"rule": pa.int32(), "head": pa.string(), "title": pa.string()})
#: An alert of a correlation is a row of `found`; one of a single event is a row of `matches`, which has what is behind
#: the correlations too.
_TABLES = """
CREATE TABLE found (
    rule INTEGER, keys VARCHAR[], "group" VARCHAR, count BIGINT, "values" VARCHAR, first_seen TIMESTAMP,
    last_seen TIMESTAMP, events BIGINT, evidence VARCHAR
);
CREATE TABLE rules (rule INTEGER, head VARCHAR, title VARCHAR);
CREATE MACRO iso(moment) AS concat(strftime(moment, '%Y-%m-%dT%H:%M:%S'),
    CASE WHEN microsecond(moment) % 1000000 = 0 THEN '' ELSE strftime(moment, '.%f') END, 'Z');
"""
#: What an alert of a single event is about.
_EVENT = """concat('{"eventID":', coalesce(to_json("eventID"), 'null'), '}')"""
#: The correlation types of which the whole group has at least as much as any window.
_COUNTS = ("value_count", "event_count")
ORDER = 'first_seen, title, "group", found, event'


class Alerts:
    """The alerts of a hunt, by first time seen, while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, conversion: Conversion, coverage: Coverage) -> None:
        """Run the rules over the table `cloudtrail`. A rule that DuckDB can't run becomes a problem.

        :param conversion: the rules, converted for the target duckdb.
        """
        self.connection = connection
        self.quoted = conversion.backend.escape_and_quote_field
        of_names = {id(rule): name for name, rule in conversion.rules.items()}
        correlations = [rule for rule in conversion.rules.values() if Correlation.of(rule)]
        #: Those that are alerts by themselves; then those that only correlations refer to. Numbers are places here.
        self.singles = [rule for rule in conversion.rules.values() if not Correlation.of(rule)]
        singles = {id(rule): rule for rule in self.singles}
        parts = {id(part): part for rule in correlations for part in below(rule) if not Correlation.of(part)}
        self.parts = [part for key, part in parts.items() if key not in singles]
        self.rules: list[Rule] = [*self.singles, *self.parts, *correlations]
        self._numbers = {id(rule): number for number, rule in enumerate(self.rules)}
        connection.execute(_TABLES)
        heads = [{"rule": number, "head": _head(rule), "title": rule.title} for number, rule in enumerate(self.rules)]
        connection.register("heads", pa.Table.from_pylist(heads, _HEADS))
        connection.execute("INSERT INTO rules SELECT * FROM heads")
        before = len(coverage.problems)
        match(connection, list(enumerate([*self.singles, *self.parts])), coverage)
        failed = len(coverage.problems) > before
        for rule in correlations:
            correlation = Correlation.of(rule)
            assert correlation is not None
            if failed or self._may_alert(correlation):
                self._correlate(correlation, conversion.queries[of_names[id(rule)]], coverage)
        counted = f"SELECT (SELECT count(*) FROM found) + (SELECT count(*) FROM matches WHERE {self._of_singles})"  # noqa: S608
        [(count,)] = connection.execute(counted).fetchall()
        self.count: int = count

    @property
    def _of_singles(self) -> str:
        """Write the condition that a row of `matches` is an alert by itself."""
        return f"rule < {len(self.singles)}"

    def _may_alert(self, correlation: Correlation) -> bool:
        """Tell whether events can raise an alert, as far as that is found sooner than by planning the whole query.

        That is so if a group has in all what a window needs; of all types, if any event is matched.
        """
        references = correlation.rule.referenced_rules
        if correlation.inner or any(map(correlation.aliases_in, references)):
            return True
        rules = ", ".join(str(self.number(reference.rule)) for reference in references)
        needed = ""
        if correlation.type in _COUNTS and correlation.group and not correlation.parts:
            group = ", ".join(map(self.quoted, correlation.group))
            counted = self.quoted(correlation.counted or "eventID")
            needed = f"GROUP BY {group} HAVING count(DISTINCT {counted}) >= {correlation.enough}"
        query = f"SELECT 1 FROM matches JOIN cloudtrail ON cloudtrail.rowid = event WHERE rule IN ({rules}) {needed}"  # noqa: S608
        return bool(self.connection.execute(f"{query} LIMIT 1").fetchall())

    def _correlate(self, correlation: Correlation, queries: Sequence[str], coverage: Coverage) -> None:
        import duckdb

        rule = correlation.rule
        values = self._column(correlation.counted) if correlation.counted else "'[]'"
        keys = (*correlation.group, correlation.counted)
        shown = [name for name in correlation.evidence if name.removeprefix(ELEMENTS) not in keys]
        shown += [OUTCOMES] if correlation.outcome else []
        group = [
            f"{literal(_json(name.removeprefix(ELEMENTS)) + ':')}, {self._column(name)}" for name in correlation.group
        ]
        for query in queries:
            select = f"""INSERT INTO found SELECT {self._numbers[id(rule)]},
                [{", ".join(map(self.quoted, correlation.group))}]::VARCHAR[],
                concat({_object(group)}), value_count, {values}, first_seen, last_seen, event_count,
                concat({self._evidence(shown, several=True)}) FROM ({query.rstrip().rstrip(";")})"""  # noqa: S608
            try:
                self.connection.execute(select)
            except duckdb.Error as error:
                note_failure(rule, error, coverage)

    def _column(self, name: str) -> str:
        return f"coalesce(to_json({self.quoted(name)})::VARCHAR, 'null')"

    def _evidence(self, names: Iterable[str], *, several: bool) -> str:
        """Return the arguments of a concat of JSON that has the distinct values of fields.

        :param several: whether a column holds a list of them.
        """
        parts = []
        for name in dict.fromkeys(name.removeprefix(ELEMENTS) for name in names):
            column, key = self.quoted(name), literal(f"{_json(name)}:")
            if several:
                parts.append(f"{key}, coalesce(to_json({column})::VARCHAR, '[]')")
            else:
                parts.append(f"{key}, '[', to_json(nullif({column}, '')), ']'")  # of which a null leaves []
        return _object(parts)

    def relation(self, when: str = "true") -> str:
        """Return a statement that selects the alerts, each with what `ndjson` writes of it.

        :param when: a condition on `first_seen`.
        """
        shapes: dict[tuple[str, ...], list[int]] = {}
        for number, rule in enumerate(self.singles):
            names = (name for name in rule.fields if name.removeprefix(ELEMENTS) != "eventID")
            shapes.setdefault(tuple(names), []).append(number)
        singles = [
            self._of_events(", ".join(map(str, numbers)), self._evidence(names, several=False))
            for names, numbers in shapes.items()
        ]
        rest = _rest("count", '"values"', "last_seen", "events", "evidence")
        columns = 'rule, first_seen, last_seen, "group", rowid AS found, NULL::BIGINT AS event'
        of_found = f"SELECT {columns}, {rest} FROM found"  # noqa: S608
        found = " UNION ALL ".join([of_found, *singles])
        return f"SELECT * FROM ({found}) JOIN rules USING (rule) WHERE {when}"  # noqa: S608

    @staticmethod
    def _of_events(rules: str, evidence: str) -> str:
        """Return a statement that selects the alerts of rules with the same evidence: it is written once an event."""
        return f"""SELECT rule, first_seen, first_seen AS last_seen, "group", NULL AS found, event, rest FROM (
            SELECT rowid AS event, "eventTime" AS first_seen, {_EVENT} AS "group",
                {_rest("1", "'[]'", "first_seen", "1", evidence)}
            FROM cloudtrail WHERE rowid IN (SELECT event FROM matches WHERE rule IN ({rules}))
        ) JOIN matches USING (event) WHERE rule IN ({rules})"""  # noqa: S608

    def slices(self) -> Iterator[str]:
        """Yield conditions on `first_seen` that part the alerts into as many as are held at a time, in their order."""
        seen = " UNION ALL ".join(
            [
                "SELECT first_seen FROM found",
                f'SELECT "eventTime" FROM matches JOIN cloudtrail ON cloudtrail.rowid = event WHERE {self._of_singles}',  # noqa: S608
            ]
        )
        cuts = self.connection.execute(
            f"SELECT DISTINCT first_seen FROM (SELECT first_seen, row_number() OVER (ORDER BY first_seen) AS number"  # noqa: S608
            f" FROM ({seen})) WHERE number % {_SLICE} = 0 ORDER BY first_seen"
        ).fetchall()
        after = "true"
        for (cut,) in cuts:
            yield f"{after} AND first_seen <= TIMESTAMP '{cut}'"
            after = f"first_seen > TIMESTAMP '{cut}'"
        yield after

    def ndjson(self) -> Iterator[memoryview]:
        """Yield the alerts as lines of JSON, many at a time."""
        for when in self.slices():
            query = f"SELECT concat('{{', head, rest) AS line FROM ({self.relation(when)}) ORDER BY {ORDER}"  # noqa: S608
            yield from texts(self.connection, query)

    def number(self, rule: Rule) -> int:
        """Return the number of a rule, be it an alert by itself or only one that correlations refer to."""
        return self._numbers[id(rule)]


def texts(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[memoryview]:
    """Yield the texts that a query gives in its only column, in UTF-8, joined to pieces."""
    for batch in connection.sql(query).to_arrow_reader(_BATCH):
        column = batch.column(0)
        _, offsets, data = column.buffers()
        ends = memoryview(offsets).cast("i")
        yield memoryview(data)[ends[column.offset] : ends[column.offset + len(column)]]


def _head(rule: Rule) -> str:
    level = rule.level.name.lower() if rule.level else ""
    return _json({"rule_id": id_of(rule), "title": rule.title, "level": level})[1:-1]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _rest(count: str, values: str, last_seen: str, events: str, evidence: str) -> str:
    """Return a column that has what a line has behind its head: one call, so that no text is copied twice."""
    return f"""concat(',"group":', "group", ',"count":', {count}, ',"values":', {values}, ',"first_seen":"',
        iso(first_seen), '","last_seen":"', iso({last_seen}), '","events":', {events}, ',"evidence":', {evidence},
        '}}', chr(10)) AS rest"""


def _object(parts: Sequence[str]) -> str:
    """Return the arguments of a concat that writes a JSON object, of those of its keys and values."""
    return ", ".join(["'{'", ", ',', ".join(parts) or "''", "'}'"])
