"""What only describes a rule: where it is not as Sigma wants it, the rule is converted without it."""

from __future__ import annotations

import re
import warnings
from typing import Any

from sigma.rule import SigmaRule

from keywatch.conversion.documents import Document
from keywatch.conversion.problems import message_of

#: Keys of which nothing depends that a rule finds. Its name and its title are others: by these it is known.
_DECORATION = (
    *("author", "date", "description", "falsepositives", "fields", "id", "level", "license", "modified"),
    *("references", "related", "scope", "status", "tags", "taxonomy"),
)
#: Lists of texts, of which pySigma does not look at the items.
_TEXTS = ("falsepositives", "fields", "references", "scope")
#: Where a rule carries the id that it was written with, if that is none: others may refer to it by that.
WRITTEN_ID = "keywatch_written_id"
#: What Sigma 1 had beside the conditions, for counts that it had in them.
_TIMEFRAME = re.compile(r"\d+[smhdwMy]")


def plainly(document: Document) -> None:
    """Take out what has no meaning to pySigma, and would stop it: items that are no texts, and the old `timeframe`."""
    content = document.content
    for key in ("title", "name"):
        if isinstance(content.get(key), int | float):
            content[key] = str(content[key])
    for key in _TEXTS:
        items = content.get(key)
        if isinstance(items, list) and not all(isinstance(item, str) for item in items):
            content[key] = [str(item) for item in items if isinstance(item, str | int | float)]
            _tell(document, key, "its items must be texts")
    detection = content.get("detection")
    if isinstance(detection, dict) and _TIMEFRAME.fullmatch(str(detection.get("timeframe"))):
        del detection["timeframe"]


def without_what_is_wrong(document: Document) -> bool:
    """Take out of a document, or out of a list in it, what only describes it and is wrong; tell if there was any."""
    content = document.content
    found = [(key, why) for key in _DECORATION if key in content and (why := _wrong(key, content[key]))]
    for key, why in found:
        value = content.pop(key)
        good = [item for item in (value if isinstance(value, list) else [value]) if not _wrong(key, [item])]
        if good:
            content[key] = good
        if key == "id":
            content[WRITTEN_ID] = value
        _tell(document, key, why)
    return bool(found)


def _wrong(key: str, value: Any) -> str | None:
    try:
        _, errors = SigmaRule.from_dict_common_params({"title": "-", key: value}, collect_errors=True)
    except Exception:  # pySigma meets odd YAML with whatever Python raises
        return f"it can't be {value!r}"
    return message_of(errors[0]) if errors else None


def _tell(document: Document, key: str, why: str) -> None:
    warnings.warn(
        f"{document.path}:{document.line}: rule {document.content.get('title')!r} is converted without what is wrong "
        f"under '{key}': {why}",
        stacklevel=3,
    )
