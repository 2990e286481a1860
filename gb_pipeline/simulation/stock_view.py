"""The bars of one equity as they are visible at one moment, with everything planted.

This module decides which sessions and minutes are visible, applies defects and groups minutes into the intervals. `stock_bars` has
the arithmetic and the text, `stocks` validates the arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from gb_pipeline.simulation.defects import Defect, to_grid_units
from gb_pipeline.simulation.market import MINUTE_MS, Ints, Path
from gb_pipeline.simulation.stock_bars import (
    VOLUME_DIGITS,
    EquityBars,
    Splits,
    concat_bars,
    day_bars,
    minute_bars,
    no_bars,
    regular_days,
)
from gb_pipeline.simulation.stock_listings import PRICE_DIGITS, Listing
from gb_pipeline.simulation.stock_sessions import days_since_epoch, local_midnights, sessions

_HIDING = {"gap", "late", "listing"}
# So many sessions are computed at once: daily bars are remembered in such stretches, minutes never hold more memory.
_STRETCH = 64


@dataclass(frozen=True, slots=True)
class StockView:
    """One stock at one moment.

    Attributes:
        seed: of the market.
        listing: the stock; bars outside its listing are not shown.
        now: epoch milliseconds.
        splits: all that ever happen to it.
        defects: all that are planted in it.
        count_call: whether this answer counts for restatements from a certain call on.
    """

    seed: int
    listing: Listing
    now: int
    splits: Splits
    defects: Sequence[Defect]
    count_call: bool

    def intraday(
        self, size: int, start_ms: int, end_ms: int, *, extended: bool, from_open: bool
    ) -> Iterator[EquityBars]:
        """Raw bars of `size` minutes that open within [start_ms, end_ms), in stretches of sessions, oldest first."""
        table = sessions()
        first = int(np.searchsorted(table.end, start_ms // MINUTE_MS, side="right"))
        stop = int(np.searchsorted(table.begin * MINUTE_MS, end_ms))
        first, stop = self._within_listing(first, stop)
        # A short question computes few sessions; a long one takes more at a time.
        at, count = first, 2
        while at < stop:
            until = min(at + count, stop)
            bars = self._read_minutes(at, until, extended=extended)
            bars = bars if size == 1 else bars.grouped(_interval_starts(bars, size, from_open=from_open))
            yield bars.where((bars.start >= start_ms) & (bars.start < end_ms))
            at, count = until, min(2 * count, _STRETCH)

    def long(self, interval: str, start_ms: int, end_ms: int, adjustment: Splits) -> EquityBars:
        """Bars of days, weeks or months stamped within [start_ms, end_ms), adjusted before they are put together."""
        table = sessions()
        # A label lies at most a month before its sessions.
        reach = {"1d": 0, "1w": 7, "1mo": 31}[interval] * 86_400_000
        first = int(np.searchsorted(table.midnight, start_ms))
        stop = int(np.searchsorted(table.midnight, end_ms + reach))
        days = self._read_days(*self._within_listing(first, stop)).adjusted(adjustment)
        if interval != "1d":
            days = days.grouped(_period_starts(days.session, interval))
        return days.where((days.start >= start_ms) & (days.start < end_ms))

    def bad(self, interval: str) -> list[tuple[int, Defect]]:
        """The bad rows of an interval, with the stamps that they hit."""
        return [
            (_stamp_of(item), item)
            for item in self.defects
            if item.kind == "bad" and item.interval == interval and interval in {"1m", "1d"}
        ]

    def _within_listing(self, first: int, stop: int) -> tuple[int, int]:
        table = sessions()
        first = max(first, table.from_day(self.listing.list_date))
        if self.listing.delisted is not None:
            stop = min(stop, table.from_day(self.listing.delisted))
        return first, min(stop, int(np.searchsorted(table.begin * MINUTE_MS, self.now, side="right")))

    def _read_minutes(self, first: int, stop: int, *, extended: bool) -> EquityBars:
        path = Path(self.seed, self.listing.instrument)
        bars = minute_bars(path, first, stop, self.now, self.splits, extended=extended)
        if not len(bars) or not self.defects:
            return bars
        first_ms, last_ms = int(bars.start[0]), int(bars.start[-1])
        keep = np.ones(len(bars), bool)
        for item in self.defects:
            if item.interval != "1m" or not (item.kind == "listing" or item.covers(first_ms, last_ms)):
                continue
            if item.kind == "fractional":
                from_here = bars.start >= item.start
                bars.volume[from_here] += path.fractions(bars.start[from_here] // MINUTE_MS)
            elif item.kind == "restatement":
                item.calls += self.count_call
                if item.restates(self.now):
                    _restate(bars, int(np.searchsorted(bars.start, _stamp_of(item))), _stamp_of(item), item)
            elif item.kind in _HIDING:
                keep &= ~item.hides(bars.start, self.now)
        return bars.where(keep).with_money()

    def _read_days(self, first: int, stop: int) -> EquityBars:
        if first >= stop:
            return no_bars()
        touched = self._touched_sessions(first, stop)
        parts = []
        for at in range(first - first % _STRETCH, stop, _STRETCH):
            here = slice(max(at, first), min(at + _STRETCH, stop))
            if not touched[here.start - first : here.stop - first].all():
                chunk = self._cached_days(at)
                parts.append(chunk.where(slice(here.start - at, here.stop - at)))
                parts[-1] = parts[-1].where(~touched[here.start - first : here.stop - first])
        edges = np.flatnonzero(np.diff(touched, prepend=False, append=False))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            for at in range(begin, end, _STRETCH):
                until = min(at + _STRETCH, end)
                parts.append(day_bars(self._read_minutes(first + at, first + until, extended=False)))
        bars = concat_bars(parts)
        bars = bars.where(np.argsort(bars.start))
        for item in self.defects:
            if item.kind == "restatement" and item.interval == "1d":
                at = int(np.searchsorted(bars.start, _stamp_of(item)))
                if at < len(bars) and bars.start[at] == _stamp_of(item):
                    item.calls += self.count_call
                    if item.restates(self.now):
                        _restate(bars, at, _stamp_of(item), item)
        return bars

    def _cached_days(self, at: int) -> EquityBars:
        table = sessions()
        stop = min(at + _STRETCH, len(table.day))
        # Later splits change nothing here, and must not make it forget.
        splits = tuple(item for item in self.splits if item[0] <= int(table.day[stop - 1]))
        return regular_days(self.seed, self.listing.instrument, splits, at, stop)

    def _touched_sessions(self, first: int, stop: int) -> npt.NDArray[np.bool_]:
        """Which sessions are not simply their minutes: still open, or with a defect of minutes in them."""
        table = sessions()
        begin, close = table.open[first:stop] * MINUTE_MS, table.close[first:stop] * MINUTE_MS
        touched = np.asarray(close > self.now)
        for item in self.defects:
            if item.interval == "1m" and item.kind != "bad":
                end = item.start if item.kind == "listing" else item.end
                start = 0 if item.kind == "listing" else item.start
                touched |= (begin < end) & (close > start)
        return touched


def _stamp_of(item: Defect) -> int:
    if item.interval == "1m":
        return item.start // MINUTE_MS * MINUTE_MS
    day: date = datetime.fromtimestamp(item.start / 1000, UTC).date()
    return int(local_midnights(np.array([days_since_epoch(day)]))[0])


def _restate(bars: EquityBars, at: int, stamp: int, item: Defect) -> None:
    if at < len(bars) and bars.start[at] == stamp:
        for name, value in item.values.items():
            getattr(bars, name)[at] = to_grid_units(value, VOLUME_DIGITS if name == "volume" else PRICE_DIGITS)


def _interval_starts(bars: EquityBars, size: int, *, from_open: bool) -> Ints:
    minute = bars.start // MINUTE_MS
    if not from_open:
        return np.asarray(minute // size * size * MINUTE_MS)
    table = sessions()
    at = np.searchsorted(table.day, bars.session)
    anchor = np.where(
        minute < table.open[at], table.begin[at], np.where(minute < table.close[at], table.open[at], table.close[at])
    )
    return np.asarray(((minute - anchor) // size * size + anchor) * MINUTE_MS)


def _period_starts(session: Ints, interval: str) -> Ints:
    if interval == "1w":
        # 1970-01-01 was a Thursday.
        return local_midnights(session - (session + 3) % 7)
    months = session.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]")
    return local_midnights(months.astype(np.int64))
