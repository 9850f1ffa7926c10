"""Executes the SPL that the Splunk backend generates, by Splunk's documented semantics; docs/splunk.md quotes them.

No Splunk can be had here, and no registry holds an engine that runs `streamstats`. This one knows the commands and
functions that the generator uses and nothing else: any other one is an error, so it is also the test that the generator
keeps to them. What Splunk's documentation leaves open, whether a window's far end is inside, is a parameter.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from itertools import groupby
from typing import Any

from engines import Engine

#: Teragrep's parser of SPL.
PARSER = "pth"
Row = dict[str, Any]
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<field>'[^']*')|(?P<number>\d+(?:\.\d+)?(?![\w.]))"""
    r"""|(?P<word>[A-Za-z_][\w.]*)|(?P<sign>==|!=|>=|<=|[=<>(),+\-*/.]))"""
)


class Splunk(Engine):
    """Splunk, as it is documented."""

    target = "splunk"
    output_format = "spl"
    principal = "userIdentity_arn"

    def __init__(self, *, far_end_inside: bool) -> None:
        """Take what the documentation leaves open: whether an event exactly a window back is in the window."""
        self.name = f"SPL as documented, window's far end {'in' if far_end_inside else 'out'}"
        self.far_end_inside = far_end_inside
        #: Events, and what became of them.
        self._flat: tuple[list[Row], list[Row]] = ([], [])

    def rows(self, query: Any, events: list[Row]) -> list[Row]:
        """Run a search."""
        if self._flat[0] is not events:
            self._flat = (events, [*map(flat, events)])
        return run(query, self._flat[1], far_end_inside=self.far_end_inside)


def run(
    search: str, events: Iterable[Row], *, far_end_inside: bool = True, max_stream_window: int = 10_000
) -> list[Row]:
    """Run a search over events that are flat rows with `_time`."""
    first, *commands = _split(search, "|")
    if first:
        rows = list(filter(_matching(first), events))
    else:
        name, _, rest = commands.pop(0).partition("\n")
        assert name == "multisearch"
        rows, found = [], list(events)
        for branch in rest.split("\n["):
            text = branch.strip().removeprefix("[").removesuffix("]").strip().removeprefix("search ")
            rows += run(text, found)
    for command in commands:
        name, _, rest = command.strip().partition(" ")
        if name == "streamstats":
            rows = _streamstats(rest, rows, far_end_inside, max_stream_window)
        else:
            rows = list(COMMANDS[name](rest, rows))
    return rows


def flat(record: dict[str, Any]) -> Row:
    """Return a CloudTrail record as JSON extraction and the add-on make it: dotted names, texts, no nulls.

    The elements of a list are the values of one field, and {} stands behind the list's name.
    """
    row = dict(_extracted(record, ""))
    row.setdefault("errorCode", "success")  # the add-on's EVAL-errorCode
    row["_time"] = datetime.fromisoformat(record["eventTime"]).timestamp()
    row["_raw"] = record
    return row


def _extracted(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _extracted(inside, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        values: dict[str, list[str]] = {}
        for element in value:
            for path, found in _extracted(element, f"{name}{{}}"):
                values.setdefault(path, []).extend(_each(found))
        yield from values.items()
    elif value is not None and value != "":
        yield name, value if isinstance(value, str) else json.dumps(value)


def _each(value: Any) -> list[Any]:
    """Return the values of a field, of which it may have none, one or several."""
    return value if isinstance(value, list) else [] if value is None else [value]


@lru_cache(1_000)
def _split(text: str, sign: str) -> tuple[str, ...]:
    """Split at a sign outside quotes and brackets."""
    parts, quoted, escaped, depth = [""], "", False, 0
    for char in text:
        depth += 0 if quoted else (char in "([") - (char in ")]")
        if char == sign and not quoted and depth == 0:
            parts.append("")
            continue
        if not escaped and char in "\"'" and quoted in ("", char):
            quoted = "" if quoted else char
        escaped = char == "\\" and not escaped
        parts[-1] += char
    assert not quoted, "an unterminated quote"
    return tuple(part.strip() for part in parts)


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match, f"not SPL that the generator uses: {text[position : position + 40]}"
        assert match.lastgroup
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return found


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


class _Search:
    """The search command: NOT binds closest, then OR, then AND, which need not be written. Case does not matter."""

    def __init__(self, text: str) -> None:
        self.tokens = deque(_search_tokens(text))
        self.matches: Callable[[Row], bool] = self._and()
        assert not self.tokens, self.tokens

    def _and(self) -> Callable[[Row], bool]:
        terms = [self._or()]
        while self.tokens and self.tokens[0] != ")":
            terms.append(self._or())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def _or(self) -> Callable[[Row], bool]:
        terms = [self._not()]
        while self.tokens and self.tokens[0] == "OR":
            self.tokens.popleft()
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else lambda row: any(term(row) for term in terms)

    def _not(self) -> Callable[[Row], bool]:
        token = self.tokens.popleft()
        if token == "NOT":
            term = self._not()
            return lambda row: not term(row)
        if token == "(":
            group = self._and()
            assert self.tokens.popleft() == ")"
            return group
        if token in ("index", "sourcetype", "earliest", "latest"):
            self.tokens.popleft(), self.tokens.popleft()
            return lambda _: True
        if token == "*":
            return lambda _: True
        name = _unquote(token) if token.startswith('"') else token
        sign = self.tokens.popleft()
        if sign == "IN":
            assert self.tokens.popleft() == "("
            patterns = []
            while (value := self.tokens.popleft()) != ")":
                patterns += [_matcher(value)] if value != "," else []
            return lambda row: any(match(value) for value in _each(row.get(name)) for match in patterns)
        assert sign == "=", sign
        match = _matcher(self.tokens.popleft())
        return lambda row: any(map(match, _each(row.get(name))))


def _search_tokens(text: str) -> list[str]:
    pattern = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[=(),]|[^\s="(),]+)')
    found, position = [], 0
    while position < len(text.strip()):
        match = pattern.match(text, position)
        assert match, text[position:]
        found.append(match[1])
        position = match.end()
    return found


def _matcher(token: str) -> Callable[[str], bool]:
    """Return what a value of the search command matches: * is any text; a network, the addresses in it."""
    parts = re.findall(r"\\.|[\s\S]", token[1:-1] if token.startswith('"') else token)
    assert "\\*" not in parts, "the search command has no literal *"
    text = "".join(part[-1] for part in parts)
    if re.fullmatch(r"[0-9a-fA-F.:]+/\d+", text):
        return lambda value: _in_network(value, text)
    regex = "".join(".*" if part == "*" else re.escape(part[-1]) for part in parts)
    pattern = re.compile(regex, re.IGNORECASE | re.DOTALL)
    # Most rows have one of few values.
    return lru_cache(1_000)(lambda value: pattern.fullmatch(value) is not None)


def _in_network(value: str, network: str) -> bool:
    try:
        return ip_address(value) in ip_network(network)
    except ValueError:
        return False


@lru_cache(1_000)
def _matching(text: str) -> Callable[[Row], bool]:
    return _Search(text).matches


class _Eval:
    """An expression of eval or where: a comparison with null is null, which is not true."""

    _BINARY: tuple[dict[str, Callable[..., Any]], ...] = (
        {"OR": any},
        {"AND": all},
        {
            "==": operator.eq,
            "!=": operator.ne,
            ">=": operator.ge,
            "<=": operator.le,
            "<": operator.lt,
            ">": operator.gt,
        },
        {"+": operator.add, "-": operator.sub, ".": lambda a, b: f"{a}{b}"},
        # A division by zero gives no value.
        {"*": operator.mul, "/": lambda a, b: a / b if b else None},
    )

    def __init__(self, text: str) -> None:
        self.tokens = deque(_tokens(text))
        self.value: Callable[[Row], Any] = self._binary(0)
        assert not self.tokens, self.tokens

    def _binary(self, level: int) -> Callable[[Row], Any]:
        if level == len(self._BINARY):
            return self._term()
        left = self._binary(level + 1)
        while self.tokens and self.tokens[0][1] in self._BINARY[level]:
            sign = self.tokens.popleft()[1]
            left = self._apply(sign, self._BINARY[level][sign], left, self._binary(level + 1))
        return left

    @staticmethod
    def _apply(
        sign: str, function: Callable[..., Any], left: Callable[[Row], Any], right: Callable[[Row], Any]
    ) -> Callable[[Row], Any]:
        if sign == "AND":
            return lambda row: bool(left(row)) and bool(right(row))
        if sign == "OR":
            return lambda row: bool(left(row)) or bool(right(row))

        def value(row: Row) -> Any:
            a, b = left(row), right(row)
            return None if a is None or b is None else function(a, b)

        return value

    def _term(self) -> Callable[[Row], Any]:
        kind, text = self.tokens.popleft()
        if kind == "sign":
            return self._signed(text)
        if kind in ("string", "number"):
            constant = _unquote(text) if kind == "string" else float(text) if "." in text else int(text)
            return lambda _: constant
        if kind == "field":
            name = text[1:-1]
            return lambda row: row.get(name)
        if self.tokens and self.tokens[0][1] == "(":
            return self._call(text)
        return lambda row: row.get(text)

    def _signed(self, sign: str) -> Callable[[Row], Any]:
        if sign == "-":
            term = self._term()
            return lambda row: -term(row)
        inside = self._binary(0)
        assert sign == "("
        assert self.tokens.popleft()[1] == ")"
        return inside

    def _call(self, name: str) -> Callable[[Row], Any]:
        self.tokens.popleft()
        inside = list(self.tokens)
        arguments = [] if self.tokens[0][1] == ")" else [self._binary(0)]
        while self.tokens.popleft()[1] == ",":
            arguments.append(self._binary(0))
        if name == "mvfilter":  # of the values of the one field in the condition, those that meet it
            [field] = {text[1:-1] for kind, text in inside[: len(inside) - len(self.tokens)] if kind == "field"}
            return lambda row: [v for v in _each(row.get(field)) if arguments[0](row | {field: v})] or None
        if name == "mvmap":  # the expression, for each value of the field
            field = inside[0][1][1:-1]
            return lambda row: (
                [made for value in _each(row.get(field)) if (made := arguments[1](row | {field: value})) is not None]
                or None
            )
        function = FUNCTIONS[name]
        return lambda row: function(*[argument(row) for argument in arguments])


@lru_cache(1_000)
def _compiled(regex: str) -> re.Pattern[str]:
    """Compile a regular expression; Python's own cache is smaller than what tests ask."""
    return re.compile(regex)


_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def _number(text: Any) -> float | None:
    """Convert what is a number, and nothing else."""
    return float(text) if _NUMBER.fullmatch(str(text)) else None


def _text(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of texts that is null where one of them is."""
    return lambda *values: None if None in values else function(*values)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "floor": math.floor,
    "tonumber": _number,
    "null": lambda: None,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "isnotnull": lambda value: value is not None,
    "lower": _text(str.lower),
    "len": _text(len),
    "substr": _text(lambda text, start, length=None: text[start - 1 : None if length is None else start - 1 + length]),
    "match": _text(lambda text, regex: _compiled(regex).search(text) is not None),
    "replace": _text(lambda text, regex, new: _compiled(regex).sub(lambda _: new, text)),
    "if": lambda condition, then, otherwise: then if condition else otherwise,
    "mvappend": lambda *values: [str(value) for value in values],  # a multivalue field holds texts
    "mvindex": lambda values, place: next(iter(_each(values)[place:]), None),
    "strftime": _text(lambda time, form: datetime.fromtimestamp(time, UTC).strftime(form)),
    "mvdedup": lambda values: list(dict.fromkeys(values)),
}


@lru_cache(1_000)
def _value(text: str) -> Callable[[Row], Any]:
    return _Eval(text).value


def _where(text: str, rows: list[Row]) -> Iterator[Row]:
    condition = _value(text)
    return (row for row in rows if condition(row))


def _eval(text: str, rows: list[Row]) -> Iterator[Row]:
    assignments = [part.partition("=") for part in _split(text, ",")]
    parsed = [(name.strip(), _value(value)) for name, _, value in assignments]
    for row in rows:
        new = dict(row)
        for name, value in parsed:
            new[name] = value(new)
        yield new


def _aggregates(text: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    head, _, by = text.partition(" BY ")
    found = re.findall(r"(\w+)(?:\(([\w.]+)\))? AS ([\w.]+)", head)
    assert " ".join(f"{f}({a}) AS {n}" if a else f"{f} AS {n}" for f, a, n in found) == head.strip(), head
    return found, by.split()


def _aggregate(function: str, values: list[Any]) -> Any:
    texts = [item for value in values for item in (value if isinstance(value, list) else (value,))]
    return _AGGREGATES[function](texts)


_AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "min": min,
    "max": max,
    "sum": sum,
    "dc": lambda values: len({*values}),
    "last": lambda values: values[-1],
    "values": lambda values: sorted({*values}) or None,
}


def _stats(text: str, rows: list[Row]) -> Iterator[Row]:
    aggregates, by = _aggregates(text)
    # A row in which a field of the BY clause is null is left out.
    kept = [row for row in rows if all(row.get(name) is not None for name in by)]
    for key, group in groupby(
        sorted(kept, key=lambda row: [str(row[n]) for n in by]), lambda row: [row[n] for n in by]
    ):
        members = list(group)
        new = dict(zip(by, key, strict=True))
        for function, name, alias in aggregates:
            values = [row[name] for row in members if row.get(name) is not None] if name else []
            result = len(members) if function == "count" else _aggregate(function, values) if values else None
            if result is not None:
                new[alias] = result
        yield new


def _eventstats(text: str, rows: list[Row]) -> Iterator[Row]:
    """Each row gets what stats makes of those that are equal in the BY clause."""
    aggregates, by = _aggregates(text)
    found = {tuple(row[name] for name in by): row for row in _stats(text, rows)}
    names = [alias for _, _, alias in aggregates]
    for row in rows:
        made = found.get(tuple(row.get(name) for name in by), {})
        yield row | {name: made[name] for name in names if name in made}


def _streamstats(text: str, rows: list[Row], far_end_inside: bool, max_stream_window: int) -> list[Row]:
    match = re.fullmatch(r"window=(\d+) time_window=(\d+)s global=f (.*)", text)
    if not match:
        return list(_running(text, rows))
    rows_kept, span = min(int(match[1]), max_stream_window), int(match[2])
    [(function, name, alias)], by = _aggregates(match[3])
    times = [row["_time"] for row in rows]
    assert times == sorted(times), "time_window needs rows in order of time"
    windows: dict[tuple[Any, ...], deque[Row]] = {}
    done = []
    for row in rows:
        kept = windows.setdefault(tuple(row[field] for field in by), deque(maxlen=rows_kept))
        kept.append(row)
        while (age := row["_time"] - kept[0]["_time"]) > span or (age == span and not far_end_inside):
            kept.popleft()
        counted = len(kept) if function == "count" else _aggregate(function, [item[name] for item in kept])
        done.append(row | {alias: counted})
    return done


def _running(text: str, rows: list[Row]) -> Iterator[Row]:
    """Without a window, each row gets what all up to it make."""
    aggregates, by = _aggregates(text)
    so_far: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        values = so_far.setdefault(tuple(row[field] for field in by), {})
        for function, name, alias in aggregates:
            if row.get(name) is not None:
                so_far_and_now = [values[alias], row[name]] if alias in values else [row[name]]
                values[alias] = _aggregate(function, so_far_and_now)
        yield row | values


def _mvexpand(text: str, rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        value = row[text.strip()]
        for item in value if isinstance(value, list) else [value]:
            yield row | {text.strip(): item}


def _sort(text: str, rows: list[Row]) -> list[Row]:
    limit, *fields = text.split()
    assert limit == "0", "without 0, sort keeps 10,000 rows"
    if fields[0].startswith("-"):
        [field] = fields
        return sorted(rows, key=lambda row: row[field.removeprefix("-")], reverse=True)
    return sorted(rows, key=lambda row: [row[field] for field in fields])


def _convert(text: str, rows: list[Row]) -> Iterator[Row]:
    match = re.fullmatch(r'timeformat="([^"]*)" ctime\((\w+)\) ctime\((\w+)\)', text.strip())
    assert match
    for row in rows:
        yield row | {name: datetime.fromtimestamp(row[name], UTC).strftime(match[1]) for name in match.groups()[1:]}


def _table(text: str, rows: list[Row]) -> Iterator[Row]:
    names = [_name(name.strip()) for name in text.split(",")]
    return ({name: row[name] for name in names if name in row} for row in rows)


def _name(text: str) -> str:
    return _unquote(text) if text.startswith('"') else text


def _search(text: str, rows: list[Row]) -> Iterator[Row]:
    return filter(_matching(text), rows)


def _spath(text: str, rows: list[Row]) -> Iterator[Row]:
    match = re.fullmatch(r"path=([\w.]+) output=([\w.]+)", text.strip())
    assert match
    for row in rows:
        value: Any = row["_raw"]
        for key in match[1].split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        yield row if value is None else row | {match[2]: found}


def _rename(text: str, rows: list[Row]) -> Iterator[Row]:
    names = {_name(old): new for old, new in (pair.split(" AS ") for pair in text.split(", "))}
    return ({names.get(name, name): value for name, value in row.items()} for row in rows)


COMMANDS: dict[str, Callable[[str, list[Row]], Iterable[Row]]] = {
    "convert": _convert,
    "eval": _eval,
    "eventstats": _eventstats,
    "mvexpand": _mvexpand,
    "rename": _rename,
    "search": _search,
    "sort": _sort,
    "spath": _spath,
    "stats": _stats,
    "table": _table,
    "where": _where,
}
