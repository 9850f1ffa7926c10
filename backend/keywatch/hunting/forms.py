r"""Files in which records can be told apart without parsing: as AWS writes them, and one record a line.

Records are cut out where one ends and the next begins, `},{"eventVersion"` in AWS's files. Inside a text these bytes
can't stand: a quote is escaped there. In a list inside a record they can; what is cut there is no JSON by itself, or no
record, so all that is cut out is decoded before anything is dropped. Between lines it is `}\n{"eventVersion"`; a file
that has another line end than these is none of lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import stringzilla as sz

from keywatch.hunting.columns import NO_JSON, Columns

#: What records begin with as AWS writes them.
BEGINNING = b'{"eventVersion"'
#: What each record has that is as CloudTrail writes it. A file with a record that has less is parsed whole, and named.
_IDENTITIES = (b'"userIdentity":{', b'"userIdentity": {')
#: Each in its two spellings, without and with a blank.
_WRITTEN = (
    _IDENTITIES,
    (b'"eventSource":"', b'"eventSource": "'),
    (b'"eventName":',) * 2,
    (b'"awsRegion":',) * 2,
)
#: In files up to this size all identities are counted, which takes as long as to look for a word. Of a larger file, as
#: of the other keys, a record is looked at for each stretch of so many bytes.
_COUNTED, _STRETCH = 2**17, 2**15

_SKIMMED = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW, _RAWS = msgspec.json.Decoder(msgspec.Raw), msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Form:
    """How records follow one another: what stands in front of the first, between two, and behind the last."""

    opening: bytes
    #: From the end of a record to the first key of the next.
    between: bytes
    end: bytes

    def count(self, data: bytes, beginnings: list[bytes]) -> int | None:
        """Return how many records a file has; None if it has another form, or not what CloudTrail writes.

        :param beginnings: what keys with dots begin with; a record must have none of them.
        """
        last = _length(data)
        if not data.startswith(self.opening + BEGINNING) or not data.startswith(
            b"}" + self.end, last - len(self.end) - 1
        ):
            return None
        total: int = sz.count(data, self.between) + 1
        if not self.end and sz.count(data, b"\n", 0, last) != total - 1:
            return None
        if last < _COUNTED and sum(sz.count(data, identity) for identity in _IDENTITIES) < total:
            return None
        if not self.end and not self._is_json(data):
            return None
        return total if self._is_as_written(data, beginnings) else None

    def _is_json(self, data: bytes) -> bool:
        """Tell whether all lines are JSON, whoever wrote them; of a large file only whether they are UTF-8."""
        try:
            if len(data) < _COUNTED:
                _SKIMMED.decode_lines(data)
            if not data.isascii():
                data.decode()
        except NO_JSON:
            return False
        return True

    def _is_as_written(self, data: bytes, beginnings: list[bytes]) -> bool:
        """Tell whether some records have all that they should, and the first of them no keys with dots."""
        samples = 2 + len(data) // _STRETCH
        for sample in range(samples):
            start = max(0, data.rfind(self.between, 0, len(data) * sample // (samples - 1))) if sample else 0
            stop = data.find(self.between, start + 1)
            record = data[start : stop if stop >= 0 else len(data)]
            if not all(compact in record or spaced in record for compact, spaced in _WRITTEN):
                return False
            if sample == 0 and any(beginning in record for beginning in beginnings):
                return False
        return True

    def record(self, data: bytes, place: int) -> tuple[int, int]:
        """Return where the record begins and ends in which a place lies."""
        before, after = sz.rfind(data, self.between, 0, place), sz.find(data, self.between, place)
        start = before + len(self.between) - len(BEGINNING) if before >= 0 else len(self.opening)
        return start, after + 1 if after >= 0 else _length(data) - len(self.end)

    def decoded(self, data: bytes, columns: Columns) -> list[Any]:
        """Return all records.

        :raises: one of NO_JSON.
        """
        return columns.decode(self._array(data)) if self.end else columns.decode_lines(data)

    def each(self, data: bytes) -> list[msgspec.Raw]:
        """Return the JSON of each record.

        :raises: one of NO_JSON.
        """
        return _RAWS.decode(self._array(data)) if self.end else _RAW.decode_lines(data)

    def _array(self, data: bytes) -> memoryview:
        """Return the array of all records, where they are in one."""
        return memoryview(data)[len(self.opening) - 1 : _length(data) - len(self.end) + 1]


def _length(data: bytes) -> int:
    """Return how long a text is without the blanks behind it, of which no copy is made."""
    length = len(data)
    while data[length - 1 : length].isspace():
        length -= 1
    return length


FORMS = (
    Form(b'{"Records":[', b"}," + BEGINNING, b"]}"),
    Form(b"", b"}\n" + BEGINNING, b""),
    Form(b"", b"}\r\n" + BEGINNING, b""),
)


def form_of(data: bytes, beginnings: list[bytes]) -> tuple[Form, int] | None:
    """Return the form of a file and how many records it has; None if it must be parsed whole."""
    for form in FORMS:
        total = form.count(data, beginnings)
        if total is not None:
            return form, total
    return None
