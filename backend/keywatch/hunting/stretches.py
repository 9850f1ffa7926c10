"""Large files of lines, cut between two records, so that several processes read one file."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from keywatch.hunting.forms import BEGINNING

#: Bytes that are read at a time, and a line's more.
_STRETCH = 8 * 2**20
#: What is looked through for the end of a line; where lines are longer, a file is read in one go.
_NEAR = 2**20
#: Where a record ends and the next begins. In a document, a line that ends so has a comma or a bracket behind it.
_BETWEEN = re.compile(rb"\}\r?\n(?=%b)" % re.escape(BEGINNING))


def stretches(file: str) -> list[range]:
    """Return the stretches of a large file of lines that can be read one by one; none if it is to be read in one go.

    :param file: the path of a file; one that can't be read has none, and is named when it is read.
    """
    try:
        size = Path(file).stat().st_size
        if size <= _STRETCH:
            return []
        with Path(file).open("rb") as stream:
            return _stretches(stream, size)
    except OSError:
        return []


def _stretches(stream: BinaryIO, size: int) -> list[range]:
    if stream.read(len(BEGINNING)) != BEGINNING:
        return []
    cuts = [0]
    while cuts[-1] + _STRETCH < size:
        at = stream.seek(cuts[-1] + _STRETCH)
        near = stream.read(_NEAR)
        between = _BETWEEN.search(near)
        if between is not None:
            cuts.append(at + between.end())
        elif at + len(near) == size:
            break
        else:
            return []
    return [range(start, stop) for start, stop in pairwise([*cuts, size])]
