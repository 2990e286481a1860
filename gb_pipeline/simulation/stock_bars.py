"""Share bars in exact integers: from a price path to minutes, sessions, weeks and months, and to text.

Belongs here: arithmetic on arrays. Does not belong here: what is planted and what is visible when (`stocks`).
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
SHARE_DIGITS = 6
SHARE = 10**SHARE_DIGITS
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
class ShareBars:
    """Bars of one share; all arrays have one length.

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

    def where(self, keep: Any) -> ShareBars:
        """Some of them, by a mask or by positions in order."""
        return self._replace({name: getattr(self, name)[keep] for name in _COLUMNS})

    def grouped(self, group: Ints) -> ShareBars:
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

    def adjusted(self, splits: Splits) -> ShareBars:
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
        return ShareBars(**columns, price_divisor=price_divisor, volume_divisor=volume_divisor)

    def with_money(self) -> ShareBars:
        """The same bars after their money was computed anew; minutes only."""
        self.money[:] = (self.high + self.low) / 2 * self.volume
        return self

    def rows(self) -> list[StockBar]:
        """As text."""
        prices = [_price_text(column, self.price_divisor) for column in (self.open, self.high, self.low, self.close)]
        volumes = _volume_text(self.volume, self.volume_divisor)
        shares = np.maximum(self.volume, 1) / self.volume_divisor
        vwap = [f"{value:.6f}" for value in (self.money / shares / 10**PRICE_DIGITS).tolist()]
        columns = zip(self.start.tolist(), *prices, volumes, vwap, self.trades.tolist(), strict=True)
        return [StockBar(*row) for row in columns]

    def _replace(self, columns: dict[str, Any]) -> ShareBars:
        return ShareBars(**columns, price_divisor=self.price_divisor, volume_divisor=self.volume_divisor)


_COLUMNS = [item.name for item in fields(ShareBars) if not item.name.endswith("_divisor")]


def joined(parts: Sequence[ShareBars]) -> ShareBars:
    """Several stretches of unadjusted bars, one after the other; at least one."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    return ShareBars(**columns)


def minute_bars(path: Path, first: int, stop: int, now: int, splits: Splits, *, extended: bool) -> ShareBars:
    """Raw minutes of the sessions at positions [first, stop), as far as they are at `now`.

    Args:
        path: of the share, without splits.
        first, stop: positions in `sessions()`.
        now: epoch milliseconds; the minute in progress holds the trades so far.
        splits: all that ever happen.
        extended: from 04:00 to 20:00 instead of the regular hours.
    """
    table = sessions()
    chosen = slice(first, stop)
    begin, end = (table.begin, table.end) if extended else (table.open, table.close)
    until = np.minimum(end[chosen], now // MINUTE_MS + 1)
    count = until - begin[chosen]
    some = np.flatnonzero(count > 0)
    if not len(some):
        return no_bars()
    made = path.stretches(begin[chosen][some], count[some])
    owner = np.repeat(some, count[some])
    volume, trades, minute = made.volume, made.trades, made.minute
    _show_open_minute(path, made, now)
    if extended:
        outside = (minute < table.open[chosen][owner]) | (minute >= table.close[chosen][owner])
        volume = np.where(outside, np.maximum(volume // _THIN, 1), volume)
        trades = np.where(outside, np.maximum(np.minimum(trades // _THIN, volume), 1), trades)
    day = table.day[chosen][owner]
    high, low = made.high, made.low
    bars = ShareBars(
        minute * MINUTE_MS, day, made.open, high, low, made.close, volume * SHARE, trades, np.zeros(len(day))
    )
    return _after_splits(bars, splits).with_money()


@lru_cache(maxsize=1024)
def regular_days(seed: int, instrument: Instrument, splits: Splits, first: int, stop: int) -> ShareBars:
    """Raw daily bars of whole regular sessions at positions [first, stop), stamped with midnight in New York."""
    table = sessions()
    now = (int(table.end[stop - 1]) + 1) * MINUTE_MS
    bars = minute_bars(Path(seed, instrument), first, stop, now, splits, extended=False)
    return day_bars(bars)


def day_bars(minutes: ShareBars) -> ShareBars:
    """One bar a session, stamped with midnight in New York."""
    table = sessions()
    at = np.searchsorted(table.day, minutes.session)
    return minutes.grouped(table.midnight[at])


def no_bars() -> ShareBars:
    """No bars at all."""
    none = np.empty(0, np.int64)
    return ShareBars(none, none, none, none, none, none, none, none, np.empty(0))


def _show_open_minute(path: Path, made: Any, now: int) -> None:
    if int(made.minute[-1]) != now // MINUTE_MS or now % MINUTE_MS == MINUTE_MS - 1:
        return
    trades = path.trades(int(made.minute[-1]))
    seen = trades.time <= now
    price, size = trades.price[seen], trades.size[seen]
    made.high[-1], made.low[-1], made.close[-1] = price.max(), price.min(), price[-1]
    made.volume[-1], made.trades[-1] = size.sum(), len(size)


def _after_splits(bars: ShareBars, splits: Splits) -> ShareBars:
    """Prices really fall at a split: divided by it and rounded to the cent; whole shares stay whole."""
    factor = Fraction(1)
    bounds = [*(int(np.searchsorted(bars.session, day)) for day, _ in splits), len(bars)]
    for (_, ratio), begin, end in zip(splits, bounds[:-1], bounds[1:], strict=True):
        factor *= ratio
        where, up, down = slice(begin, end), factor.numerator, factor.denominator
        for column in (bars.open, bars.high, bars.low, bars.close):
            column[where] = np.maximum((2 * column[where] * down + up) // (2 * up), 1)
        shares = bars.volume[where] // SHARE * up // down
        bars.volume[where] = np.maximum(shares, 1) * SHARE
        bars.trades[where] = np.minimum(bars.trades[where], np.maximum(shares, 1))
    return bars


def _price_text(column: Ints, divisor: int) -> list[str]:
    if divisor == 1:
        # A double holds 15 digits, more than any price has, so its shortest rounding is exact.
        return [f"{value:.2f}" for value in (column / 10**PRICE_DIGITS).tolist()]
    return [_quotient(value, divisor * 10**PRICE_DIGITS, PRICE_DIGITS) for value in column.tolist()]


def _volume_text(column: Ints, divisor: int) -> list[str]:
    if divisor == 1 and not (column % SHARE).any():
        return [str(value) for value in (column // SHARE).tolist()]
    return [_quotient(value, divisor * SHARE) for value in column.tolist()]


def _quotient(value: int, divisor: int, least: int = 0) -> str:
    whole, part = divmod((2 * value * 10**_DIGITS + divisor) // (2 * divisor), 10**_DIGITS)
    decimals = f"{part:0{_DIGITS}d}".rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else str(whole)
