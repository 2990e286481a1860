"""Bars of equities in exact integers: from a price path to minutes, sessions, weeks and months, and to text.

This module is arithmetic on arrays. `stocks` has what is planted, `stock_view` what of it is visible when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.market import MINUTE_MS, Floats, Ints, Path
from gb_pipeline.simulation.stock_listings import PRICE_DIGITS
from gb_pipeline.simulation.stock_sessions import sessions

# Volumes are counted in millionths of a share.
VOLUME_DIGITS = 6
VOLUME_UNIT = 10**VOLUME_DIGITS
# Before the open and after the close about four percent of the usual volume change hands.
_THIN = 25
_DIGITS = 12
# Splits as the session's day since 1970 from which on they hold, and new shares per old share.
Splits = tuple[tuple[int, Fraction], ...]


class StockBar(NamedTuple):
    """One bar as text: open in epoch milliseconds, prices, shares, mean price by volume, number of trades."""

    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    vwap: str
    trades: int


@dataclass(frozen=True, slots=True)
class EquityBars:
    """Bars of one stock; all arrays have one length.

    Attributes:
        start: int64, epoch milliseconds.
        session: int64, days since 1970 of the session's date in New York.
        open, high, low, close: int64, cents divided by `price_divisor`.
        volume: int64, millionths of a share divided by `volume_divisor`.
        trades: int64, number of trades.
        money: float64, price in cents times volume in millionths.
        price_divisor, volume_divisor: 1, unless splits adjusted them.
    """

    start: Ints
    session: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    trades: Ints
    money: Floats
    price_divisor: int = 1
    volume_divisor: int = 1

    def __len__(self) -> int:
        """Number of bars."""
        return len(self.start)

    def where(self, keep: Any) -> EquityBars:
        """Some of them, by a mask or by positions in order."""
        return self._replace({name: getattr(self, name)[keep] for name in _COLUMNS})

    def grouped(self, group: Ints) -> EquityBars:
        """One bar for each run of equal values in `group`, stamped with that value."""
        if not len(group):
            return self
        edge = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
        last = np.append(edge[1:], len(group)) - 1
        return self._replace(
            {
                "start": group[edge],
                "session": self.session[edge],
                "open": self.open[edge],
                "high": np.maximum.reduceat(self.high, edge),
                "low": np.minimum.reduceat(self.low, edge),
                "close": self.close[last],
                "volume": np.add.reduceat(self.volume, edge),
                "trades": np.add.reduceat(self.trades, edge),
                "money": np.add.reduceat(self.money, edge),
            }
        )

    def adjusted(self, splits: Splits) -> EquityBars:
        """Prices divided and volumes multiplied by the splits after each bar's session; exact, by new divisors."""
        if not splits or not len(self):
            return self
        ratios = [Fraction(1)]
        for _, ratio in reversed(splits):
            ratios.append(ratios[-1] * ratio)
        ratios.reverse()
        # Bars before the first split carry the product of all of them, bars after the last one none.
        index = np.searchsorted([day for day, _ in splits], self.session, side="right")
        price_divisor = int(np.lcm.reduce([ratio.numerator for ratio in ratios]))
        volume_divisor = int(np.lcm.reduce([ratio.denominator for ratio in ratios]))
        price = np.array([int(price_divisor / ratio) for ratio in ratios], np.int64)[index]
        volume = np.array([int(volume_divisor * ratio) for ratio in ratios], np.int64)[index]
        columns = {name: getattr(self, name) for name in _COLUMNS}
        columns |= {name: columns[name] * price for name in ("open", "high", "low", "close")}
        columns["volume"] = columns["volume"] * volume
        return EquityBars(**columns, price_divisor=price_divisor, volume_divisor=volume_divisor)

    def with_money(self) -> EquityBars:
        """The same bars after their money was computed anew; minutes only."""
        self.money[:] = (self.high + self.low) / 2 * self.volume
        return self

    def rows(self) -> list[StockBar]:
        """As text."""
        prices = [_format_prices(column, self.price_divisor) for column in (self.open, self.high, self.low, self.close)]
        volumes = _format_volumes(self.volume, self.volume_divisor)
        volume = np.maximum(self.volume, 1) / self.volume_divisor
        vwap = [f"{value:.6f}" for value in (self.money / volume / 10**PRICE_DIGITS).tolist()]
        columns = zip(self.start.tolist(), *prices, volumes, vwap, self.trades.tolist(), strict=True)
        return [StockBar(*row) for row in columns]

    def _replace(self, columns: dict[str, Any]) -> EquityBars:
        return EquityBars(**columns, price_divisor=self.price_divisor, volume_divisor=self.volume_divisor)


_COLUMNS = [item.name for item in fields(EquityBars) if not item.name.endswith("_divisor")]


def concat_bars(parts: Sequence[EquityBars]) -> EquityBars:
    """Several stretches of unadjusted bars, one after the other; at least one."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return EquityBars(**columns)


def minute_bars(path: Path, first: int, stop: int, now: int, splits: Splits, *, extended: bool) -> EquityBars:
    """Raw minutes of the sessions at positions [first, stop), as far as they are at `now`.

    Args:
        path: of the stock, without splits.
        first, stop: positions in `sessions()`.
        now: epoch milliseconds; the minute in progress holds the trades so far.
        splits: all that ever happen.
        extended: from 04:00 to 20:00 instead of the regular hours.
    """
    table = sessions()
    rows = slice(first, stop)
    begin, end = (table.begin, table.end) if extended else (table.open, table.close)
    until = np.minimum(end[rows], now // MINUTE_MS + 1)
    count = until - begin[rows]
    started = np.flatnonzero(count > 0)
    if not len(started):
        return no_bars()
    minutes = path.stretches(begin[rows][started], count[started])
    owner = np.repeat(started, count[started])
    volume, trades, minute = minutes.volume, minutes.trades, minutes.minute
    _show_open_minute(path, minutes, now)
    if extended:
        outside = (minute < table.open[rows][owner]) | (minute >= table.close[rows][owner])
        volume = np.where(outside, np.maximum(volume // _THIN, 1), volume)
        trades = np.where(outside, np.maximum(np.minimum(trades // _THIN, volume), 1), trades)
    day = table.day[rows][owner]
    high, low = minutes.high, minutes.low
    bars = EquityBars(
        minute * MINUTE_MS,
        day,
        minutes.open,
        high,
        low,
        minutes.close,
        volume * VOLUME_UNIT,
        trades,
        np.zeros(len(day)),
    )
    return _apply_splits(bars, splits).with_money()


@lru_cache(maxsize=1024)
def regular_days(seed: int, instrument: Instrument, splits: Splits, first: int, stop: int) -> EquityBars:
    """Raw daily bars of whole regular sessions at positions [first, stop), stamped with midnight in New York."""
    table = sessions()
    now = (int(table.end[stop - 1]) + 1) * MINUTE_MS
    bars = minute_bars(Path(seed, instrument), first, stop, now, splits, extended=False)
    return day_bars(bars)


def day_bars(minutes: EquityBars) -> EquityBars:
    """One bar a session, stamped with midnight in New York."""
    table = sessions()
    at = np.searchsorted(table.day, minutes.session)
    return minutes.grouped(table.midnight[at])


def no_bars() -> EquityBars:
    """No bars at all."""
    empty = np.empty(0, np.int64)
    return EquityBars(empty, empty, empty, empty, empty, empty, empty, empty, np.empty(0))


def _show_open_minute(path: Path, minutes: Any, now: int) -> None:
    if int(minutes.minute[-1]) != now // MINUTE_MS or now % MINUTE_MS == MINUTE_MS - 1:
        return
    trades = path.trades(int(minutes.minute[-1]))
    so_far = trades.time <= now
    price, size = trades.price[so_far], trades.size[so_far]
    minutes.high[-1], minutes.low[-1], minutes.close[-1] = price.max(), price.min(), price[-1]
    minutes.volume[-1], minutes.trades[-1] = size.sum(), len(size)


def _apply_splits(bars: EquityBars, splits: Splits) -> EquityBars:
    """Prices really fall at a split: divided by it and rounded to the cent; whole shares stay whole."""
    factor = Fraction(1)
    bounds = [*(int(np.searchsorted(bars.session, day)) for day, _ in splits), len(bars)]
    for (_, ratio), begin, end in zip(splits, bounds[:-1], bounds[1:], strict=True):
        factor *= ratio
        rows, up, down = slice(begin, end), factor.numerator, factor.denominator
        for column in (bars.open, bars.high, bars.low, bars.close):
            column[rows] = np.maximum((2 * column[rows] * down + up) // (2 * up), 1)
        share_count = bars.volume[rows] // VOLUME_UNIT * up // down
        bars.volume[rows] = np.maximum(share_count, 1) * VOLUME_UNIT
        bars.trades[rows] = np.minimum(bars.trades[rows], np.maximum(share_count, 1))
    return bars


def _format_prices(column: Ints, divisor: int) -> list[str]:
    if divisor == 1:
        # A double holds 15 digits, more than any price has, so its shortest rounding is exact.
        return [f"{value:.2f}" for value in (column / 10**PRICE_DIGITS).tolist()]
    return [_format_quotient(value, divisor * 10**PRICE_DIGITS, PRICE_DIGITS) for value in column.tolist()]


def _format_volumes(column: Ints, divisor: int) -> list[str]:
    if divisor == 1 and not (column % VOLUME_UNIT).any():
        return [str(value) for value in (column // VOLUME_UNIT).tolist()]
    return [_format_quotient(value, divisor * VOLUME_UNIT) for value in column.tolist()]


def _format_quotient(value: int, divisor: int, least: int = 0) -> str:
    whole, part = divmod((2 * value * 10**_DIGITS + divisor) // (2 * divisor), 10**_DIGITS)
    decimals = f"{part:0{_DIGITS}d}".rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else str(whole)
