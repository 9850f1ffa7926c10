"""Correlations of correlations in SQL.

One reading of the table tags the events with the rules of single events that they match (`events`). Each correlation
inside is a stage with the events that complete it (`completed_N`), and those are tagged with its name for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import ClassVar

from sigma.backends.keywatch._correlation import COMBINATION, Correlation, Rule, name_of
from sigma.backends.keywatch._sliding import SlidingWindowBackend, combination_of
from sigma.backends.keywatch._sql_text import ALL_EVENTS, literal, quoted
from sigma.pipelines.keywatch._fields import below

#: The column with the name of the rule that an event matches.
RULE = '"rule"'


class NestedSQL(SlidingWindowBackend):
    """Searches of the events of several rules, and of correlations."""

    #: Where the events are.
    source: ClassVar[str]
    #: The columns of an event's time and ID.
    event_columns: ClassVar[tuple[str, str]]
    #: How a stage begins that several others read; an engine that can keeps its rows.
    kept: ClassVar[str] = "AS"

    def tagged(self, queries: Sequence[tuple[str, str]]) -> str:
        """Write where events are with a row for each rule that they match, and its name in the column "rule".

        :param queries: of each rule its name, and its condition.
        """
        tags = ",\n        ".join(f"CASE WHEN {query} THEN {literal(name)} END" for name, query in queries)
        return f"{self.source} CROSS JOIN UNNEST(ARRAY[\n        {tags}\n    ]) AS tagged({RULE})"

    def selected_of_each(self, rule: Rule, fields: Sequence[str], source: str) -> str:
        """Write the SELECT of fields of the events of several rules, and of "rule".

        :param source: as `tagged` writes it.
        """
        raise NotImplementedError

    def search_of_completions(self, correlation: Correlation) -> str:
        """Write the SELECT of the events of a correlation of correlations, tagged with the names of its rules."""
        rule, column = correlation.rule, partial(self.column, correlation.rule)
        parts = below(rule)
        inside = [view for part in parts if (view := Correlation.of(part))]
        fields = list(dict.fromkeys([field for view in [*inside, correlation] for field in _fields(view)]))
        singles = [part for part in parts if not Correlation.of(part)]
        tagged = self.tagged([(name_of(part), query) for part in singles for query in part.get_conversion_result()])
        stages = [f"events {self.kept} (\n{self.selected_of_each(rule, fields, tagged)}\n)"]
        columns = list(dict.fromkeys([*self.event_columns, *map(column, fields)]))
        names: dict[int, str] = {}
        for number, view in enumerate(inside, 1):
            query = self.completions[view.kind].format(
                search=self._rows(view, columns, names),
                columns=", ".join(dict.fromkeys([*columns, *map(column, view.group)])),
                **self.sliding_variables(view),
            )
            names[id(view.rule)] = f"completed_{number}"
            stages.append(f"completed_{number} {self.kept} (\n{query}\n)")
        return "    WITH " + ",\n".join(stages) + "\n" + self._rows(correlation, columns, names)

    def _rows(self, correlation: Correlation, columns: Sequence[str], stages: Mapping[int, str]) -> str:
        """Write the SELECT of the rows of a correlation from the stages before.

        :param stages: a correlation, by its identity → the stage of the events that complete it.
        """
        column = partial(self.column, correlation.rule)
        tables = {
            name_of(one.rule): list(dict.fromkeys([*columns, *map(column, one.group)])) for one in correlation.inner
        }
        # What an alias inside has made is in the rows of that correlation only.
        wanted = list(dict.fromkeys([*columns, RULE, *chain(*tables.values())]))
        rows = []
        if singles := ", ".join(literal(name) for name in correlation.rules if name not in tables):
            made = {name: "NULL" for name in wanted if name not in (*columns, RULE)}
            rows.append(_select([*columns, RULE], made, wanted) + f" FROM events WHERE {RULE} IN ({singles})")
        for inner in correlation.inner:
            table = tables[name_of(inner.rule)]
            made = {RULE: literal(name_of(inner.rule))} | {
                name: "NULL" for name in wanted if name not in (*table, RULE)
            }
            rows.append(_select(table, made, wanted) + f" FROM {stages[id(inner.rule)]}")
        union = "    " + "\n    UNION ALL ".join(rows)
        made = {quoted(alias): written for alias, written in aliases_of(correlation, column).items()}
        if not correlation.group:
            made[ALL_EVENTS] = "'all'"
        if correlation.parts:
            made[quoted(COMBINATION)] = combination([*map(column, correlation.parts)])
        if not made:
            return union
        return "    " + _select(wanted, made, list(dict.fromkeys([*wanted, *made]))) + f" FROM (\n{union}\n    )"


def _select(table: list[str], made: Mapping[str, str], wanted: list[str]) -> str:
    """Write the beginning of a SELECT.

    :param table: the columns that are there.
    :param made: those that are made, maybe in place of one that is there.
    :param wanted: all that are selected, in their order.
    """
    if wanted == [*table, *made]:
        return "SELECT " + ", ".join(["*", *(f"{value} AS {name}" for name, value in made.items())])
    return "SELECT " + ", ".join(f"{made[name]} AS {name}" if name in made else name for name in wanted)


def _fields(correlation: Correlation) -> Iterator[str]:
    """Yield the fields that a correlation needs of events, and not of correlations inside."""
    for reference in correlation.rule.referenced_rules:
        if not Correlation.of(reference.rule):
            meant = correlation.aliases_in(reference)
            yield from (meant.get(key, key) for key in correlation.keys)
    yield from correlation.evidence


def aliases_of(correlation: Correlation, write: Callable[[str], str]) -> dict[str, str]:
    """Return alias → what it is in an event that is tagged with a rule.

    :param write: writes the value of a field.
    """
    made = {}
    for alias in correlation.rule.aliases:
        whens = [
            f"WHEN {literal(name_of(reference.rule))} THEN {write(meant[alias.alias])}"
            for reference in correlation.rule.referenced_rules
            if alias.alias in (meant := correlation.aliases_in(reference))
        ]
        made[alias.alias] = f'CASE "rule" {" ".join(whens)} END' if whens else "NULL"
    return made


def combination(parts: Sequence[str]) -> str:
    """Write a text of several values, from which each can be told."""
    return " || ".join(combination_of(parts, "CAST(length({part}) AS varchar)", quote="'"))
