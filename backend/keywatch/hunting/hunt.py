"""Run the rules of the pack over CloudTrail files, on DuckDB, through the same conversion as any other target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from keywatch.conversion.convert import Conversion
from keywatch.hunting.alerts import Alerts
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.loading import Progress, loaded
from keywatch.hunting.reading import UNPACK_LIMIT
from keywatch.hunting.selection import Selection


@dataclass(frozen=True)
class Alert:
    """One alert of a hunt. Overlapping windows of one group are one alert."""

    rule_id: str
    title: str
    level: str
    group: dict[str, str | None]
    count: int
    values: list[str]
    first_seen: str
    last_seen: str
    events: int
    evidence: dict[str, list[str]]

    @property
    def principals(self) -> list[str]:
        """Who the alert is about: the ARNs of its events, or its group where that has them."""
        return self.evidence.get("userIdentity.arn") or [" ".join(map(str, self.group.values()))]


@contextmanager
def hunting(
    conversion: Conversion,
    paths: Iterable[str],
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None = None,
    limit: int = UNPACK_LIMIT,
    *,
    raw: bool = False,
) -> Iterator[Alerts]:
    """Hunt through files and folders; give the alerts, which are there as long as the block is not left.

    :param conversion: the rules, converted for the target duckdb.
    :param paths: files, folders, `-` for standard input, `s3://bucket/prefix`.
    :param coverage: is filled while files are read, so that an interrupted hunt can say how far it came.
    :param progress: is called with the number of files read and of all, while they are read.
    :param limit: the bytes up to which a file is unpacked.
    :param raw: whether the records are kept as they were read.
    """
    with loaded(conversion, paths, selection, coverage, progress, limit, raw=raw) as connection:
        yield Alerts(connection, conversion, coverage)


def hunt(conversion: Conversion, paths: Iterable[str], selection: Selection, coverage: Coverage) -> list[Alert]:
    """Return all alerts of a hunt, where they are few. The parameters are those of `hunting`."""
    with hunting(conversion, paths, selection, coverage) as alerts:
        return list(decoded(alerts))


def decoded(alerts: Alerts) -> Iterator[Alert]:
    """Yield alerts as objects, by first time seen."""
    decoder = msgspec.json.Decoder(Alert)
    for lines in alerts.ndjson():
        yield from decoder.decode_lines(lines)
