"""hftbacktest's event arrays: `<symbol>_<yyyymmdd>.npz` with `data`, a day of UTC each, both orders of events corrected.

Levels are `DEPTH_EVENT`, whole books a `DEPTH_CLEAR_EVENT` of each side and `DEPTH_SNAPSHOT_EVENT`s, trades `TRADE_EVENT`. An
event that came in another order than it happened stands twice, once for the exchange and once for whoever heard it, as
hftbacktest's own `correct_event_order` does; a local clock that runs behind the exchange's is set forward for the whole export,
as its `correct_local_timestamp` does.

Source: hftbacktest 2.4, `hftbacktest/types.py`, `hftbacktest/data/validation.py` and `hftbacktest/data/utils/tardis.py`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.formats.numbers import shortest_text
from gb_pipeline.formats.streams.days import Stream
from gb_pipeline.formats.streams.writer import Account, Day, StreamWriter
from gb_pipeline.formats.writing.staging import StagedFolder

EVENT = np.dtype(
    [
        ("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8"), ("ival", "i8"),
        ("fval", "f8"),
    ],
    align=True,
)  # fmt: skip
_DEPTH, _TRADE, _CLEAR, _SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, _BUY, _SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_SIDES = {"buy": _BUY, "bid": _BUY, "sell": _SELL, "ask": _SELL}
_EXAMPLES = 3
_WIDE = pl.Decimal(38, 18)


class HftBacktestWriter(StreamWriter):
    """Writes a file of events per stream and day."""

    tables: ClassVar = ("trades", "book_snapshots", "book_updates")

    def __init__(self, market: str | None = None) -> None:
        """See `StreamWriter`."""
        super().__init__(market)
        self._behind: dict[str, int] = {}
        self._has_updates: set[str] = set()
        self._has_book: set[str] = set()
        self._begun: set[str] = set()

    def place_of(self, stream: Stream) -> str:
        """The beginning of its files' names."""
        return stream.symbol.lower()

    def inspect(self, stream: Stream, day: Day, account: Account) -> None:
        """Find how far the local clock is behind, and which numbers are no float."""
        updates, snapshots = day.rows["book_updates"], day.rows["book_snapshots"]
        if updates.height:
            self._has_updates.add(stream.name)
        if snapshots.height and stream.name not in self._has_book:
            self._has_book.add(stream.name)
        elif updates.height and stream.name not in self._has_book:
            account.notes["Its book begins without a snapshot: it is whole once every level has changed."] = None
            self._has_book.add(stream.name)
        for table, rows in day.rows.items():
            if not rows.height:
                continue
            _compare(rows, account)
            behind = rows.select((pl.col("exchange_time") - pl.col("receive_time")).max()).item()
            self._behind[stream.name] = max(self._behind.get(stream.name, 0), behind or 0)
            if rows["receive_time"].null_count():
                account.notes[f"Where nobody heard {table} live, the local time is the exchange's."] = None
            if rows["exchange_time"].null_count():
                account.notes[f"Where the exchange says no time of {table}, it is the local one."] = None
            account.events += rows.height
        if behind := self._behind.get(stream.name):
            text = "Local times are set forward, as the local clock was behind the exchange's"
            account.notes = {note: None for note in account.notes if not note.startswith(text)}
            account.notes[f"{text}: by {behind:,} ns."] = None

    def write(self, stream: Stream, day: Day, folder: StagedFolder) -> None:
        """One array of the whole day."""
        events = self._events(stream, day)
        name = f"{self.place_of(stream)}_{day.start:%Y%m%d}.npz"
        np.savez_compressed(folder.path(name, stream.name), data=correct_event_order(events))

    def _events(self, stream: Stream, day: Day) -> npt.NDArray[Any]:
        """Trades before levels: a level holds what the trade took away already."""
        snapshots = day.rows["book_snapshots"]
        if stream.name in self._has_updates and snapshots.height:
            # Updates tell what a periodic snapshot repeats; only where a book begins it is needed.
            needed = pl.col("reason") != "periodic"
            if stream.name not in self._begun:
                needed = needed | (pl.int_range(pl.len()) < _first_book(snapshots))
            snapshots = snapshots.filter(needed)
        if snapshots.height or day.rows["book_updates"].height:
            self._begun.add(stream.name)
        levels = [_to_events(day.rows["book_updates"], _DEPTH, 1), *_books(snapshots)]
        order = ["heard", "kind", "place", "ordinal"]
        depth = pl.concat(levels).sort(order, maintain_order=True)
        frame = pl.concat([_to_events(day.rows["trades"], _TRADE, 0), depth])
        events = np.zeros(frame.height, dtype=EVENT)
        for column in ("ev", "exch_ts", "local_ts", "px", "qty"):
            events[column] = frame[column].to_numpy()
        events["local_ts"] += self._behind.get(stream.name, 0)
        return events


def _first_book(snapshots: pl.DataFrame) -> int:
    """How many rows the first book has."""
    return int(
        snapshots.select(
            (pl.col("receive_time").ne_missing(pl.col("receive_time").first()).cum_sum() == 0).sum()
        ).item()
    )


def _to_events(rows: pl.DataFrame, event: int, kind: int) -> pl.DataFrame:
    exchange, local = pl.col("exchange_time"), pl.col("receive_time")
    side = pl.col("side").replace_strict(_SIDES, default=0, return_dtype=pl.UInt64()).fill_null(0)
    return rows.select(
        (side + event).cast(pl.UInt64).alias("ev"),
        pl.coalesce(exchange, local).alias("exch_ts"), pl.coalesce(local, exchange).alias("local_ts"),
        pl.col("price").cast(pl.Float64).alias("px"), pl.col("size").cast(pl.Float64).alias("qty"),
        pl.coalesce(local, exchange).alias("heard"), pl.lit(kind).alias("kind"), pl.lit(0).alias("place"), "ordinal",
    )  # fmt: skip


def _books(snapshots: pl.DataFrame) -> list[pl.DataFrame]:
    """Levels of whole books, and before those of a side what clears it, as far as the book goes."""
    places = pl.when(pl.col("ev") == (_SNAPSHOT | _BUY)).then(0).otherwise(2)
    levels = _to_events(snapshots, _SNAPSHOT, 0).with_columns((places + 1).alias("place"))
    farthest = pl.when(pl.col("ev") == (_SNAPSHOT | _BUY)).then(pl.col("px").min()).otherwise(pl.col("px").max())
    clears = levels.group_by("heard", "ev", maintain_order=True).agg(
        pl.col("exch_ts").first(), pl.col("local_ts").first(), farthest.first().alias("px"), pl.col("ordinal").min(),
        pl.col("place").first() - 1, pl.col("kind").first(),
    )  # fmt: skip
    clears = clears.with_columns((pl.col("ev") - _SNAPSHOT + _CLEAR).alias("ev"), pl.lit(0.0).alias("qty"))
    return [levels, clears.select(levels.columns)]


def _compare(rows: pl.DataFrame, account: Account) -> None:
    """Count the numbers that are another one as a float."""
    for name in ("price", "size"):
        numbers = rows[name].unique()
        texts = shortest_text(numbers.cast(pl.Float64))
        exact = texts.str.contains("e", literal=True)
        back = pl.DataFrame({"t": texts, "n": numbers.cast(_WIDE)}).with_columns(
            pl.when(~exact).then("t").cast(_WIDE, strict=False).alias("b")
        )
        # An exponent stands for very large and very small ones.
        doubtful = back.filter(pl.col("b").is_null() | (pl.col("b") != pl.col("n")))
        wrong = [n for t, n in doubtful.select("t", "n").iter_rows() if t is None or Decimal(t) != n]
        if not wrong:
            continue
        count = rows.filter(pl.col(name).cast(_WIDE).is_in(pl.Series(wrong, dtype=_WIDE).implode())).height
        account.changed += count
        for number in wrong[: _EXAMPLES - len(account.examples)]:
            account.examples.append(f"{name} {number.normalize():f} becomes {float(number)!r}")


def correct_event_order(events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Events in the exchange's order and in the local one at once; what is in other places in both stands twice.

    Args:
        events: of `EVENT`, without the flags `EXCH` and `LOCAL`, in any order; rows of the same two times keep theirs.

    Returns:
        The same events with their flags: those with `EXCH` in the order of `exch_ts`, those with `LOCAL` in the order of
        `local_ts`.

    Example:
        >>> events = np.zeros(2, dtype=EVENT)
        >>> events["exch_ts"], events["local_ts"] = [2, 1], [3, 4]
        >>> corrected = correct_event_order(events)
        >>> corrected["exch_ts"].tolist(), (corrected["ev"] >> 30).tolist()
        ([1, 2, 1], [2, 3, 1])
    """
    exchange = np.lexsort((events["local_ts"], events["exch_ts"]))
    local = np.argsort(events["local_ts"], kind="stable")
    heard = events["exch_ts"][local]
    # An event is late where a newer one was heard before it.
    is_late = heard < np.maximum.accumulate(heard) if len(heard) else np.zeros(0, dtype=bool)
    late = np.zeros(len(events), dtype=bool)
    late[local] = is_late
    # Events in time are in the same order in both, and every late one belongs behind one of them.
    behind_local = np.cumsum(~is_late)[is_late]
    behind_exchange = np.cumsum(~late[exchange])[late[exchange]]
    in_time, late_local, late_exchange = local[~is_late], local[is_late], exchange[late[exchange]]
    parts = np.concatenate([events[in_time], events[late_local], events[late_exchange]])
    parts["ev"] |= np.repeat(
        np.array([EXCH | LOCAL, LOCAL, EXCH], dtype=np.uint64), [len(in_time), len(late_local), len(late_exchange)]
    )
    segment = np.concatenate([np.arange(1, len(in_time) + 1), behind_local, behind_exchange])
    kind = np.repeat([0, 1, 2], [len(in_time), len(late_local), len(late_exchange)])
    number = np.concatenate([np.arange(len(part)) for part in (in_time, late_local, late_exchange)])
    corrected: npt.NDArray[Any] = parts[np.lexsort((number, kind, segment))]
    return corrected
