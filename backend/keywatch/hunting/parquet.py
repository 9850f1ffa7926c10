"""Amazon Security Lake's Parquet: of the columns, those that rules ask for, and a few thousand rows at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sigma.pipelines.keywatch._ocsf import UNMAPPED, places

from keywatch.hunting.broken import Passed, Strange
from keywatch.hunting.ocsf import MARK, PRODUCT, VERSION, Inverse, wrong
from keywatch.hunting.sift import Sift
from keywatch.hunting.unpacking import reason

#: Rows that are taken at a time: an event of CloudTrail has 256 KB at most, and a few of them in general.
_ROWS = 4_096


class StrangeError(Exception):
    """A file that is not read, or not to its end; the text says what it is."""


#: What a file that is strange or broken raises.
UNREAD: Any = (StrangeError, pa.ArrowException, OSError, ValueError, LookupError, ArithmeticError, MemoryError)


def said(error: Exception) -> str:
    """Say in a line why a file was not read."""
    if isinstance(error, StrangeError):
        return f"not read: it is {error}"
    return f"can't be read: {' '.join(reason(error).split())[:200] or 'it is broken'}"


class Batch(NamedTuple):
    """What a few thousand rows have."""

    #: The events that some rule may match, as far as the rules ask for what is in them.
    events: list[dict[str, Any]]
    #: How many rows there are, by why they are not read; None for those that are.
    counts: Counter[Passed | Strange | None]


class Parquet:
    """A file of Security Lake's."""

    def __init__(self, source: Any, sift: Sift, inverse: Inverse) -> None:
        """Open a file.

        :param source: its path, or something like a file that can be read anywhere in it.
        :raises: one of UNREAD; a StrangeError if it has no events of OCSF.
        """
        self._file = pq.ParquetFile(source, pre_buffer=False)
        self._sift = sift
        self._columns = None if sift.columns.raw else inverse.paths
        names = self._file.schema_arrow.names
        if MARK not in names:
            raise StrangeError(f"a Parquet file of another shape than Security Lake's: it has {', '.join(names[:5])}")

    def batches(self, limit: int, everything: Callable[[], bool]) -> Iterator[Batch]:
        """Yield what is in it, batch by batch.

        :param limit: the bytes up to which the file is unpacked.
        :param everything: tells for each batch whether all events are wanted, not only those that some rule may match.
        :raises: one of UNREAD; a StrangeError at the limit.
        """
        sizes = [self._file.metadata.row_group(number).total_byte_size for number in range(self._file.num_row_groups)]
        groups = [number for number, size in enumerate(accumulate(sizes)) if size <= limit]
        for batch in self._file.iter_batches(_ROWS, groups, self._columns, use_threads=False):
            yield self._batch(batch, everything=everything())
        if len(groups) < len(sizes):
            raise StrangeError(f"a Parquet file that unpacks to more than {limit / 10**9:g} GB; the rest was not read")

    def _batch(self, batch: pa.RecordBatch, *, everything: bool) -> Batch:
        texts = [_texts(batch, ".".join(path)) or [None] * len(batch) for path in (PRODUCT, VERSION)]
        told = Counter(zip(*texts, strict=True))
        reasons = {one: wrong(*one) for one in told}
        kept = [True] * len(batch) if everything else self._sift.kept(partial(_texts_of, batch), len(batch))
        if any(reasons.values()):
            kept = [keep and reasons[one] is None for keep, one in zip(kept, zip(*texts, strict=True), strict=True)]
        counts = Counter[Passed | Strange | None]()
        for one, count in told.items():
            counts[reasons[one]] += count
        return Batch(batch.filter(pa.array(kept, pa.bool_())).to_pylist(maps_as_pydicts="lossy"), counts)


def _texts_of(batch: pa.RecordBatch, name: str) -> list[str | None] | None:
    """Return the texts of a field of CloudTrail's; None if they can't be told without a look at each event."""
    known = places()
    there = [*known.fields.get(name, ()), *([known.later[name]] if name in known.later else [])]
    if not there or any(path in known.kinds for path in there):
        return None
    columns = [texts for path in there if (texts := _texts(batch, path)) is not None]
    if len(columns) < len(there):
        return None
    return (
        columns[0] if len(columns) == 1 else [next(filter(None, texts), None) for texts in zip(*columns, strict=True)]
    )


def _texts(batch: pa.RecordBatch, path: str) -> list[str | None] | None:
    """Return the texts at a path, None for those that are not there; None for all if it holds no texts."""
    if path.startswith(UNMAPPED):
        column = _column(batch, UNMAPPED.removesuffix("."))
        if column is not None and not pa.types.is_map(column.type):
            return None
        key = path.removeprefix(UNMAPPED)
        column = column if column is None else pc.map_lookup(column, pa.scalar(key), "first")
    else:
        column = _column(batch, path)
    if column is None:
        return [None] * len(batch)
    if pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return column.to_pylist() if pa.types.is_string(column.type) else None


def _column(batch: pa.RecordBatch, path: str) -> Any:
    """Return what stands at a path as an array; None if nothing does."""
    top, *keys = path.split(".")
    if top not in batch.schema.names:
        return None
    column = batch.column(top)
    for key in keys:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
            return None
        column = pc.struct_field(column, key)
    return column
