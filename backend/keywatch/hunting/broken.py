"""What can be wrong with a document, or be passed over, in words."""

from __future__ import annotations

from typing import NamedTuple

from keywatch.hunting.window import LARGEST


class Broken(NamedTuple):
    """What could not be decoded: the reason, which equal problems have in common, and details."""

    reason: str
    detail: str = ""


class Passed(NamedTuple):
    """A kind of thing that is known to hold no CloudTrail events."""

    kind: str


class Strange(NamedTuple):
    """What is not understood: the reason, which equal problems have in common, and details."""

    reason: str
    detail: str = ""


NO_DOCUMENT = Broken("text without JSON")
ENDLESS = Broken("not JSON: it ends before it is complete")
DEEP = Broken("not JSON: nested too deep")
TOO_LARGE = Broken(f"more than {LARGEST >> 20} MB in one piece, which is no list of records; the rest was not read")


def broken(error: Exception) -> Broken:
    """Say what msgspec found."""
    reason, _, place = str(error).partition(" (byte ")
    if isinstance(error, UnicodeDecodeError):
        reason, place = "a text is not UTF-8", ""
    elif isinstance(error, RecursionError):
        return DEEP
    elif "surrogate" in reason or reason == "Input data was truncated":  # as a surrogate at the end of a text is, too
        reason = "half a character (a lone surrogate), or cut off"
    return Broken(f"not JSON: {reason.removeprefix('JSON is malformed: ')}", place and f"byte {place.rstrip(')')}")
