"""Find the files to hunt through: those that are named, and in folders and buckets all that may hold CloudTrail."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from keywatch.errors import UserError
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.selection import Delivery, Selection, There
from keywatch.hunting.unpacking import reason

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

STDIN = "-"
#: What is open already, such as what a shell's `<(…)` gives, and may be a pipe.
_OPEN = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
#: What AWS delivers beside a trail's files, and how its files are called in the summary. Each has a folder, in which
#: there is one for the account, and then for the Region or the year.
_NEIGHBOURS = {
    "CloudTrail-Digest": "digest files",
    "CloudTrail-Insight": "Insight files",
    "CloudTrail-Aggregated": "aggregated files",
    "Config": "AWS Config files",
    "GuardDuty": "GuardDuty files",
    "elasticloadbalancing": "load balancer logs",
    "redshift": "Redshift audit logs",
    "vpcdnsquerylogs": "DNS query logs",
    "vpcflowlogs": "VPC flow logs",
    "WAFLogs": "WAF logs",
}
_NEIGHBOUR = re.compile(rf"(?:^|/)\d{{12}}/({'|'.join(_NEIGHBOURS)})/(?:[a-z]{{2}}(?:-[a-z]+)+-\d|\d{{4}})(?:/|$)")
_DIGEST = "CloudTrail-Digest"
#: What Security Lake has beside CloudTrail's events, and what it keeps about each table.
_LAKE = {
    "EKS_AUDIT": "EKS audit logs",
    "ROUTE53": "DNS query logs",
    "SH_FINDINGS": "Security Hub findings",
    "VPC_FLOW": "VPC flow logs",
    "WAF": "WAF logs",
}
_IN_LAKE = re.compile(rf"(?:^|/)(?:({'|'.join(_LAKE)})|[A-Z0-9_]+)/\d\.\d/(?(1)|metadata(?:/|$))")
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def find_files(paths: Iterable[str], selection: Selection, coverage: Coverage) -> list[str]:
    """List the files to read: those named, and those in folders, without what is known to be something else.

    What does not exist, can't be listed or is no file becomes a problem of the coverage, as does an empty folder.
    :param paths: files, folders, `-` for standard input, `s3://bucket/prefix`.
    """
    files: dict[str, None] = {}
    if selection:
        coverage.there = coverage.there or There(selection)
    for path in paths:
        try:
            found = _listed(path, coverage)
        except OSError as error:
            coverage.problems.append(UserError(f"can't be listed: {reason(error)}", Path(path)))
            continue
        if found is None:
            files[path] = None  # one that is not there is named when it is opened
            _note_day(path, coverage)
            continue
        if not found:
            coverage.problems.append(UserError("holds no file", Path(path)))
        for file in found:
            kind = _neighbour(file)
            delivery = Delivery.of(file)
            if kind is not None:
                coverage.passed[kind] += 1
            elif selection.may_hold(delivery):
                files[file] = None
                _note_day(file, coverage)
            else:
                coverage.pruned += 1
                if coverage.there is not None and delivery is not None:
                    coverage.there.note_file(delivery)
    return list(files)


def _note_day(path: str, coverage: Coverage) -> None:
    delivery = Delivery.of(path)
    if delivery is not None:
        coverage.days.add(delivery.day)


def _neighbour(file: str) -> str | None:
    """Return the kind of a file that AWS delivers beside a trail's; None for one that may hold CloudTrail."""
    folder, _, name = file.rpartition("/")
    return _NEIGHBOURS[_DIGEST] if _DIGEST in name else _neighbour_folder(folder)


@lru_cache
def _neighbour_folder(folder: str) -> str | None:
    if match := _NEIGHBOUR.search(folder):
        return _NEIGHBOURS[match[1]]
    if match := _IN_LAKE.search(f"{folder}/"):
        return _LAKE.get(match[1], "metadata of Iceberg's tables")
    return None


def is_open(path: str) -> bool:
    """Tell whether a path is one of this process' own, which another process can't open."""
    return path == STDIN or path.startswith(_OPEN)


def _listed(path: str, coverage: Coverage) -> list[str] | None:
    """Return the files of a folder, in order; None for what is no folder."""
    if path.startswith("s3://"):
        from pyarrow.fs import FileSelector, FileType

        system, inside = s3(path)
        if system.get_file_info(inside).type == FileType.File:
            return None
        found = system.get_file_info(FileSelector(inside, recursive=True))
        return sorted(f"s3://{info.path}" for info in found if info.is_file and info.size)
    if is_open(path):
        return None
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    if kind := _KINDS.get(stat.S_IFMT(status.st_mode)):
        raise OSError(0, f"it is {kind}, and is not opened")
    if not stat.S_ISDIR(status.st_mode):
        return None
    return sorted(_Walk(coverage).files(path))


class _Walk:
    """Goes through a folder and all that is in it, also where symbolic links lead, through each once."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._folders: set[tuple[int, int]] = set()

    def files(self, folder: str) -> Iterator[str]:
        linked: dict[str, str] = {}
        plain: set[str] = set()
        for path, is_link in self._walked(folder):
            if is_link:
                linked.setdefault(os.path.realpath(path), path)
            else:
                plain.add(path)
                yield path
        if linked:
            real = {os.path.realpath(path) for path in plain}
            yield from (path for target, path in linked.items() if target not in real)

    def _walked(self, top: str) -> Iterator[tuple[str, bool]]:
        waiting = [top]
        links: list[str] = []
        while waiting or links:
            # Links come last, so that a file is named by where it really lies.
            folder = waiting.pop() if waiting else links.pop()
            try:
                status = os.stat(folder)  # noqa: PTH116
                if (status.st_dev, status.st_ino) in self._folders:
                    continue
                self._folders.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir():
                            (links if entry.is_symlink() else waiting).append(entry.path)
                        elif entry.is_file():
                            yield entry.path, entry.is_symlink()
                        else:
                            self._note(entry)
            except OSError as error:
                self._coverage.problems.append(UserError(f"can't be listed: {reason(error)}", Path(folder)))

    def _note(self, entry: os.DirEntry[str]) -> None:
        try:
            kind = _KINDS.get(stat.S_IFMT(entry.stat().st_mode), "no file")
        except OSError as error:
            kind = f"a link that leads nowhere: {reason(error)}"
        self._coverage.problems.append(UserError(f"it is {kind}, and is not opened", Path(entry.path)))


def s3(uri: str) -> tuple[FileSystem, str]:
    """Return the file system that an address of S3 lies in, and the path there."""
    bucket, _, inside = uri.removeprefix("s3://").partition("/")
    return s3_system(), f"{bucket}/{inside}".rstrip("/")


@cache
def s3_system() -> FileSystem:
    """Connect to S3 with the credentials, Region and endpoint that the AWS SDKs take from the environment."""
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))


def anywhere(file: str, most: int, start: bytes, stream: io.BufferedIOBase) -> Any:
    """Return something of which any part can be read at any time.

    :param most: the bytes of a stream that are taken.
    :param start: what was read of it already.
    :raises OSError: if a stream has more.
    """
    if is_open(file):
        content = start + stream.read(most)
        if len(content) > most:
            raise OSError(0, f"it is Parquet of more than {most >> 20} MB, and no file; name the file")
        return io.BytesIO(content)
    if file.startswith("s3://"):
        system, inside = s3(file)
        return system.open_input_file(inside)
    return file


def opened(file: str) -> AbstractContextManager[io.BufferedIOBase]:
    """Open a file.

    :raises OSError: if it can't be opened.
    """
    if file == STDIN:
        if sys.stdin is None:
            raise OSError(0, "it is closed")
        return nullcontext(cast(io.BufferedIOBase, sys.stdin.buffer))
    if file.startswith("s3://"):
        system, inside = s3(file)
        return cast(AbstractContextManager[io.BufferedIOBase], system.open_input_stream(inside, compression=None))
    return cast(AbstractContextManager[io.BufferedIOBase], open(file, "rb", 0))  # noqa: PTH123  # Path takes a while for a million files
