"""This module has the order books of the simulated exchange: a function of instrument and moment, without any history.

The last trade happened at the best bid or at the best ask; what stands behind them follows from hashes of price and time. Books
change every tenth of a second, and their changes are numbered by these tenths. Each vendor's messages have modules of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gb_pipeline.simulation.exchange import Exchange, format_units
from gb_pipeline.simulation.instruments import Instrument

STEP_MS = 100
# Levels on each side, of which some stay empty.
_LEVELS = 120
# A level keeps its size for so many steps.
_KEPT_STEPS = 40
_HOUR_MS = 3_600_000
_Ints = npt.NDArray[np.uint64]
# Price and size in units of the instrument's grids.
Ladder = dict[int, int]


class Book(NamedTuple):
    """Sizes by price, in grid units, best levels first."""

    bids: Ladder
    asks: Ladder

    def cut(self, depth: int) -> Book:
        """The best levels of each side."""
        return Book(*(dict(list(side.items())[:depth]) for side in self))

    def texts(self, item: Instrument) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Price and size of each level as text, bids and asks."""
        bids, asks = (to_texts(side, item) for side in self)
        return bids, asks

    def changes(self, after: Book, beyond: Book | None = None) -> Book:
        """What changed from this book to the next; a size of 0 removes a level.

        Args:
            after: the next book.
            beyond: where books are cut, the next one uncut: a level that only fell out of the cut is not removed.
        """
        sides = []
        for side, (old, new) in enumerate(zip(self, after, strict=True)):
            standing = new if beyond is None else beyond[side]
            # Removed ones first: clients that cut their book after every level then come to the same.
            removed = {price: 0 for price in old if price not in standing}
            sides.append(removed | {price: size for price, size in new.items() if old.get(price) != size})
        return Book(*sides)


def to_texts(side: Ladder, item: Instrument) -> list[tuple[str, str]]:
    """Price and size of each level as text."""
    return [
        (format_units(price, item.price_digits), format_units(size, item.volume_digits)) for price, size in side.items()
    ]


def step_of(moment: int) -> int:
    """The moment of the last change at or before a moment, epoch milliseconds."""
    return moment // STEP_MS * STEP_MS


def update_number(moment: int) -> int:
    """The number of the change at a moment."""
    return moment // STEP_MS


def book_at(exchange: Exchange, item: Instrument, moment: int) -> Book | None:
    """The book after the change at a moment; None where nothing traded in the hour before."""
    trades = exchange.trades(item.code, moment - _HOUR_MS, moment, 1, newest=True)
    if not trades:
        return None
    _, _, price, _, buyer_is_maker = trades[-1]
    best_bid = price if buyer_is_maker else price - 1
    reach = np.arange(_LEVELS, dtype=np.int64)
    step = moment // STEP_MS
    bids = _ladder(best_bid - reach, step, exchange.seed)
    asks = _ladder(best_bid + 1 + reach, step, exchange.seed + 1)
    return Book(bids, asks)


def _ladder(prices: npt.NDArray[np.int64], step: int, salt: int) -> Ladder:
    prices = prices[prices > 0]
    seeds = _hash(prices.astype(np.uint64), salt)
    # Levels change one after another, not all at once.
    epoch = (np.uint64(step) + seeds % np.uint64(_KEPT_STEPS)) // np.uint64(_KEPT_STEPS)
    chance = _hash(seeds ^ epoch, salt + 17)
    sizes = (chance % np.uint64(90_000) + np.uint64(1)).astype(np.int64)
    empty = (chance >> np.uint64(40)) % np.uint64(6) == 0
    empty[:1] = False
    return dict(zip(prices[~empty].tolist(), sizes[~empty].tolist(), strict=True))


def _hash(values: _Ints, salt: int) -> _Ints:
    # The finaliser of splitmix64, as for prices.
    x = values * np.uint64(0xD1342543DE82EF95) + np.uint64(salt * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
