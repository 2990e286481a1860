"""What a reader of trades, quotes and books asks for, as values; moments are ns since 1970 UTC here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.moments import from_microseconds, microseconds
from gb_pipeline.reading.arguments import Moment, Symbols, moment, named_source, named_symbols
from gb_pipeline.storage.commit import Clock

# What 64 bits hold; stands for an end that is left open.
FIRST, LAST = -(2**63), 2**63 - 1
ALL = "all"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Which rows of which table.

    Attributes:
        table: a name of `STREAM_TABLES`.
        source, symbols: None for any.
        start, end: half-open, on the rows' time axis; `FIRST` and `LAST` where an end is left open.
        include_unsettled: also what was committed after the watermark.
        collectors: only these; None for any.
        stitched: each event once; else everything that each collector heard.
    """

    table: str
    source: str | None
    symbols: list[str] | None
    start: int
    end: int
    include_unsettled: bool = False
    collectors: tuple[str, ...] | None = None
    stitched: bool = True

    @property
    def between(self) -> tuple[datetime, datetime]:
        """The window in microseconds, wide enough for all of it."""
        return from_microseconds(self.start // 1000), from_microseconds(-(-self.end // 1000))

    @property
    def is_finer(self) -> bool:
        """Whether microseconds do not tell its edges."""
        return (self.start != FIRST and self.start % 1000 != 0) or (self.end != LAST and self.end % 1000 != 0)


def request_stream(
    table: str,
    symbols: Symbols | None,
    start: Moment | int | None,
    end: Moment | int | None,
    clock: Clock,
    *,
    source: str | None,
    include_unsettled: bool,
    collectors: str | Sequence[str] | None,
) -> StreamRequest:
    """From what a caller wrote.

    Raises:
        ConfigError: it cannot be used.
        NaiveTimestamp: a time of day without a zone.
    """
    first, last = nanoseconds(start, clock), nanoseconds(end, clock)
    names, stitched = _collectors(collectors)
    return StreamRequest(
        table,
        named_source(source),
        named_symbols(symbols),
        FIRST if first is None else first,
        LAST if last is None else last,
        include_unsettled,
        names,
        stitched,
    )


def nanoseconds(value: Moment | int | None, clock: Clock) -> int | None:
    """A moment as ns since 1970 UTC: a whole number is taken as that, everything else as in `bars`.

    Raises:
        ConfigError: it is no moment, or none that 64 bits hold.
        NaiveTimestamp: a time of day without a zone.

    Example:
        >>> nanoseconds("1970-01-01T00:00:01Z", lambda: None)
        1000000000
    """
    if isinstance(value, int):
        found = value
    elif isinstance(value, np.datetime64) and np.datetime_data(value)[0] == "ns" and not np.isnat(value):
        found = int(value.astype(np.int64))
    else:
        instant = moment(value, clock)
        if instant is None:
            return None
        found = microseconds(instant) * 1000
    if not FIRST <= found <= LAST:
        raise ConfigError(f"{value!r:.40} is out of range", fix="nanoseconds of 64 bits reach from 1677 to 2262")
    return found


def _collectors(value: str | Sequence[str] | None) -> tuple[tuple[str, ...] | None, bool]:
    if value is None:
        return None, True
    if value == ALL:
        return None, False
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"collectors={value!r:.60} names none", fix='leave it out, or pass names of collectors, or "all"'
        )
    return names, True
