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

#: What can go wrong in a file that is broken.
BROKEN: Any = (pa.ArrowException, OSError, ValueError, MemoryError)
#: Rows that are taken at a time: an event of CloudTrail has 256 KB at most, and a few of them in general.
_ROWS = 4_096


class StrangeError(Exception):
    """A file that is not read, or not to its end; the text says what it is."""


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
        :raises StrangeError: if it has no events of OCSF.
        :raises: one of BROKEN.
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
        :raises StrangeError: at the limit.
        :raises: one of BROKEN.
        """
        sizes = [self._file.metadata.row_group(number).total_byte_size for number in range(self._file.num_row_groups)]
        groups = [number for number, size in enumerate(accumulate(sizes)) if size <= limit]
        for batch in self._file.iter_batches(_ROWS, groups, self._columns, use_threads=False):
            yield self._batch(batch, everything=everything())
        if len(groups) < len(sizes):
            raise StrangeError(f"a Parquet file that unpacks to more than {limit / 10**9:g} GB; the rest was not read")

    def _batch(self, batch: pa.RecordBatch, *, everything: bool) -> Batch:
        texts = [_texts(batch, ".".join(path)) or [None] * len(batch) for path in (PRODUCT, VERSION)]
        told = list(zip(*texts, strict=True))
        reasons = {one: wrong(*one) for one in dict.fromkeys(told)}
        right = [reasons[one] is None for one in told]
        if not everything:
            kept = self._sift.kept(partial(_texts_of, batch), len(batch))
            right = [one and other for one, other in zip(right, kept, strict=True)]
        events = batch.filter(pa.array(right, pa.bool_())).to_pylist(maps_as_pydicts="lossy")
        return Batch(events, Counter(reasons[one] for one in told))


def _texts_of(batch: pa.RecordBatch, name: str) -> list[str | None] | None:
    """Return the texts of a field of CloudTrail's; None if they can't be told without a look at each event."""
    known = places()
    there = known.fields.get(name)
    if there is None or any(path in known.kinds for path in there):
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
