"""This module follows the simulated exchange for one websocket: new trades and changed books of its subscriptions, step by step.

What messages look like is each dialect's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from gb_pipeline.simulation.books import STEP_MS, Book, book_at, step_of
from gb_pipeline.simulation.exchange import Exchange, format_units
from gb_pipeline.simulation.instruments import Instrument

# A clock that was moved far is followed in larger steps, so that nobody waits for it.
_MOST_STEPS = 600
_MOST_TRADES = 1_000_000


class Tick(NamedTuple):
    """One trade: number, epoch milliseconds, price and size as text, and whether the buyer was the maker."""

    number: int
    time: int
    price: str
    size: str
    buyer_is_maker: bool


def trades_within(exchange: Exchange, item: Instrument, start: int, end: int, skew: int = 0) -> list[Tick]:
    """Trades of `[start, end)`, epoch milliseconds; a vendor whose clock is wrong by `skew` writes other times."""
    return [
        Tick(
            number,
            time + skew,
            format_units(price, item.price_digits),
            format_units(size, item.volume_digits),
            bool(maker),
        )
        for number, time, price, size, maker in exchange.trades(item.code, start, end - 1, _MOST_TRADES)
    ]


def steps_within(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Moments of books within `[start, end)`, each with the end of the stretch of trades that comes before it."""
    first = step_of(start + STEP_MS - 1)
    count = max(0, (end - 1 - first) // STEP_MS + 1)
    stride = STEP_MS * max(1, -(-count // _MOST_STEPS))
    yield from ((moment, moment + 1) for moment in range(first, end, stride))


class Ladders:
    """The last book that a connection was told of each instrument."""

    def __init__(self, exchange: Exchange) -> None:
        """None yet."""
        self._exchange = exchange
        self.told: dict[str, tuple[int, Book]] = {}

    def lay(self, item: Instrument, moment: int) -> Book | None:
        """The whole book at the last step; None where nothing trades."""
        at = step_of(moment)
        book = book_at(self._exchange, item, at)
        if book is not None:
            self.told[item.code] = (at, book)
        return book

    def advance(self, item: Instrument, moment: int) -> tuple[Book, Book] | None:
        """The book that was told and the one at a step; None where it was not laid, or is newer."""
        known = self.told.get(item.code)
        if known is None or known[0] >= moment:
            return None
        book = book_at(self._exchange, item, moment)
        if book is None:
            return None
        self.told[item.code] = (moment, book)
        return known[1], book

    def forget(self, item: Instrument) -> None:
        """Tell no more of it."""
        self.told.pop(item.code, None)


def iso(moment: int) -> str:
    """Epoch milliseconds as vendors write them: 2024-01-02T10:00:00.123000Z."""
    return f"{datetime.fromtimestamp(moment // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{moment % 1000:03}000Z"
