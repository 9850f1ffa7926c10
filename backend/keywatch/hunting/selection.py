"""Which events are wanted, by time, account and Region; and what there was, for when nothing is left."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

#: Where `aws s3 sync` leaves a trail's files, or an Organization's; the date is that of delivery.
_DELIVERED = re.compile(
    r"AWSLogs/(?:o-\w+/)?(?P<account>\d{12})/CloudTrail/(?P<region>[\w-]+)/(?P<y>\d{4})/(?P<m>\d\d)/(?P<d>\d\d)(?:/|$)"
)
#: Where Security Lake puts its files; the date is that of the events.
_IN_LAKE = re.compile(
    r"/region=(?P<region>[\w-]+)/accountId=(?P<account>\d{12})/eventDay=(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?:/|$)", re.I
)
#: Names of Regions or accounts that are remembered: enough for all that AWS has.
_REMEMBERED = 100


class Delivery(NamedTuple):
    """Where and when AWS delivered a file."""

    account: str
    region: str
    day: date

    @classmethod
    def of(cls, path: str) -> Delivery | None:
        """Return what a file's path tells; None if it tells nothing."""
        return _delivery(path.rpartition("/")[0])


@lru_cache
def _delivery(folder: str) -> Delivery | None:
    match = _DELIVERED.search(folder) or _IN_LAKE.search(f"/{folder}")
    if match is None:
        return None
    try:
        return Delivery(match["account"], match["region"], date(*(int(match[part]) for part in "ymd")))
    except ValueError:
        return None


@dataclass(frozen=True)
class Selection:
    """Which events are wanted. Times are UTC, without saying so; `end` is not included."""

    start: datetime | None = None
    end: datetime | None = None
    accounts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is left out."""
        return self != Selection()

    def __str__(self) -> str:
        """Return the options that make it."""
        options = [("--account", account) for account in self.accounts]
        options += [("--region", region) for region in self.regions]
        times = (("--from", self.start), ("--to", self.end))
        options += [(option, f"{time.isoformat()}Z") for option, time in times if time]
        return " ".join(f"{option} {value}" for option, value in options)

    def may_hold(self, delivery: Delivery | None) -> bool:
        """Tell whether a file can hold wanted events, by where AWS delivered it; None is not known."""
        if delivery is None:
            return True
        account, region, day = delivery
        return (
            self._chosen(account, region)
            and (self.start is None or day >= self.start.date())
            # Delivery comes after the event, and across midnight that is the next day.
            and (self.end is None or day <= (self.end - timedelta(seconds=1)).date() + timedelta(days=1))
        )

    def wants(self, account: str | None, region: str | None, time: datetime | None) -> bool:
        """Tell whether an event is wanted. A time that can't be read is named elsewhere, and wanted."""
        return self._chosen(account, region) and (
            time is None or ((self.start is None or time >= self.start) and (self.end is None or time < self.end))
        )

    def _chosen(self, account: str | None, region: str | None) -> bool:
        return (not self.accounts or account in self.accounts) and (not self.regions or region in self.regions)


@dataclass
class There:
    """What a selection had to choose from."""

    selection: Selection
    #: Whether any event is wanted; from then on nothing is noted.
    wanted: bool = False
    accounts: set[str] = field(default_factory=set)
    regions: set[str] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None

    def note(self, account: str | None, region: str | None, time: datetime | None) -> None:
        """Note an event, or a file by where and when it was delivered."""
        self.wanted = self.wanted or self.selection.wants(account, region, time)
        for names, name in ((self.accounts, account), (self.regions, region)):
            if name is not None and len(names) < _REMEMBERED:
                names.add(name)
        if time is not None:
            self.first, self.last = min(self.first or time, time), max(self.last or time, time)

    def note_file(self, delivery: Delivery) -> None:
        """Note a file that is passed over."""
        account, region, day = delivery
        wanted = self.wanted
        self.note(account, region, datetime(day.year, day.month, day.day))
        self.wanted = wanted

    def add(self, other: There) -> None:
        """Add what a worker saw."""
        self.wanted = self.wanted or other.wanted
        self.accounts |= other.accounts
        self.regions |= other.regions
        for time in (other.first, other.last):
            if time is not None:
                self.first, self.last = min(self.first or time, time), max(self.last or time, time)

    def __str__(self) -> str:
        """Say what was there."""
        parts = []
        if self.selection.accounts:
            parts.append(f"accounts {', '.join(sorted(self.accounts)) or '(none)'}")
        if self.selection.regions:
            parts.append(f"Regions {', '.join(sorted(self.regions)) or '(none)'}")
        if self.first and self.last:
            parts.append(f"times from {self.first.isoformat()}Z to {self.last.isoformat()}Z")
        return "; ".join(parts)
