"""This module says which stored bars a removal means: the tables that hold a series, the files in them, and how much that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time

import polars as pl

from gb_pipeline.lake import ledger, removals
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.market.moments import INSTANT, MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

Days = tuple[date | None, date | None]
SELECTED = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution", "precision"), pl.String()),
        "bars": pl.Int64(),
        "sessions": pl.Int64(),
        "bytes": pl.Int64(),
        "first": INSTANT,
        "last": INSTANT,
    }
)


@dataclass(frozen=True)
class Target:
    """The bars of a series in one table.

    Attributes:
        days: half-open range of sessions; None where it is open.
    """

    source: str
    symbol: str
    resolution: Resolution
    precision: Precision
    days: Days = (None, None)

    @property
    def table(self) -> str:
        """Its name."""
        return bars_dataset(self.resolution, self.precision).name

    @property
    def sibling(self) -> str:
        """The name of the table of the other precision."""
        return self.other_precision().table

    def other_precision(self) -> Target:
        """The same of the table of the other precision."""
        other = Precision.STANDARD if self.precision is Precision.WIDE else Precision.WIDE
        return replace(self, precision=other)

    def between(self) -> tuple[date, date] | None:
        """The days as the ledger takes them."""
        first, end = self.days
        return None if first is None and end is None else (first or date.min, end or date.max)

    def has_session(self) -> pl.Expr:
        """Whether a row is about one of their sessions."""
        first, end = self.between() or (date.min, date.max)
        return (pl.col("session") >= first) & (pl.col("session") < end)

    def sessions(self, tables: Tables) -> pl.DataFrame:
        """What the ledger says of them."""
        return ledger.current(tables, self.source, self.resolution, [self.symbol], self.between())

    def window(self, tables: Tables) -> Window | None:
        """The time in which all their versions lie; None without a limit.

        Sessions follow one another, so it holds no bar of another one. That of bars within days is told by what the ledger ever
        recorded.
        """
        between = self.between()
        if between is None:
            return None
        if not self.resolution.intraday:
            first, end = (datetime.combine(day, time(), UTC) for day in between)
            return Window(first, end)
        columns = ["symbol", "first_timestamp", "last_timestamp"]
        edges = ledger.scan(tables, self.source, self.resolution, [self.symbol], between, columns)
        first, last = edges.select(pl.col("first_timestamp").min(), pl.col("last_timestamp").max()).collect().row(0)
        nothing = datetime(1970, 1, 1, tzinfo=UTC)
        return Window(first, last + MICROSECOND) if first is not None else Window(nothing, nothing)

    def select(self, snapshot: Snapshot, window: Window | None, *, current: bool = True) -> pl.DataFrame:
        """The files that may hold them."""
        files = snapshot.select(
            {"source": self.source},
            between=None if window is None else {"timestamp": (window.start, window.end)},
            holding={"symbol": [self.symbol]},
        )
        return reading.current_files(snapshot, files) if current else files

    def holds(self, window: Window | None) -> pl.Expr:
        """Whether a row is one of theirs."""
        is_one = pl.col("symbol") == self.symbol
        if window is None:
            return is_one
        return is_one & (pl.col("timestamp") >= window.start) & (pl.col("timestamp") < window.end)


def find_targets(
    tables: Tables, source: str, symbol: str, resolutions: Sequence[Resolution] | None, days: Days
) -> list[Target]:
    """The tables that hold bars of a series, or held some that were removed; the standard one of each resolution first."""
    removed = set(removals.read(tables, source, [symbol]).select("resolution", "precision").iter_rows())
    kinds = [kind for dataset in tables.possible() if (kind := parse_bar_table(dataset.name)) is not None]
    found = []
    for resolution, precision in kinds:
        target = Target(source, symbol, resolution, precision, days)
        if resolutions is not None and resolution not in resolutions:
            continue
        snapshot = tables.newest(target.table)
        is_known = (resolution.value, precision.value) in removed
        if snapshot.version >= 0 and (is_known or target.select(snapshot, None, current=False).height):
            found.append(target)
    return found


def select_bars(tables: Tables, chosen: Sequence[Target]) -> pl.DataFrame:
    """What is stored now of some targets, without the bars that a wider one hides.

    Returns:
        Columns of `SELECTED`, a row for each target that holds a bar; `bytes` is its share of its files.
    """
    rows = []
    for target in chosen:
        snapshot, window = tables.newest(target.table), target.window(tables)
        files = target.select(snapshot, window)
        everything = reading.read(tables.storage, snapshot.dataset, files, ["symbol", "timestamp"], with_file=True)
        bars = everything.filter(target.holds(window))
        shares = bars.group_by("file").len().join(files.with_row_index("file"), on="file")
        visible = bars.join(taken(tables, target, window), on="timestamp", how="anti")
        if visible.is_empty():
            continue
        sessions = target.sessions(tables).filter(pl.col("precision") == target.precision.value, pl.col("actual") > 0)
        rows.append(
            {
                **{"source": target.source, "symbol": target.symbol, "resolution": target.resolution.value},
                **{"precision": target.precision.value, "bars": visible.height, "sessions": sessions.height},
                "bytes": int((shares["size"] * shares["len"] / shares["rows"]).sum()),
                **{"first": visible["timestamp"].min(), "last": visible["timestamp"].max()},
            }
        )
    return pl.DataFrame(rows, schema=SELECTED)


def taken(tables: Tables, target: Target, window: Window | None) -> pl.DataFrame:
    """`timestamp` of standard bars that a wide one hides, and `taken_at`, since when; none of a target that is wide."""
    none = pl.DataFrame(schema={"timestamp": INSTANT, "taken_at": INSTANT})
    if target.precision is Precision.WIDE:
        return none
    wide = tables.newest(target.sibling)
    files = target.select(wide, window, current=False)
    if files.is_empty():
        return none
    rows = reading.read(tables.storage, wide.dataset, files, ["symbol", "timestamp", KNOWN_AT])
    return rows.filter(target.holds(window)).group_by("timestamp").agg(pl.col(KNOWN_AT).min().alias("taken_at"))
