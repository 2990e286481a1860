"""Every error that gb_pipeline raises on purpose. Each says what was wrong and what to do about it.

Nothing is caught, retried or translated here.

    GbError
    ├── ConfigError                 gb.yaml, an environment variable or an argument is unusable
    ├── InvalidSymbol               a code that cannot be a symbol
    ├── InvalidResolution           a text that names no resolution
    ├── NaiveTimestamp              a datetime without a time zone
    ├── VendorError                 the vendor's side
    │   ├── TransientVendorError    the same call may succeed later
    │   │   ├── VendorUnreachable   ... once there is a connection at all: no other call has one now
    │   │   └── RateLimited         ... after `retry_after` seconds
    │   │       └── QuotaExhausted  ... at `until`, when the vendor's day begins anew
    │   └── PermanentVendorError    the same call fails for ever
    │       ├── NotEntitled         the plan or the key does not cover it
    │       ├── UnknownSymbol       the vendor does not list it
    │       └── HistoryNotAvailable the vendor's history starts at `first`
    ├── UniverseRefused             a list of symbols that is not believable
    ├── WindowRefused               a frame that cannot be stored as it is
    ├── FormatRefused               another tool's file that cannot be read, and where in it
    ├── LakeError                   the lake's tables cannot do what was asked
    │   ├── CompactionRefused       the rewritten file is not provably the same
    │   ├── PinRefused              what a pin names is not there any more as it was; `differences` lists the bars
    │   ├── RunRefused              a run of this name is saved with other content; `differences` lists what
    │   ├── DamagedFile             a data file is missing or not what was written (in `storage.parquet`)
    │   └── DamagedLog              a table's log is missing entries, or one is not what was written (in `storage.log`)
    ├── ExportRefused               files of another tool that would not hold what the lake does; `report` has the counts
    └── ReadError                   a query that the lake cannot answer
        ├── UnknownSeries           nothing is stored under this name; `near` lists what resembles it
        ├── NoDataInRange           the series exists, the range is empty; `available` says what there is
        ├── GapInWindow             a bar is missing in a window of history that must be whole
        ├── LookAhead               a simulation asked for what does not exist yet at its clock
        └── ServerUnavailable       the server of a remote lake cannot be reached, or is busy; the same call may succeed later
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any


class GbError(Exception):
    """Base of all errors of this package.

    Args:
        what: what was wrong and where, one sentence.
        fix: what to do about it, one sentence; empty where nothing can be done.

    Example:
        >>> str(GbError("no such file: gb.yaml", fix="run `gb init`"))
        'no such file: gb.yaml\\n  -> run `gb init`'
    """

    def __init__(self, what: str, *, fix: str = "") -> None:
        """Keep the two lines apart, so that a terminal, a log and a check result can each format them in its own way."""
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        """Both lines: what, and what to do."""
        return f"{self.what}\n  -> {self.fix}" if self.fix else self.what

    def reword(self, change: Callable[[str], str]) -> None:
        """Change both lines, and what `repr` shows: for redacting what a message must not contain."""
        self.what, self.fix = change(self.what), change(self.fix)
        self.args = (self.what,)


class ConfigError(GbError):
    """gb.yaml, an environment variable or an argument is unusable."""


class InvalidSymbol(GbError):
    """A code that cannot be a symbol."""


class InvalidResolution(GbError):
    """A text that names no resolution."""


class NaiveTimestamp(GbError):
    """A datetime without a time zone, where only an instant will do."""


class VendorError(GbError):
    """Something went wrong on the vendor's side, or on the way there; `calls` requests were sent before it was clear."""

    calls: int = 0


class TransientVendorError(VendorError):
    """The same call may succeed later: a time-out, a broken body, a 5xx, no network."""


class VendorUnreachable(TransientVendorError):
    """No connection came about: the network is gone, or the vendor is down; other calls to it fail for the same reason."""


class RateLimited(TransientVendorError):
    """The vendor's rate limit was hit; `retry_after` is in seconds, or None when the vendor did not say."""

    def __init__(self, what: str, *, retry_after: float | None = None, fix: str = "") -> None:
        """Carry the vendor's own waiting time."""
        super().__init__(what, fix=fix)
        self.retry_after = retry_after


class QuotaExhausted(RateLimited):
    """The calls of a vendor's day are used up; nothing failed, the rest is deferred until `until` (UTC)."""

    def __init__(self, what: str, *, until: datetime, retry_after: float | None = None, fix: str = "") -> None:
        """Carry the moment at which the quota is whole again."""
        super().__init__(what, retry_after=retry_after, fix=fix)
        self.until = until


class PermanentVendorError(VendorError):
    """Permanent failure; do not retry. It is `whole` where it fails alike for every part of a window."""

    whole: bool = False


class NotEntitled(PermanentVendorError):
    """The key or its plan does not cover what was asked."""


class UnknownSymbol(PermanentVendorError):
    """The vendor does not list this symbol."""


class HistoryNotAvailable(PermanentVendorError):
    """The vendor's history starts later than asked; `first` is the earliest instant it serves, if it said so."""

    def __init__(self, what: str, *, first: datetime | None = None, fix: str = "") -> None:
        """Carry the first instant that can be had."""
        super().__init__(what, fix=fix)
        self.first = first


class UniverseRefused(GbError):
    """A vendor's list of symbols that is not believable, such as one that lost most of them; nothing was changed."""


class WindowRefused(GbError):
    """A frame that cannot be stored as it is: wrong columns or types, nothing of it was stored."""


class FormatRefused(GbError):
    """Another tool's file that is not what its format says, or is damaged; the message says where."""


class LakeError(GbError):
    """The lake's tables cannot do what was asked."""


class CompactionRefused(LakeError):
    """The rewritten file is not provably the same as what it would replace; nothing was changed."""


class PinRefused(LakeError):
    """What a pin names is not there any more as it was; `differences` is a Polars frame with a row per bar that differs."""

    def __init__(self, what: str, *, differences: Any = None, fix: str = "") -> None:
        """Carry the differences."""
        super().__init__(what, fix=fix)
        self.differences = differences


class RunRefused(LakeError):
    """A run of this name is saved already, and says something else; nothing of it was changed.

    `differences` is a Polars frame `part, name, saved, given` with a row per difference.
    """

    def __init__(self, what: str, *, differences: Any = None, fix: str = "") -> None:
        """Carry the differences."""
        super().__init__(what, fix=fix)
        self.differences = differences


class ExportRefused(GbError):
    """Files of another tool would change values or lack bars, and nobody said that they may; nothing was written.

    `report` is an `ExportReport` with the counts and the first values of each series.
    """

    def __init__(self, what: str, *, report: Any = None, fix: str = "") -> None:
        """Carry the report."""
        super().__init__(what, fix=fix)
        self.report = report


class ReadError(GbError):
    """A query that the lake cannot answer."""


class UnknownSeries(ReadError):
    """Nothing is stored under this name; `near` lists names that resemble it."""

    def __init__(self, what: str, *, near: Sequence[str] = (), fix: str = "") -> None:
        """Carry the near matches."""
        super().__init__(what, fix=fix)
        self.near = tuple(near)


class NoDataInRange(ReadError):
    """The series exists but holds nothing in the range; `available` is its first and last timestamp."""

    def __init__(self, what: str, *, available: tuple[datetime, datetime] | None = None, fix: str = "") -> None:
        """Carry what there is instead."""
        super().__init__(what, fix=fix)
        self.available = available


class GapInWindow(ReadError):
    """A bar is missing in a window of history that must be whole (`on_gap="error"`)."""


class LookAhead(ReadError):
    """A simulation asked for what does not exist yet at its clock; nothing of it was told."""


class ServerUnavailable(ReadError):
    """The server of a remote lake cannot be reached, broke off, or is busy; the same call may succeed later."""


def list_kinds(error: type[GbError]) -> list[str]:
    """The name of an error class and of all that are of its kind, as `fetches` records them.

    Example:
        >>> "NotEntitled" in list_kinds(PermanentVendorError)
        True
    """
    return [error.__name__, *(name for kind in error.__subclasses__() for name in list_kinds(kind))]
