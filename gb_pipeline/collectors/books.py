"""This module follows the books of a stream, so that a whole one is kept now and then beside its changes.

Whoever reads a book at a moment starts from the last whole one before it. Books are followed from what the venue sent, never from
what is stored, and one that broke is not kept before the venue has sent it anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gb_pipeline.collectors.levels import read_levels
from gb_pipeline.collectors.messages import MessageRows, RawTime, Signal, SnapshotRow, UpdateRow
from gb_pipeline.collectors.venue import Subscription
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

PERIODIC = "periodic"
# The connection ended, and all of its books.
_ENDED = frozenset({ConnectionEventKind.DISCONNECTED, ConnectionEventKind.CLOCK_SET})
_BROKEN = _ENDED | {ConnectionEventKind.SEQUENCE, ConnectionEventKind.CHECKSUM}


@dataclass(slots=True)
class _Followed:
    book: OrderBook
    kept_at: int
    time: RawTime = None
    receive_time: int = 0
    sequence: int | None = None


class FollowedBooks:
    """The books of one connection.

    Args:
        subscriptions: those of books among them are followed.
        every: ns between two that are kept; None to keep none.
        cut: whether the venue forgets what lies beyond the depth of a subscription; elsewhere, books have whatever was told.
    """

    def __init__(self, subscriptions: Iterable[Subscription], every: int | None, *, cut: bool = False) -> None:
        """All of them wait for the venue's first snapshot."""
        self._every = every
        self._depths = {
            item.symbol: item.depth if cut else None
            for item in subscriptions
            if item.dataset is StreamDataset.BOOK_UPDATES and every is not None
        }
        self._followed: dict[str, _Followed] = {}

    def follow(self, rows: MessageRows) -> None:
        """Apply what was heard, and add the books that are due to its snapshots."""
        if not self._depths:
            return
        said: list[tuple[int, int, SnapshotRow | UpdateRow | Signal]] = [
            *((item.receive_time, 0, item) for item in rows.signals if item.kind in _BROKEN),
            *((row[2], 1, row) for row in rows.snapshots),
            *((row[2], 2, row) for row in rows.updates),
        ]
        said.sort(key=_order)
        for receive_time, kind, item in said:
            if kind == 0:
                self._drop(item)  # type: ignore[arg-type]
            elif kind == 1:
                self._lay(item, receive_time)  # type: ignore[arg-type]
            else:
                self._apply(item, receive_time)  # type: ignore[arg-type]
        for symbol, followed in self._followed.items():
            if self._every is not None and followed.receive_time - followed.kept_at >= self._every:
                followed.kept_at = followed.receive_time
                bids, asks = followed.book.bids(), followed.book.asks()
                rows.snapshots.append(
                    (symbol, followed.time, followed.receive_time, bids, asks, followed.sequence, PERIODIC)
                )

    def _lay(self, row: SnapshotRow, receive_time: int) -> None:
        symbol, time, _, bids, asks, sequence, _ = row
        if symbol in self._depths:
            book = OrderBook(self._depths[symbol])
            book.lay(read_levels(bids), read_levels(asks))
            self._followed[symbol] = _Followed(book, receive_time, time, receive_time, sequence)

    def _apply(self, row: UpdateRow, receive_time: int) -> None:
        symbol, time, _, bids, asks, _, sequence, _ = row
        followed = self._followed.get(symbol)
        if followed is not None:
            followed.book.apply(read_levels(bids), read_levels(asks))
            followed.time, followed.receive_time, followed.sequence = time, receive_time, sequence

    def _drop(self, signal: Signal) -> None:
        if signal.kind not in _ENDED and not signal.resubscribe:
            return
        if signal.dataset in {None, StreamDataset.BOOK_UPDATES}:
            for symbol in [signal.symbol] if signal.symbol is not None else list(self._followed):
                self._followed.pop(symbol, None)


def _order(said: tuple[int, int, object]) -> tuple[int, int]:
    return said[:2]
