"""Find the JSON documents in a stream of bytes: one or many, on lines or not, in text or a table; and what is broken.

What is broken costs as little as possible. Where something ends well but is no JSON, what it holds is tried piece by
piece; where it doesn't end, it goes on with the next line that opens, or the next record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import msgspec

from keywatch.hunting import tables
from keywatch.hunting.broken import DEEP, ENDLESS, NO_DOCUMENT, TOO_LARGE, Broken, broken
from keywatch.hunting.columns import NO_JSON
from keywatch.hunting.window import STRING, Window

#: How deep documents are opened.
_DEEPEST = 6
#: How many that are nested too deep are looked through before a stream is given up, and for how many one that doesn't
#: end counts: it is looked through as far as can be held.
_PATIENCE, _ENDLESS_COSTS = 1000, 50
_BRACKET = re.compile(rb"[{\[]")
#: A text, and the colon if it is a key.
_TEXT = re.compile(STRING + rb"(?:\s*+:)?+", re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}\"]++")
_EVENT_KEY = re.compile(rb'"event(?:Version|Name)"\s*:')
#: Where it goes on after a broken record: at a line that opens, or at a record.
_NEXT = re.compile(rb'\n(?=[{\[])|(?=\{\s*"event(?:Version|Name)")')
#: What a record begins with is not longer.
_OVERLAP = 64
#: What the AWS CLI's `--output text` writes on lines of their own beside those with events.
_BESIDE = re.compile(rb"(?:RESOURCES|SEARCHEDLOGSTREAMS|NEXTTOKEN|[bf]/\d+)\b")


#: A line, None for the only document that there is; and what was decoded there, or `Broken`.
Found = Iterator[tuple[int | None, Any]]


def documents(read: Callable[[int], bytes], headings: Collection[str]) -> Found:
    """Yield the documents of a stream.

    :param read: returns at most so many of the next bytes of UTF-8; none at the end.
    :param headings: one of them is in the first line of a table, without regard to case.
    """
    found = _Documents(Window(read), headings)
    for line, document in found.found():
        if isinstance(document, Broken):
            found.owed = None
        yield line, document
    if found.owed is not None:
        yield found.owed


class _Documents:
    def __init__(self, window: Window, headings: Collection[str]) -> None:
        self._window, self._headings = window, headings
        self._by_lines = self._first = self._indented = True
        self._after_key = False
        #: Of the objects and arrays around, how many are opened, because they are broken or large.
        self._opened = 0
        self._endless, self._patience = 0, _PATIENCE
        #: What is wrong with something that was opened, as long as nothing in it was named.
        self.owed: tuple[int, Broken] | None = None
        #: The line on which text stood before JSON; what else is there is text too.
        self._text_line = 0

    def found(self) -> Found:
        window = self._window
        while window.skip_gap():
            byte = window.data[window.at : window.at + 1]
            if self._first and byte not in b"{[" and (delimiter := tables.delimiter_of(window, self._headings)):
                for line, row in tables.rows(window, delimiter):
                    yield line, Broken(row) if isinstance(row, str) else row
                return
            if byte in b"{[":
                yield from self._container()
            elif byte in b"}]":
                self._opened = max(0, self._opened - 1)
                window.to(1)
            elif byte == b'"':
                yield from self._string()
            else:
                yield from self._scalar() if self._opened else self._text()
            self._first = False
        if self._opened and not self._endless:
            yield window.line, ENDLESS

    def _container(self) -> Found:
        window, line, self._after_key = self._window, self._window.line, False
        for guess in self._guesses():
            try:
                document = self._decoded(guess)
            except NO_JSON:
                continue
            alone = self._first and window.ended and not window.data[window.at + guess :].strip()
            window.to(guess)
            yield None if alone else line, document
            return
        self._by_lines = False
        if line == self._text_line:
            yield line, NO_DOCUMENT
            window.to(window.line_size() or 0)
            return
        # After the first that did not end, what does not end costs no more than a line.
        limit = window.opening_line() if self._endless and not self._opened else None
        size = window.document_size(limit)
        if size is None:
            yield from self._unended(limit)
            return
        try:
            document = self._decoded(size)
        except NO_JSON as error:
            if not self._is_whole(size):
                self.owed = line, broken(error)
                self._open()
                return
            yield line, broken(error)
            resume = _NEXT.search(window.data, window.at + 1, window.at + size)
            window.to(resume.end() - window.at if resume else size)
            return
        window.to(size)
        self._by_lines = window.data[window.at : window.at + 2].lstrip(b"\r").startswith(b"\n")
        yield line, document

    def _guesses(self) -> Iterator[int]:
        """Yield where the document may end: with its line, with a bracket as deep as its own, or with the stream."""
        window = self._window
        if window.line == self._text_line:
            size = window.document_size(window.line_size())
            yield from () if size is None else (size,)
            return
        if self._by_lines and (size := window.line_size()) is not None:
            yield size
        if self._indented and (size := window.indented_size()) is not None:
            yield size
            self._indented = False  # for that was wrong
        if self._first:
            while window.more():
                pass
            if window.ended:
                yield window.size

    def _decoded(self, size: int) -> Any:
        window = self._window
        return msgspec.json.decode(memoryview(window.data)[window.at : window.at + size])

    def _open(self) -> None:
        """Go into the object or array, and take what it holds one by one."""
        self._opened += 1
        self._window.to(1)

    def _is_whole(self, size: int) -> bool:
        """Tell whether what stands here is named as a whole if it is broken: a record, or one that holds too much."""
        window = self._window
        key = _EVENT_KEY.search(window.data, window.at, window.at + size)
        return self._opened >= _DEEPEST or (key is not None and window.depth(key.start() - window.at, _DEEPEST) == 1)

    def _unended(self, limit: int | None) -> Found:
        """Go on behind something whose end is not known."""
        window, is_deep = self._window, self._window.is_deep
        whole = self._is_whole(window.size if limit is None else limit)
        if limit is None and not window.ended and not is_deep and whole:
            yield window.line, TOO_LARGE
            window.to_end()
            return
        resume = window.opening_line()
        if whole:
            resume = self._next_record() or resume
        elif (resume is None or not (limit or window.ended or is_deep)) and _BRACKET.search(window.data, window.at + 1):
            self._open()  # it may be a list of records, as large as can be
            return
        yield window.line, DEEP if is_deep else ENDLESS
        self._endless += 1
        if limit is None:
            self._patience -= 1 if is_deep else _ENDLESS_COSTS
        if resume is None or self._patience < 0:
            window.to_end()
        else:
            window.to(resume)

    def _next_record(self) -> int | None:
        """Return how far the next record is, or line that opens."""
        window, place = self._window, 1
        while (found := _NEXT.search(window.data, window.at + place)) is None:
            place = max(1, window.size - _OVERLAP)
            if not window.more():
                return None
        return found.end() - window.at

    def _string(self) -> Found:
        window, after_key, self._after_key = self._window, self._after_key, False
        text = window.match(_TEXT)
        if text is None:
            yield window.line, ENDLESS if window.ended else TOO_LARGE
            self._endless += 1
            window.to_end() if window.line_size() is None else window.to(window.line_size() or 0)
            return
        line = window.line
        window.to(len(text))
        if self._opened and text.endswith(b":"):
            self._after_key = True
        elif not after_key or b"{" in text:
            try:
                yield line, msgspec.json.decode(text)
            except NO_JSON as error:
                yield line, broken(error)

    def _scalar(self) -> Found:
        self._after_key = False
        text = self._window.match(_SCALAR) or b""
        try:
            msgspec.json.decode(text)
        except NO_JSON as error:
            yield self._window.line, broken(error)
        self._window.to(len(text))

    def _text(self) -> Found:
        """Go to the JSON that a line of text holds."""
        window = self._window
        size = window.line_size()
        if size is None:
            yield window.line, TOO_LARGE
            window.to_end()
            return
        line = window.data[window.at : window.at + size]
        begin = line.find(b"{")
        if begin >= 0:
            self._text_line = window.line
            window.to(begin)
            return
        if window.line != self._text_line and not _BESIDE.match(line):
            yield window.line, NO_DOCUMENT
        window.to(size)
