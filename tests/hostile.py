"""Texts that try to be more than texts."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keywatch.errors import UserError
from packs import converted, one_rule, written

#: YAML that stands for five million values.
ALIASES = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefgh")
)
#: Signs that mean something in a query language, in a template or on a command line, and letters that look alike.
_SIGNS = [*"'\"`\\|*?%_$;#=,.:/<>!&^~@+- ()[]{}", "${x}", "$x$", "%s", "{{x}}", "--", "/*", "*/", "&&", "||"]
_SIGNS += ["\n", "\t", "\0", "\x1b", "\u2028", "\u202e", "ä", "Ä", "名", "😀", "＊", "К", "Κ", "\u212a", "ı", "ß", "Σ"]
_SIGNS += ["'; DROP TABLE cloudtrail; --", '" | delete', "') OR 1=1 --", "\n[stanza]\nsearch = x", " AND NOT ", " OR "]
_PIECES = (
    st.sampled_from("\\*?\"'`|%_")
    | st.sampled_from(_SIGNS)
    | st.sampled_from([*string.ascii_letters, "null", "true", "10", "aws-cli/2"])
)
#: Texts for values, titles and descriptions.
TEXTS = st.lists(_PIECES, min_size=1, max_size=6).map("".join)
MODIFIERS = ["", "|contains", "|startswith", "|endswith", "|cased", "|contains|cased"]


def near(value: str) -> list[str]:
    """Return texts that a value could be taken for: itself, as it is written and as it is meant, and neighbours."""
    meant = value.replace("\\\\", "\\").replace("\\*", "*").replace("\\?", "?")
    texts = {value, meant, meant.upper(), meant.lower(), f"x{meant}", f"{meant}x", f"x{meant}x", meant[:-1], meant[1:]}
    texts |= {meant.replace(sign, "x") for sign in "\\*?'\"%_ "} | {meant.replace("\\", "\\\\"), meant.replace("*", "")}
    return sorted(texts)


def value_rule(value: Any, modifier: str, *, negated: bool = False) -> dict[str, Any]:
    """Return a rule of calls whose user agent is a value, or is not."""
    document = one_rule({})
    document["detection"] = {
        "selection": {"eventName": "ListFunctions20150331"},
        "value": {f"userAgent{modifier}": value},
        "condition": f"selection and {'not ' if negated else ''}value",
    }
    return document


@st.composite
def correlations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a correlation and its rule, with such texts wherever a rule has free text."""

    def text() -> Any:
        return draw(TEXTS)

    correlation = {
        "title": text()[:256],
        "name": "two",
        "id": "00000000-0000-4000-8000-000000000000",
        "description": text(),
        "references": [text()],
        "author": text(),
        "falsepositives": [text()],
        "level": "high",
        "tags": ["attack.discovery", "attack.t1526"],
        "correlation": {
            "type": "value_count",
            "rules": ["one"],
            "group-by": ["userIdentity.arn"],
            "timespan": "30m",
            "condition": {"field": "awsRegion", "gte": 5},
        },
    }
    return [one_rule({"userAgent|contains": draw(st.sampled_from(["x", text()]))}), correlation]


def try_rules(
    target: str, formats: Sequence[str | None], folder: Path, check: Callable[..., None], *, examples: int
) -> None:
    """Convert rules with such texts: each is refused in one line that names its file, or stands a check.

    :param check: is called with the documents, and with their conversion to each of the formats.
    """
    taken = 0

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents=correlations())
    def refused_or_right(documents: list[dict[str, Any]]) -> None:
        nonlocal taken
        path = written(documents, folder)
        try:
            conversions = [converted(target, output_format, rules=[path]) for output_format in formats]
        except UserError as error:
            assert str(error).startswith(f"{path}:")
            return
        check(documents, *conversions)
        taken += 1

    refused_or_right()
    assert taken > examples / 5  # refusing everything would be no way to be right
