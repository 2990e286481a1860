"""This module chains Binance's changes of a book to its snapshot by REST, as Binance documents it.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (How to manage a local order book correctly), and the
same of USD-M futures, whose changes name the last number of the change before (`pu`) because their numbers have holes.
"""

from __future__ import annotations

from collections import deque

from gb_pipeline.collectors.levels import read_levels
from gb_pipeline.collectors.messages import Level, Levels
from gb_pipeline.market.order_book import OrderBook

# First and last number, the last of the change before (futures only), bids, asks.
Change = tuple[int, int, int | None, Levels, Levels]
# Minutes of changes of a busy book; of more that wait for a snapshot, the oldest are of no use.
_MOST_KEPT = 20_000


class DepthChain:
    """The numbers of one book, and the changes that wait for its snapshot."""

    __slots__ = ("_first_after_snapshot", "_kept", "last", "standing")

    def __init__(self) -> None:
        """No snapshot yet."""
        self.standing = False
        self.last = 0
        self._first_after_snapshot = False
        self._kept: deque[Change] = deque(maxlen=_MOST_KEPT)

    def keep(self, change: Change) -> None:
        """A change that waits for the snapshot."""
        self._kept.append(change)

    def follows(self, first: int, last: int, before: int | None) -> bool:
        """Whether a change that is newer than the book goes on where it stands; its last number is then that of the book."""
        if before is None:
            fits = first == self.last + 1 or (self._first_after_snapshot and first <= self.last + 1)
        else:
            fits = before == self.last or (self._first_after_snapshot and first <= self.last)
        if fits:
            self.last = last
            self._first_after_snapshot = False
        return fits

    def break_at(self, change: Change) -> None:
        """A hole before this change: the book stands no more, and waits for a new snapshot."""
        self.standing = False
        self._kept.clear()
        self._kept.append(change)

    def lay(self, number: int, bids: list[Level], asks: list[Level]) -> tuple[list[Level], list[Level]] | None:
        """The book of a snapshot and of the kept changes that are newer; None where it is older than what they go on from.

        Args:
            number: of the last update in the snapshot.
            bids: of the snapshot.
            asks: the same.

        Raises:
            ValueError: a price is no number.
        """
        self.last, self._first_after_snapshot = number, True
        book = OrderBook()
        book.lay(bids, asks)
        changed = False
        for first, last, before, more_bids, more_asks in self._kept:
            if last <= self.last:
                continue
            if not self.follows(first, last, before):
                return None
            book.apply(read_levels(more_bids), read_levels(more_asks))
            changed = True
        self._kept.clear()
        self.standing = True
        return (book.bids(), book.asks()) if changed else (bids, asks)
