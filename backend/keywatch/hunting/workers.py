"""Read files in several processes, which end with this one, however it ends."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pyarrow as pa

from keywatch.errors import UserError
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.finding import is_open
from keywatch.hunting.needs import Needs
from keywatch.hunting.reading import Reader
from keywatch.hunting.rows import Rows, table_of
from keywatch.hunting.selection import Selection
from keywatch.hunting.sift import Sift
from keywatch.hunting.stretches import stretches

#: Files that one worker reads at a time.
_CHUNK = 16
#: Chunks that are read before they are asked for, for each worker.
_AHEAD = 2
#: Rows that become a table at a time, and those of a chunk up to which they wait in memory; more wait in a file.
_ROWS, _HELD = 20_000, 40_000
#: Parameters of mallopt(3), as malloc.h numbers them, and the bytes to keep; glibc takes no more for the first of them.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _KEPT = -3, -1, 32 * 2**20

#: Files, each with the stretch that is read of it; None for all of it.
Chunk = Sequence[tuple[str, range | None]]
Part = tuple[pa.Table, Coverage]
#: What a worker read of a chunk: the last part, and the file that has what comes before it, if that was much.
Read = tuple[Part, str | None]


@contextmanager
def reading(
    files: Sequence[str],
    needs: Sequence[Needs] | None,
    columns: Columns,
    selection: Selection,
    limit: int,
    folder: str,
) -> Iterator[Iterator[Part]]:
    """Read files, in several processes where there are many; give a table and what it covers for each few of them.

    :param needs: what each rule needs; None if all records are wanted.
    :param columns: the fields that the table has, as text; one is eventName.
    :param limit: the bytes up to which a file is unpacked.
    :param folder: for what does not fit into memory.
    """
    own = [file for file in files if is_open(file)]
    chunks = _chunks(file for file in files if not is_open(file))
    first = list(islice(chunks, os.cpu_count() or 1))
    if len(first) < 2:  # noqa: PLR2004
        own, first = list(files), []
    with _pool(len(first), (needs, columns.names, selection, limit, folder), needed=bool(first)) as pool:
        reader = Reader(Sift(needs, columns), selection, limit)
        yield _parts(own, reader, pool, chain(first, chunks), len(first) * _AHEAD)


def _chunks(files: Iterable[str]) -> Iterator[Chunk]:
    """Yield what one worker reads at a time: some files, or a stretch of a large one; those are in their order."""
    several = list[tuple[str, range | None]]()
    for file in files:
        cut = stretches(file)
        yield from ([(file, stretch)] for stretch in cut)
        several += [] if cut else [(file, None)]
        if len(several) == _CHUNK:
            yield several
            several = []
    if several:
        yield several


@contextmanager
def _pool(workers: int, arguments: tuple[Any, ...], *, needed: bool) -> Iterator[ProcessPoolExecutor | None]:
    if not needed:
        yield None
        return
    begin: Any = _begin
    with ProcessPoolExecutor(workers, initializer=begin, initargs=arguments) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _parts(
    own: Sequence[str], reader: Reader, pool: ProcessPoolExecutor | None, chunks: Iterator[Chunk], ahead: int
) -> Iterator[Part]:
    """Yield what is read, and never hold more than a few parts that nobody has asked for yet."""
    futures: deque[tuple[Chunk, Future[Read]]] = deque()
    lines = 0
    while pool is not None:
        futures += ((chunk, _submitted(pool, chunk)) for chunk in islice(chunks, ahead - len(futures)))
        if not futures:
            break
        chunk, future = futures.popleft()  # and what it holds is freed
        try:
            (part, coverage), before = future.result()
            if chunk[0][1] is not None:  # a stretch knows nothing of what stands before it
                lines = lines if chunk[0][1].start else 0
                coverage.problems.move(lines)
                lines += coverage.lines
            if before is not None:
                yield from _kept(before)
            yield part, coverage
        except OSError as error:
            raise UserError(f"no room for temporary files: {error}; TMPDIR can name another folder") from error
        except BrokenProcessPool:
            coverage = Coverage()
            what = "not read: a process that read it and others was killed; was there too little memory?"
            for file, _ in chunk:
                coverage.problems.append(UserError(what, Path(file)))
            yield table_of([], reader.sift.columns, coverage), coverage
    for start in range(0, len(own), _CHUNK):
        yield from _tables([(file, None) for file in own[start : start + _CHUNK]], reader)


def _kept(path: str) -> Iterator[Part]:
    """Yield what a worker has put into a file, and remove the file."""
    with pa.OSFile(path) as file, pa.ipc.open_stream(file) as tables:
        for rows in tables:
            yield pa.Table.from_batches([rows]), Coverage()
    Path(path).unlink()


def _submitted(pool: ProcessPoolExecutor, chunk: Chunk) -> Future[Read]:
    """Have a chunk read; where the processes are gone, that is what its result says."""
    try:
        return pool.submit(_read_chunk, chunk)
    except BrokenProcessPool as error:
        failed: Future[Read] = Future()
        failed.set_exception(error)
        return failed


_reader: Reader
_folder: str


def _begin(needs: Sequence[Needs] | None, names: Sequence[str], selection: Selection, limit: int, folder: str) -> None:
    global _reader, _folder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says what was covered, and ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()  # rows are freed without it, and it would look through them again and again
    keep_freed_memory()
    _reader, _folder = Reader(Sift(needs, Columns(names)), selection, limit), folder


def _end_with_parent() -> None:
    """End when the parent has ended, be it killed: nobody would read what this process writes."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def keep_freed_memory() -> None:
    """Have glibc keep the memory of one file for the next: what Linux takes back, it clears again page by page.

    That can take as long as to decompress. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT)


def _read_chunk(chunk: Chunk) -> Read:
    held, path = list[pa.Table](), None
    with ExitStack() as stack:
        for part in _tables(chunk, _reader):
            if sum(map(len, held)) > _HELD:
                if path is None:
                    file = stack.enter_context(NamedTemporaryFile(dir=_folder, delete=False))
                    path, kept = file.name, stack.enter_context(pa.ipc.new_stream(file, held[0].schema))
                kept.write_table(pa.concat_tables(held))
                held.clear()
            held.append(part[0])
    return (pa.concat_tables(held), part[1]), path


def _tables(chunk: Chunk, reader: Reader) -> Iterator[Part]:
    """Read files; the last part has what they cover. As rows of Python, few are held at a time."""
    coverage, columns, several, size = Coverage(), reader.sift.columns, list[Rows](), 0
    for rows in chain.from_iterable(reader.rows(file, coverage, stretch) for file, stretch in chunk):
        several.append(rows)
        size += len(rows.values[0])
        if size >= _ROWS:
            yield table_of(several, columns, coverage), Coverage()
            several, size = [], 0
    yield table_of(several, columns, coverage), coverage
