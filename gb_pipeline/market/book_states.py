"""This module rebuilds order books at many moments at once, in columns, from what the tables of snapshots and updates hold.

All changes between two moments are taken in at once, so that a day costs little more than its sorting and the books that were asked
for. Message by message, with checksums and venues that cut their books, is `order_book`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

_NOTHING = np.empty(0, np.int64)
_COLUMNS = ("receive_time", "ordinal", "side", "price", "size")


def book_states(
    snapshots: pl.DataFrame, updates: pl.DataFrame, moments: Sequence[int] | pl.Series, *, depth: int | None = None
) -> pl.DataFrame:
    """The books of one instrument, heard by one collector, at some moments.

    Args:
        snapshots: whole books, with `receive_time` (ns since 1970 UTC), `ordinal`, `side` (bid or ask), `price` and `size`; the
            levels of one receive time are one book.
        updates: changed levels, with the same columns; a size of 0 removes a level. What comes before the first snapshot counts
            for nothing.
        moments: ns since 1970 UTC, on the axis of `receive_time`; a message that came at a moment counts.
        depth: only so many best levels of each side.

    Returns:
        Columns `moment` Int64, `side`, `level` Int32 (1 is the best), `price` and `size` as they came; sorted by moment, bids
        before asks, best levels first. A moment without a book has no rows.

    Venues that cut their books, as Kraken does, do not say when a level falls out of the cut; there, `depth` is to lie well within
    the subscribed one, or the books are to be rebuilt by `OrderBook`.

    Example:
        >>> levels = {"receive_time": [5, 5], "ordinal": [0, 1], "side": ["bid", "ask"], "price": [9, 11], "size": [1, 2]}
        >>> change = {"receive_time": [7], "ordinal": [0], "side": ["bid"], "price": [9], "size": [0]}
        >>> book_states(pl.DataFrame(levels), pl.DataFrame(change), [6, 7]).select("moment", "price").rows()
        [(6, 9), (6, 11), (7, 11)]
    """
    asked = pl.Series("moment", moments, dtype=pl.Int64).unique().sort().to_numpy()
    laid = snapshots.get_column("receive_time").unique().sort().to_numpy()
    rows = pl.concat([snapshots.select(_COLUMNS), updates.select(_COLUMNS)]).sort("receive_time", "ordinal")
    times = rows.get_column("receive_time").to_numpy()
    stands = (rows.get_column("size") != 0).to_numpy()
    # Of each place that a level can have, the row that stands there; -1 where none does. Places are in the order of prices.
    place = rows.get_column("price").to_physical().rank("dense").to_numpy().astype(np.int64) - 1
    places = int(place.max(initial=-1)) + 1
    place += np.where((rows.get_column("side") == "ask").to_numpy(), places, 0)
    standing = np.where(stands, np.arange(len(place)), -1)
    state = np.full(2 * places, -1, np.int64)
    # Up to each of these moments rows are taken in at once; numpy keeps the last one of a place.
    stops = np.union1d(asked, laid - 1)
    ends = np.searchsorted(times, stops, side="right")
    is_asked, before_snapshot = np.isin(stops, asked), np.isin(stops, laid - 1)
    chosen: list[npt.NDArray[np.int64]] = []
    begin, begun = 0, False
    for end, wanted, is_last in zip(ends.tolist(), is_asked.tolist(), before_snapshot.tolist(), strict=True):
        state[place[begin:end]] = standing[begin:end]
        begin = end
        if wanted:
            chosen += _best(state, places, depth) if begun else [_NOTHING, _NOTHING]
        if is_last:
            state[:], begun = -1, True
    count = np.array([len(part) for part in chosen], np.int64)
    taken = rows[np.concatenate(chosen or [_NOTHING])].select("side", "price", "size")
    level = np.arange(len(taken)) - np.repeat(np.cumsum(count) - count, count) + 1
    moment = np.repeat(np.repeat(asked, 2)[: len(count)], count)
    return taken.select(
        pl.Series("moment", moment, dtype=pl.Int64), "side", pl.Series("level", level, dtype=pl.Int32), "price", "size"
    )


def _best(state: npt.NDArray[np.int64], places: int, depth: int | None) -> list[npt.NDArray[np.int64]]:
    """Rows of the bids and of the asks, best levels first."""
    bids, asks = state[:places], state[places:]
    return [bids[bids >= 0][::-1][:depth], asks[asks >= 0][:depth]]
