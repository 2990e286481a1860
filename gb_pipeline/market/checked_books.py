"""This module applies stored updates to a book of a venue that cuts its books and proves them by checksums (Kraken).

Levels that fall out of the cut are never told, so messages are applied one after the other. The checksum is of the digits that the
venue writes; the tables hold numbers, so how many decimals it writes is found from the first checksums.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import polars as pl

from gb_pipeline.market.order_book import Level, OrderBook

# Depths to which books are cut; a whole book has at most so many levels on a side.
_CUTS = (10, 25, 100, 500, 1000)
_MOST_DECIMALS = 11


class CheckedBook:
    """One book, from a whole one on.

    Args:
        whole: `side, price, size` of the levels.
        name: for messages.
        verify: compare checksums.
    """

    def __init__(self, whole: pl.DataFrame, *, name: str = "", verify: bool = False) -> None:
        """Lay it."""
        most = max((whole["side"] == side).sum() for side in ("bid", "ask"))
        self._cut = next((cut for cut in _CUTS if cut >= most), None)
        self._name, self._verify = name, verify
        # Whole numbers of the finest step: texts of them are what a book keeps, until it is known how the venue writes them.
        self._types = {name: whole.schema[name] for name in ("side", "price", "size")}
        self._book = OrderBook(self._cut)
        self._written: tuple[int, int] | None = None
        self.checked = 0
        self._book.lay(*self._sides(whole))

    def apply(self, updates: pl.DataFrame) -> None:
        """Change levels, message by message.

        Args:
            updates: `side, price, size, receive_time, checksum`, in order; rows of one receive time are one message.

        Raises:
            ValueError: a checksum is not the venue's; where, and after how many.
        """
        for rows in self._messages(updates):
            bids = [(price, size) for side, price, size, _, _ in rows if side == "bid"]
            asks = [(price, size) for side, price, size, _, _ in rows if side == "ask"]
            self._book.apply(bids, asks)
            told = rows[-1][4]
            if self._verify and told is not None:
                self._compare(told)

    def levels(self) -> pl.DataFrame:
        """`side, price, size`, in the types that came."""
        rows = [
            (side, price, size)
            for side, own in (("bid", self._book.bids()), ("ask", self._book.asks()))
            for price, size in own
        ]
        text = pl.DataFrame(rows, schema=dict.fromkeys(self._types, pl.String()), orient="row")
        return text.cast(pl.Schema(self._types))

    def _compare(self, told: int) -> None:
        if self._written is None:
            self._written = self._find_writing(told)
        if self._written is None or self._checksum(*self._written) != told:
            raise ValueError(f"the checksum {told} is not that of the levels, after {self.checked:,} that were")
        self.checked += 1

    def _find_writing(self, told: int) -> tuple[int, int] | None:
        """With how many decimals prices and sizes have to be written for a checksum to hold."""
        tries = ((prices, sizes) for prices in range(_MOST_DECIMALS) for sizes in range(_MOST_DECIMALS))
        return next((pair for pair in tries if self._checksum(*pair) == told), None)

    def _checksum(self, prices: int, sizes: int) -> int:
        written = OrderBook()
        written.lay(
            *(
                [(_write(price, prices), _write(size, sizes)) for price, size in own]
                for own in (self._book.bids(10), self._book.asks(10))
            )
        )
        return written.checksum()

    def _sides(self, whole: pl.DataFrame) -> tuple[list[Level], list[Level]]:
        text = whole.select("side", pl.col("price", "size").cast(pl.String))
        return tuple(  # type: ignore[return-value]
            list(text.filter(pl.col("side") == side).select("price", "size").iter_rows()) for side in ("bid", "ask")
        )

    @staticmethod
    def _messages(updates: pl.DataFrame) -> Iterator[list[tuple[str, str, str, int, int | None]]]:
        text = updates.select("side", pl.col("price", "size").cast(pl.String), "receive_time", "checksum")
        rows: list[tuple[str, str, str, int, int | None]] = []
        for row in text.iter_rows():
            if rows and rows[-1][3] != row[3]:
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows


def _write(number: str, decimals: int) -> str:
    return (
        format(Decimal(number).quantize(Decimal(1).scaleb(-decimals)), "f") if decimals else str(int(Decimal(number)))
    )
