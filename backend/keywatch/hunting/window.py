"""The part of a stream of bytes that is looked at: it moves on, and never holds much."""

from __future__ import annotations

import re
from collections.abc import Callable

#: The most bytes that one document has. A longer one is opened, and what it holds is taken one by one.
LARGEST = 16 * 2**20
_READ = 2**20
#: How far a line is indented at most that opens an object, and how long that is at most, to be known by it.
_INDENT, _INDENTED = 2**8, 2**16
#: More levels than msgspec decodes, which takes as many as Python's recursion limit.
_DEEP = 2000
STRING = rb'"(?:[^"\\]++|\\.)*+"'
#: Up to the next bracket that stands in no text.
_STEP = re.compile(rb'[^"{}\[\]]*+(?:%b[^"{}\[\]]*+)*+([{}\[\]])' % STRING, re.DOTALL)
_MARK = b"\xef\xbb\xbf"
#: Between documents: commas and blanks, the mark of UTF-8, the separator of JSON text sequences (RFC 7464).
_GAP = re.compile(rb"(?:[\s,\x1e]|%b)*+" % _MARK)
_OPENING_LINE = re.compile(rb"\n(?=[{\[])")


class Window:
    """A window on a stream. Sizes and distances are bytes from where it stands, `at`."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """Take what returns at most so many of the next bytes, and none at the end."""
        self._read = read
        self.data, self.at, self.line, self.ended = b"", 0, 1, False
        #: Where in the stream the data begin, and up to where the next line that opens was looked for.
        self._base = self._opening = 0
        #: Whether the last document that was measured is nested too deep.
        self.is_deep = False

    @property
    def size(self) -> int:
        """How much is held."""
        return len(self.data) - self.at

    def more(self) -> bool:
        """Read on, unless the stream ends or too much is held."""
        if self.ended or self.size > LARGEST:
            return False
        chunk = self._read(max(_READ, self.size))
        self.ended = not chunk
        self._base += self.at
        self.data, self.at = self.data[self.at :] + chunk, 0
        return not self.ended

    def to(self, size: int) -> None:
        """Move on."""
        self.line += self.data.count(b"\n", self.at, self.at + size)
        self.at += size

    def to_end(self) -> None:
        """Move to the end of the stream, without reading it."""
        self.data, self.at, self.ended = b"", 0, True

    def skip_gap(self) -> bool:
        """Move to the next document; tell whether there is one."""
        while True:
            gap = _GAP.match(self.data, self.at)
            assert gap is not None
            self.to(len(gap[0]))
            if self.size >= len(_MARK) or not self.more():  # or it may have been cut
                return self.size > 0

    def match(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """Return what a pattern matches here, and does not go on behind what is held; None if it matches nothing."""
        while True:
            found = pattern.match(self.data, self.at)
            if (found is not None and found.end() < len(self.data)) or not self.more():
                return found[0] if found else None

    def line_size(self) -> int | None:
        """Return how long the rest of this line is; None if it is longer than what can be held."""
        place = 0
        while True:
            found = self.data.find(b"\n", self.at + place)
            if found >= 0:
                return found - self.at
            place = self.size
            if not self.more():
                return place if self.ended else None

    def opening_line(self) -> int | None:
        """Return how far the next line is that opens an object or an array, as far as is known."""
        here = self._base + self.at
        if self._opening <= here:
            found = _OPENING_LINE.search(self.data, self.at + 1)
            self._opening = self._base + (found.end() if found else len(self.data))
        size = self._opening - here
        return size if size < self.size else None

    def indented_size(self) -> int | None:
        """Return how long the object is that begins here, if it is indented: the next bracket as deep as it ends it.

        :return: None if it begins behind something else, or is longer than such objects are.
        """
        indent = self.data[self.data.rfind(b"\n", max(0, self.at - _INDENT), self.at) + 1 : self.at]
        if indent.strip() or len(indent) >= _INDENT or not self.data.startswith(b"{", self.at):
            return None
        end = b"\n" + indent + b"}"
        found = self.data.find(end, self.at, self.at + _INDENTED)
        return found + len(end) - self.at if found >= 0 else None

    def document_size(self, limit: int | None = None) -> int | None:
        """Return how long the object or array is that begins here, to its last bracket.

        :return: None if it does not end before the limit, or in what can be held, or is nested too deep to be decoded.
        """
        depth = place = 0
        self.is_deep = False
        while True:
            step = _STEP.match(self.data, self.at + place, self.at + limit if limit is not None else len(self.data))
            if step is not None:
                place = step.end() - self.at
                depth += 1 if step[1] in b"{[" else -1
                if depth == 0:
                    return place
                if depth > _DEEP:
                    self.is_deep = True
                    return None
            elif limit is not None or not self.more():
                return None

    def depth(self, size: int, deepest: int) -> int:
        """Return in how many brackets a place lies, counted from here."""
        depth, place = 0, self.at
        while depth <= deepest and (step := _STEP.match(self.data, place, self.at + size)):
            place = step.end()
            depth += 1 if step[1] in b"{[" else -1
        return depth
