"""This module makes trades and quotes of the simulated stocks, out of their minutes: they sum up to the same bars.

The first trade of a minute is its open, the last its close; high and low are among those between, sizes sum to the volume.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gb_pipeline.simulation.exchange import format_units
from gb_pipeline.simulation.market import MINUTE_MS
from gb_pipeline.simulation.stock_bars import VOLUME_DIGITS, VOLUME_UNIT, StockBar
from gb_pipeline.simulation.stock_listings import PRICE_DIGITS
from gb_pipeline.simulation.stocks import Stocks

_FEWEST = 4
_CENT = 1


class StockTrade(NamedTuple):
    """One trade, and the best bid and offer just before it; prices and size as text.

    Attributes:
        number: of the trade on its day, growing.
        time: epoch milliseconds.
        price, size: as text.
        bid, ask: prices, with 100 shares on each side.
    """

    number: int
    time: int
    price: str
    size: str
    bid: str
    ask: str


def stock_trades(stocks: Stocks, code: str, start: int, end: int) -> list[StockTrade]:
    """Trades within [start, end), epoch milliseconds, from 04:00 to 20:00 in New York; oldest first."""
    trades: list[StockTrade] = []
    for minute in range(start // MINUTE_MS * MINUTE_MS, end, MINUTE_MS):
        bar = stocks.whole_minute(code, minute)
        if bar is not None:
            trades += [trade for trade in _of_minute(bar) if start <= trade.time < end]
    return trades


@lru_cache(maxsize=512)
def _of_minute(bar: StockBar) -> list[StockTrade]:
    opened, high, low, close = (_units(text, PRICE_DIGITS) for text in (bar.open, bar.high, bar.low, bar.close))
    volume = _units(bar.volume, VOLUME_DIGITS)
    count = max(_FEWEST, bar.trades)
    # Whole shares where there are enough of them.
    step = VOLUME_UNIT if volume >= count * VOLUME_UNIT else 1
    size = volume // count // step * step
    between = [high, low, *(opened + (close - opened) * place // count for place in range(3, count - 1))]
    prices = [opened, *between, close]
    sizes = [size] * (count - 1)
    sizes.append(volume - sum(sizes))
    return [
        StockTrade(
            bar.start // MINUTE_MS % 1440 * 10_000 + place,
            bar.start + place * MINUTE_MS // count,
            format_units(price, PRICE_DIGITS),
            format_units(shares, VOLUME_DIGITS),
            format_units(price - _CENT, PRICE_DIGITS),
            format_units(price + _CENT, PRICE_DIGITS),
        )
        for place, (price, shares) in enumerate(zip(prices, sizes, strict=True))
    ]


def _units(text: str, digits: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction[:digits].ljust(digits, "0"))
