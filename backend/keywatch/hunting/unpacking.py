"""The text of a file: packed with gzip or not, also twice, in UTF-8 or UTF-16, and never more of it than is wanted."""

from __future__ import annotations

import codecs
import io
from typing import Any, cast

from isal import igzip, igzip_lib, isal_zlib

GZIP = b"\x1f\x8b"
#: What reading a file or unpacking it raises.
UNREADABLE: Any = (OSError, EOFError, igzip_lib.IsalError, isal_zlib.error, MemoryError)
#: The most that one byte of gzip stands for: a match of 258 bytes takes two bits.
_MOST_FOR_ONE = 1032
#: How often one is packed in another: CloudWatch Logs packs each of its records, Firehose the file again.
_NESTED = 3
#: What a text in another encoding than UTF-8 begins with: its mark, or its first character if that is one of ASCII.
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"{\x00", "utf-16-le"),
    (b"[\x00", "utf-16-le"),
    (b"\x00{", "utf-16-be"),
    (b"\x00[", "utf-16-be"),
)


def unpacked(content: bytes, most: int) -> bytes | None:
    """Return the bytes that are packed in the whole content of a file.

    :return: None if they are more than wanted, or can't be had in one piece.
    """
    if not content.startswith(GZIP):
        return content
    try:
        if len(content) * _MOST_FOR_ONE <= most:
            return cast(bytes, igzip.decompress(content))
        unpacker = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        data = unpacker.decompress(content, most)
    except UNREADABLE:
        return None
    return data if unpacker.eof and not unpacker.unused_data else None


class Unpacked:
    """The text of a stream, in UTF-8, whatever it is packed in. What can't be read ends it, and is said."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        """Take a stream.

        :param limit: the bytes up to which it is unpacked. What is not packed is read to its end.
        """
        self.problem: str | None = None
        self._stream, self._left, self._packed = stream, limit, False
        self._limit = limit
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._unread = b""

    def unread(self, data: bytes) -> None:
        """Take back what was read last."""
        self._unread = data

    def read(self, size: int) -> bytes:
        """Return at most so many bytes of UTF-8, or a few more; none at the end, or where nothing more can be read."""
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        try:
            return self._read(size)
        except UNREADABLE as error:
            self.problem = f"can't be read to its end: {reason(error)}"
            return b""

    def _read(self, size: int) -> bytes:
        if not self._begun:
            self._begin()
        while True:
            data = self._stream.read1(size)  # which loses nothing of what comes before an error
            self._left -= len(data)
            if self._packed and self._left < 0:
                self.problem = f"unpacks to more than {self._limit / 10**9:g} GB; the rest was not read"
                return b""
            if self._decoder is None:
                return data
            text = self._decoder.decode(data, not data).encode("utf-8", "surrogatepass")
            if text or not data:
                return text

    def _begin(self) -> None:
        self._begun = True
        start = self._peek()
        for _ in range(_NESTED):
            if not start.startswith(GZIP):
                break
            self._packed = True
            self._stream = io.BufferedReader(_Members(self._stream), 2**20)
            start = self._peek()
        encoding = next((name for mark, name in _ENCODINGS if start.startswith(mark)), None)
        if encoding is not None:
            self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def _peek(self) -> bytes:
        start = self._stream.read(4)
        self._stream = rest(start, self._stream)
        return start


class _Members(io.RawIOBase):
    """What the members of a gzip file hold: igzip.open loses what comes shortly before a file is cut."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__()
        self._stream, self._packed = stream, b""
        self._member: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._packed = self._packed or self._stream.read(2**16)
            if self._member is None:
                self._packed = self._packed.lstrip(b"\0")  # tapes and block devices are filled up with it
                if not self._packed:
                    return 0
                if not self._packed.startswith(GZIP[:1]):
                    raise EOFError("something else follows what is packed with gzip")
                self._member = isal_zlib.decompressobj(wbits=31)
            elif not self._packed:
                raise EOFError("the gzip file is cut")
            data = self._member.decompress(self._packed, len(buffer))
            self._packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if self._member.eof:
                self._member = None
            if data:
                buffer[: len(data)] = data
                return len(data)


class _Rest(io.RawIOBase):
    """A stream of which the beginning was read already."""

    def __init__(self, start: bytes, stream: io.BufferedIOBase) -> None:
        super().__init__()
        self._start = memoryview(start)  # of which the rest is no copy
        self._some = getattr(stream, "read1", stream.read)  # what is there, and does not wait for more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._start[: len(buffer)] or self._some(len(buffer))
        self._start = self._start[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def rest(start: bytes, stream: io.BufferedIOBase) -> io.BufferedIOBase:
    """Return a stream as if its start had not been read."""
    return io.BufferedReader(_Rest(start, stream), 2**20)


def reason(error: Exception) -> str:
    """Say in a few words why something can't be read."""
    if isinstance(error, MemoryError):
        return "too little memory"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
