"""What an exchange would answer: the market as it is visible at a moment, with its defects, as text.

This module has listings, aggregation of minutes into longer bars, and exact decimal text. Each vendor's JSON has a module of its
own, HTTP is in `server`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation.clock import Clock
from gb_pipeline.simulation.defects import Defect, insert_bad_rows, make_defect, to_grid_units
from gb_pipeline.simulation.instruments import DEFAULT_SYMBOLS, Instrument, make_instrument
from gb_pipeline.simulation.market import MINUTE_MS, Ints, Minutes, Path, Trades

# Minutes of the fixed intervals; a week starts on Monday, and months are the calendar's.
INTERVALS = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720,
    "1d": 1440, "3d": 4320, "1w": 10080,
}  # fmt: skip
MONTH = "1M"
# 1970-01-05, the first Monday, in minutes.
_MONDAY = 4 * 1440
# So many minutes are computed at once, so that years of long bars do not take gigabytes.
_MOST_MINUTES = 500_000
# Milliseconds; moments beyond are no dates of numpy's, and nobody's.
_FOREVER = 10**14
# Of one minute.
_MOST_TRADES = 2_000
# Below it, every number of a grid and its shortest text are one double.
_EXACT_IN_DOUBLES = 10**15


class Bar(NamedTuple):
    """One bar as text: open in epoch milliseconds, prices, base and quote volume, number of trades."""

    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    trades: int


class Exchange:
    """A venue's data at the simulated now.

    Args:
        seed: the same seed makes the same market.
        symbols: canonical codes; a dozen cryptocurrencies against USDT and USD by default.
        clock: the simulated now, where it is shared with another venue.

    Attributes:
        clock: the simulated now.
        page_limit: at most so many bars in one answer, whatever the vendor documents.
    """

    def __init__(self, seed: int = 7, symbols: Sequence[str] | None = None, *, clock: Clock | None = None) -> None:
        """List the instruments; nothing is computed yet."""
        self.seed = seed
        listed = [make_instrument(code) for code in (DEFAULT_SYMBOLS if symbols is None else symbols)]
        self.instruments: dict[str, Instrument] = {item.code: item for item in listed}
        self._paths = {item.code: Path(seed, item) for item in listed}
        self._defects: list[Defect] = []
        self.clock = Clock() if clock is None else clock
        self.page_limit: int | None = None
        self._lock = threading.Lock()

    # --- clock and defects ------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Epoch milliseconds of the simulated clock: the wall clock, until somebody sets it."""
        return self.clock.now

    def set_now(self, moment: datetime | date | str | int | None) -> None:
        """Stop the clock at a moment; None lets it follow the wall clock again."""
        self.clock.set_now(moment)

    def plant(self, kind: str, symbol: str, **body: Any) -> Defect:
        """Plant a defect; see `defects.Defect` for its arguments.

        Raises:
            ConfigError: it makes no sense, or the symbol is not listed.
        """
        planted = make_defect(kind, Symbol.crypto(symbol).code, body)
        if planted.symbol not in self.instruments:
            raise ConfigError(f"{planted.symbol} is not listed", fix="start the simulation with it")
        if planted.interval != "1m":
            raise ConfigError(f"{planted.symbol} has defects of minutes only", fix="leave interval out")
        if planted.kind == "restatement":
            for name, value in planted.values.items():
                to_grid_units(value, _digits_of(self.instruments[planted.symbol], name))
        with self._lock:
            self._defects.append(planted)
        return planted

    def reset(self) -> None:
        """Forget all defects and let the clock run."""
        with self._lock:
            self._defects.clear()
        self.set_now(None)
        self.page_limit = None

    def listed(self) -> list[Instrument]:
        """What is listed now, delisted instruments included, as far as the vendor goes on telling of them."""
        return [
            item for item in self.instruments.values() if self._first_minute(item.code, "1m") * MINUTE_MS <= self.now
        ]

    def delisted(self, code: str) -> bool:
        """Whether an instrument trades no more."""
        with self._lock:
            defects = [item for item in self._defects if item.symbol == code and item.kind == "delisting"]
        return any(item.start <= self.now for item in defects)

    # --- bars -------------------------------------------------------------------------------------------------------

    def bars(
        self, code: str, interval: str, start: int | None, end: int | None, limit: int, *, count_call: bool = True
    ) -> list[Bar]:
        """Bars that open within [start, end], both epoch milliseconds, oldest first.

        Args:
            code: a listed canonical code.
            interval: a key of `INTERVALS`, or `1M`.
            start: the first `limit` existing bars from here on; the newest `limit` before `end` where None.
            end: the simulated now by default; nothing later than that is ever shown.
            limit: most bars to return.
            count_call: whether this answer counts for restatements from a certain call on.
        """
        now = self.now
        start, end = (None if moment is None else max(-_FOREVER, min(moment, _FOREVER)) for moment in (start, end))
        limit = limit if self.page_limit is None else min(limit, self.page_limit)
        last = _interval_starts(np.array([min(now, now if end is None else end) // MINUTE_MS]), interval)[0]
        if start is None:
            first = _shift(last, interval, 1 - limit)
        else:
            first = _interval_starts(np.array([-(-start // MINUTE_MS)]), interval)[0]
            first = first if first * MINUTE_MS >= start else _shift(first, interval, 1)
        first = max(first, self._first_minute(code, interval))
        rows: list[Bar] = []
        while first <= last and len(rows) < limit:
            count = min(limit - len(rows), max(1, _MOST_MINUTES // INTERVALS.get(interval, 43_200)))
            stop = min(_shift(first, interval, count), _shift(last, interval, 1))
            rows += self._read_chunk(code, interval, int(first), int(stop), now, count_call=count_call)
            first = stop
        return rows[:limit]

    def trades(self, code: str, start: int, end: int, limit: int, *, newest: bool = False) -> list[tuple[int, ...]]:
        """Trades within [start, end] in epoch milliseconds, as `(id, time, price, size, buyer_is_maker)` in grid units.

        Args:
            code: a listed canonical code.
            start: first millisecond.
            end: last millisecond; nothing later than now is shown.
            limit: most trades.
            newest: the last ones instead of the first ones.
        """
        start, end = max(-_FOREVER, start), min(end, self.now)
        hiding_defects = self._find_defects(code, start - MINUTE_MS, end, {"gap", "late", "listing", "delisting"})
        trades: list[tuple[int, ...]] = []
        minutes = range(start // MINUTE_MS, end // MINUTE_MS + 1)
        for minute in reversed(minutes) if newest else minutes:
            if len(trades) >= limit:
                break
            if any(item.hides(np.array([minute * MINUTE_MS]), self.now)[0] for item in hiding_defects):
                continue
            path = self._paths[code]
            of_minute = _trades_between(path.trades(minute), start, end, path.numbers.first(minute))
            trades = of_minute + trades if newest else trades + of_minute
        return trades[-limit:] if newest else trades[:limit]

    def trades_from(self, code: str, number: int, limit: int) -> list[tuple[int, ...]]:
        """Trades from a number on up to now, at most `limit`; otherwise as `trades`."""
        start = self._paths[code].numbers.minute(number) * MINUTE_MS
        # Of the minute that it begins in, as many may lie before it.
        trades = self.trades(code, start, self.now, limit + _MOST_TRADES)
        return [trade for trade in trades if trade[0] >= number][:limit]

    # --- how --------------------------------------------------------------------------------------------------------

    def _first_minute(self, code: str, interval: str) -> int:
        starts = [item.start for item in self._defects if item.kind == "listing" and item.symbol == code]
        first = _interval_starts(np.array([max(starts) // MINUTE_MS]), interval)[0] if starts else 0
        return int(first)

    def _find_defects(self, code: str, first_ms: int, last_ms: int, kinds: set[str]) -> list[Defect]:
        with self._lock:
            return [
                item
                for item in self._defects
                if item.symbol == code
                and item.kind in kinds
                and (item.kind in {"listing", "delisting"} or item.covers(first_ms, last_ms))
            ]

    def _read_chunk(self, code: str, interval: str, first: int, stop: int, now: int, *, count_call: bool) -> list[Bar]:
        last = min(stop - 1, now // MINUTE_MS)
        if last < first:
            return []
        bars = self._with_open_bar(code, self._paths[code].minutes(first, last - first + 1), now)
        defects = self._find_defects(
            code, first * MINUTE_MS, last * MINUTE_MS, {"gap", "late", "listing", "delisting", "restatement", "bad"}
        )
        keep = np.ones(len(bars.minute), bool)
        for item in defects:
            if item.kind == "restatement":
                item.calls += count_call
                self._restate(item, bars, now)
            elif item.kind != "bad":
                keep &= ~item.hides(bars.minute * MINUTE_MS, now)
        bars = _filter(bars, keep)
        if interval != "1m":
            bars = _aggregate(bars, _interval_starts(bars.minute, interval))
        rows = self._format_bars(code, bars)
        bad = [item for item in defects if item.kind == "bad"] if interval == "1m" else []
        return insert_bad_rows(rows, [(item.start // MINUTE_MS * MINUTE_MS, item) for item in bad])

    def _with_open_bar(self, code: str, bars: Minutes, now: int) -> Minutes:
        # The minute in progress holds the trades so far.
        if int(bars.minute[-1]) != now // MINUTE_MS or now % MINUTE_MS == MINUTE_MS - 1:
            return bars
        trades = self._paths[code].trades(int(bars.minute[-1]))
        so_far = trades.time <= now
        price, size = trades.price[so_far], trades.size[so_far]
        for column, value in (
            (bars.high, price.max()), (bars.low, price.min()), (bars.close, price[-1]), (bars.volume, size.sum()),
            (bars.trades, len(size)),
        ):  # fmt: skip
            column[-1] = value
        return bars

    def _restate(self, item: Defect, bars: Minutes, now: int) -> None:
        if not item.restates(now):
            return
        at = item.start // MINUTE_MS - int(bars.minute[0])
        if 0 <= at < len(bars.minute):
            for name, value in item.values.items():
                getattr(bars, name)[at] = to_grid_units(value, _digits_of(self.instruments[item.symbol], name))

    def _format_bars(self, code: str, bars: Minutes) -> list[Bar]:
        item = self.instruments[code]
        price, volume = 10**item.price_digits, 10**item.volume_digits
        columns = [_to_texts(column, item.price_digits) for column in (bars.open, bars.high, bars.low, bars.close)]
        amounts = _to_texts(bars.volume, item.volume_digits)
        quote = [f"{value:.8f}" for value in ((bars.high + bars.low) / (2 * price) * (bars.volume / volume)).tolist()]
        starts = (bars.minute * MINUTE_MS).tolist()
        return [Bar(*row) for row in zip(starts, *columns, amounts, quote, bars.trades.tolist(), strict=True)]


def _to_texts(units: Ints, digits: int) -> list[str]:
    """Grid units as decimal texts."""
    if len(units) and int(units.max()) >= _EXACT_IN_DOUBLES:
        return [format_units(value, digits) for value in units.tolist()]
    # A third faster: the shortest rounding of a double is exact.
    return [f"%.{digits}f" % value for value in (units / 10**digits).tolist()]


def format_units(units: int, digits: int) -> str:
    """Grid units as decimal text: `decimal_text(6200001, 2)` is `62000.01`."""
    text = str(units).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _digits_of(item: Instrument, name: str) -> int:
    return item.volume_digits if name == "volume" else item.price_digits


def _interval_starts(minute: Ints, interval: str) -> Ints:
    if interval == MONTH:
        months = minute.astype("datetime64[m]").astype("datetime64[M]")
        return np.asarray(months.astype("datetime64[m]").astype(np.int64))
    size = INTERVALS[interval]
    origin = _MONDAY if interval == "1w" else 0
    return np.asarray((minute - origin) // size * size + origin)


def _shift(minute: int, interval: str, count: int) -> int:
    if interval == MONTH:
        month = np.datetime64(int(minute), "m").astype("datetime64[M]") + count
        return int(month.astype("datetime64[m]").astype(np.int64))
    return int(minute) + count * INTERVALS[interval]


def _filter(bars: Minutes, keep: Any) -> Minutes:
    return bars if keep.all() else Minutes(*(getattr(bars, name)[keep] for name in Minutes.__slots__))


def _aggregate(bars: Minutes, bins: Ints) -> Minutes:
    if not len(bins):
        return bars
    edge = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
    final = np.append(edge[1:], len(bins)) - 1
    return Minutes(
        bins[edge],
        bars.open[edge],
        np.maximum.reduceat(bars.high, edge),
        np.minimum.reduceat(bars.low, edge),
        bars.close[final],
        np.add.reduceat(bars.volume, edge),
        np.add.reduceat(bars.trades, edge),
    )


def _trades_between(trades: Trades, start: int, end: int, first: int) -> list[tuple[int, ...]]:
    keep = (trades.time >= start) & (trades.time <= end)
    columns = (trades.id + first, trades.time, trades.price, trades.size, trades.buyer_is_maker)
    return list(zip(*(column[keep].tolist() for column in columns), strict=True))
