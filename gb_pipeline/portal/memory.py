"""`BarMemory`, the bars of one frequency that a portal holds in memory: a stretch of time that moves with the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.loading import FIRST_MOMENT, LAST_MOMENT, BarLoader
from gb_pipeline.portal.visible import Integers, Versions, VisibleBars
from gb_pipeline.portal.windows import Grid, OnGap

# Bars read ahead of the clock, of all symbols together: some ten megabytes.
_READ_AHEAD = 1_000_000
_FEWEST_AHEAD, _MOST_AHEAD = 500, 50_000
_DAY = timedelta(days=1)
# Where nobody has come yet: farther from every moment than is read ahead.
_BEFORE_ALL = -(2**62)
_DAYS_OF = {Resolution.DAY: 1.6, Resolution.WEEK: 7.5, Resolution.MONTH: 32.0}


class BarMemory:
    """Bars of some symbols around the clock, read in few large steps.

    Attributes:
        series: by symbol.
    """

    def __init__(self, loader: BarLoader, symbols: Sequence[str], earliest: Mapping[str, int]) -> None:
        """Nothing is read yet.

        Args:
            earliest: by symbol: no bar of it opens before; microseconds since 1970.
        """
        self._loader = loader
        self._earliest = earliest
        # What a symbol that is gone is asked for stays in memory: the newest bars, of which there are no later ones.
        self._most = 1
        self._none = Versions.none(loader.fields)
        self.series = {symbol: VisibleBars(self._none) for symbol in symbols}
        ahead = min(_MOST_AHEAD, max(_FEWEST_AHEAD, _READ_AHEAD // len(self.series)))
        self._ahead = self._span(ahead)
        self._kept = self._span(100)
        self._now = self._start = self._end = self._grid_start = _BEFORE_ALL
        self._grid = Grid.none()

    def arrive(self, now: int) -> None:
        """Hold every bar that exists at this moment and is not older than what was asked for so far."""
        if now == self._now:
            return
        if now - self._end > self._ahead:
            self._hold({}, max(now - self._kept, FIRST_MOMENT), min(now + self._ahead, LAST_MOMENT))
        elif now >= self._end:
            start, end = max(self._start, now - self._kept), self._end
            kept = {name: bars.versions.since(start, self._most) for name, bars in self.series.items()}
            self._hold(kept, start, min(now + self._ahead, LAST_MOMENT), read_from=end)
        self._now = now

    def newest(self, symbol: str) -> VisibleBars:
        """The bars of a symbol, at least one of which exists now if any does."""
        bars = self.series[symbol]
        bars.move_to(self._now)
        while not bars.count and self._reach_back(symbol):
            bars.move_to(self._now)
        return bars

    def existing(self, symbol: str, bar_count: int) -> VisibleBars:
        """The bars of a symbol, so many of which exist now, or all that do."""
        self._most = max(self._most, bar_count)
        bars = self.newest(symbol)
        while bars.count < bar_count and self._reach_back(symbol):
            bars.move_to(self._now)
        return bars

    def since(self, symbol: str, first: int) -> VisibleBars:
        """The bars of a symbol, all of which that exist now and open at `first` or later."""
        while self._start > max(first, self._earliest[symbol]):
            self._reach_back(symbol)
        return self.newest(symbol)

    def before(self, symbol: str, expected: Integers, on_gap: OnGap) -> VisibleBars:
        """The bars of a symbol from the first expected one on, and to fill forwards, the last one before it."""
        if len(expected) == 0:
            return self.newest(symbol)
        bars = self.since(symbol, int(expected[0]))
        if on_gap is OnGap.FFILL:
            while (not bars.count or bars.open_of(0) > expected[0]) and self._reach_back(symbol):
                bars.move_to(self._now)
        return bars

    def expected(self, bar_count: int) -> Integers:
        """Opens of the newest bars that the calendar expects to be closed now, fewer where it begins."""
        found = self._grid.closed(self._now, bar_count)
        while len(found) < bar_count and self._grid_start > self._loader.calendar_begins:
            # The grid may begin before any bar, and needs none.
            self._grid_start = max(self._now - 2 * (self._now - self._grid_start), self._loader.calendar_begins)
            self._grid = self._loader.grid(self._grid_start, self._end)
            found = self._grid.closed(self._now, bar_count)
        return found

    def _reach_back(self, symbol: str) -> bool:
        """Read twice as far back, unless there is nothing older of the symbol."""
        if self._start <= self._earliest[symbol]:
            return False
        self._kept = max(2 * self._kept, self._now - self._start)
        start = max(self._now - self._kept, FIRST_MOMENT)
        older = self._loader.read(list(self.series), start, self._start)
        for name, bars in self.series.items():
            newer = bars.versions.since(self._start)
            if name in older:
                bars.replace(older[name].then(newer))
        self._start = start
        return True

    def _hold(self, kept: dict[str, Versions], start: int, end: int, *, read_from: int | None = None) -> None:
        loaded = self._loader.read(list(self.series), start if read_from is None else read_from, end)
        for name, bars in self.series.items():
            bars.replace(_joined(kept.get(name), loaded.get(name), self._none))
        self._start, self._end = start, end
        self._grid_start = start
        self._grid = self._loader.grid(start, end)

    def _span(self, bar_count: int) -> int:
        """Microseconds in which so many bars lie, roughly and rather more."""
        frequency = self._loader.frequency
        if frequency.duration is None or not frequency.intraday:
            span = bar_count * _DAYS_OF[frequency] * _DAY + 10 * _DAY
        else:
            # Six and a half hours on five days of a week.
            closed = 1.0 if self._loader.calendar.first is None else 24 / 6.5 * 7 / 5
            span = bar_count * closed * frequency.duration + 4 * _DAY
        return span // MICROSECOND


def _joined(*parts: Versions | None) -> Versions:
    """All versions that there are; the last part is none."""
    found = [part for part in parts[:-1] if part is not None and len(part.opens)]
    if not found:
        assert parts[-1] is not None
        return parts[-1]
    return found[0] if len(found) == 1 else found[0].then(found[1])
