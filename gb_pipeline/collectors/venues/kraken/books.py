"""This module keeps Kraken's books of one connection and proves each message of them by the checksum that came with it.

The checksum covers the ten best levels of each side; what lies deeper is proven once it comes that near. How messages are taken
apart is in `v1` and `v2`.
"""

from __future__ import annotations

from gb_pipeline.collectors.messages import Level, MessageRows, RawTime, Signal
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

# https://docs.kraken.com/api/docs/websocket-v2/book
DEPTHS = (10, 25, 100, 500, 1000)
_BOOK = StreamDataset.BOOK_UPDATES
_LATER = "it is asked for again with the next connection; see https://status.kraken.com"
# How refusals begin that asking again does not change, of both versions; of others, such as "Exceeded msg rate", it does.
_FOR_GOOD = (
    "Currency pair",
    "Subscription",
    "Malformed",
    "Unsupported",
    "EQuery:Unknown",
    "EGeneral:Invalid arguments",
)


def depth_of(wanted: int | None) -> int:
    """The smallest depth of Kraken's that holds so many levels; its largest for None.

    Raises:
        ConfigError: it has none so large.
    """
    if wanted is None:
        return DEPTHS[-1]
    fitting = [depth for depth in DEPTHS if depth >= wanted]
    if not fitting:
        raise ConfigError(f"Kraken has no book of {wanted:,} levels", fix=f"write depth: {DEPTHS[-1]}, or leave it out")
    return fitting[0]


def deny_subscription(
    rows: MessageRows,
    receive_time: int,
    error: str | None,
    venue_symbol: str | None,
    dataset: StreamDataset | None,
    symbol: str | None,
) -> None:
    """Note that Kraken refuses a subscription, in its own words and with the name that it calls the instrument by."""
    words = error or "refused without a reason"
    permanent = words.startswith(_FOR_GOOD)
    fix = (
        "compare `symbols` and `depth` in gb.yaml with https://api.kraken.com/0/public/AssetPairs"
        if permanent
        else _LATER
    )
    # Most of its words name the pair already.
    named = words if not venue_symbol or venue_symbol in words else f"{words} ({venue_symbol})"
    rows.deny(receive_time, named, fix, dataset=dataset, symbol=symbol, permanent=permanent)


class CheckedBooks:
    """The books of one connection.

    Args:
        depths: levels on each side by symbol.

    Attributes:
        resync: the symbols whose books are to be asked for.
    """

    def __init__(self, depths: dict[str, int]) -> None:
        """All of them wait for their first snapshot."""
        self._depths = depths
        self._books: dict[str, OrderBook] = {}
        self.resync = Resync()
        self._laid_before: set[str] = set()

    def lay(
        self,
        symbol: str,
        time: RawTime,
        receive_time: int,
        levels: tuple[list[Level], list[Level]],
        checksum: int | None,
        rows: MessageRows,
    ) -> None:
        """A whole book came; one that does not match its checksum is asked for again."""
        bids, asks = levels
        book = OrderBook(self._depths[symbol])
        book.lay(bids, asks)
        if checksum is not None and book.checksum() != checksum:
            self._break(symbol, receive_time, checksum, book, rows)
            return
        resync = symbol in self._laid_before
        self._books[symbol] = book
        self._laid_before.add(symbol)
        reason = "resync" if resync else "subscribed"
        rows.snapshots.append((symbol, time, receive_time, bids, asks, None, reason))
        rows.heard[_BOOK, symbol] = rows.heard.get((_BOOK, symbol), 0) + 1
        rows.signals.append(
            Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol, detail={"reason": reason})
        )

    def update(
        self,
        symbol: str,
        time: RawTime,
        receive_time: int,
        levels: tuple[list[Level], list[Level]],
        checksum: int | None,
        rows: MessageRows,
    ) -> None:
        """Levels changed; what comes while a book is not laid belongs to none, and is in the gap."""
        book = self._books.get(symbol)
        if book is None:
            return
        bids, asks = levels
        book.apply(bids, asks)
        if checksum is not None and book.checksum() != checksum:
            self._break(symbol, receive_time, checksum, book, rows)
            return
        rows.updates.append((symbol, time, receive_time, bids, asks, None, None, checksum))
        key, heard = (_BOOK, symbol), rows.heard
        heard[key] = heard.get(key, 0) + 1

    def _break(self, symbol: str, receive_time: int, checksum: int, book: OrderBook, rows: MessageRows) -> None:
        self._books.pop(symbol, None)
        self._laid_before.add(symbol)
        self.resync.broken(symbol, receive_time)
        rows.signals.append(
            Signal(
                ConnectionEventKind.CHECKSUM,
                receive_time,
                _BOOK,
                symbol,
                resubscribe=True,
                detail={"venue": checksum, "ours": book.checksum()},
            )
        )
