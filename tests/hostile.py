"""Texts that try to be more than texts."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

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


@st.composite
def correlations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a correlation and its rule, with such texts wherever a rule has free text."""

    def text() -> Any:
        return draw(TEXTS)

    rule = {
        "title": "One",
        "name": "one",
        "logsource": {"product": "aws", "service": "cloudtrail"},
        "detection": {"value": {"userAgent|contains": draw(st.sampled_from(["x", text()]))}, "condition": "value"},
    }
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
    return [rule, correlation]


def counting_names(group_by: list[str], timespan: str) -> list[dict[str, Any]]:
    """Return a correlation of another group and count than the pack's, after its rule: List* calls of two names."""
    rule = {
        "title": "One",
        "name": "one",
        "logsource": {"product": "aws", "service": "cloudtrail"},
        "detection": {"a": {"eventName|startswith": "List"}, "condition": "a"},
    }
    correlation = {
        "type": "value_count",
        "rules": ["one"],
        "group-by": group_by,
        "timespan": timespan,
        "condition": {"field": "eventName", "gt": 1},
    }
    return [rule, {"title": "Two", "name": "two", "correlation": correlation}]


def written(documents: list[dict[str, Any]], folder: Path) -> Path:
    """Write rules to a file."""
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path
