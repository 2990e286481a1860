"""This module reads bars as they are stored now, as a write compares against them.

It takes the current rows of a window from a series' table and its wide sibling, and proves that what is about to be rewritten is
what the ledger recorded. Choosing what changes is in `merge`, writing it in `bars`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.lake.precisions import unite
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage import reading
from gb_pipeline.storage.reading import FILE
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

_KEY = ["symbol", "timestamp"]


def window_files(snapshot: Snapshot, source: str, symbols: Sequence[str], window: Window) -> pl.DataFrame:
    """The files of current rows that may hold bars of some symbols in a window."""
    if snapshot.files.is_empty():
        return snapshot.files
    files = snapshot.select(
        {"source": source}, between={"timestamp": (window.start, window.end)}, holding={"symbol": symbols}
    )
    return reading.current_files(snapshot, files)


def read_files(tables: Tables, snapshot: Snapshot, files: pl.DataFrame) -> pl.DataFrame:
    """Everything that some files hold: all columns of the table, and `file` (UInt32), the position in `files`."""
    return reading.read(tables.storage, snapshot.dataset, files, with_file=True)


def read_window(
    tables: Tables, snapshot: Snapshot, source: str, symbols: Sequence[str], window: Window
) -> pl.DataFrame:
    """Current rows of some symbols in a window; see `in_window`."""
    file_rows = read_files(tables, snapshot, window_files(snapshot, source, symbols, window))
    return in_window(tables, snapshot, file_rows, source, symbols, window)


def in_window(
    tables: Tables, snapshot: Snapshot, file_rows: pl.DataFrame, source: str, symbols: Sequence[str], window: Window
) -> pl.DataFrame:
    """Current rows of some symbols in a window.

    Args:
        snapshot: of the table that is written to.
        file_rows: `read_files` of its `window_files`.

    Returns:
        All columns of the table, and `file` (null for rows of the standard sibling of a wide table, which count unless a wide row
        has taken their place). Sorted by symbol and timestamp.
    """
    rows = _filter_series(snapshot, file_rows, symbols, window)
    kind = parse_bar_table(snapshot.dataset.name)
    assert kind is not None, "a table of bars"
    if kind[1] is Precision.WIDE:
        sibling = tables.newest(bars_dataset(kind[0]).name)
        older = window_files(sibling, source, symbols, window)
        if older.height:
            standard = _filter_series(sibling, read_files(tables, sibling, older), symbols, window)
            rows = unite(rows, standard.with_columns(pl.lit(None, pl.UInt32).alias(FILE)), _KEY)
    return rows.sort(_KEY) if rows.height else rows


def is_wide(tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str]) -> bool:
    """Whether one of the symbols went wide: what is written of it from then on goes to the wide table."""
    wide = tables.newest(bars_dataset(resolution, Precision.WIDE).name)
    return wide.files.height > 0 and wide.select({"source": source}, holding={"symbol": symbols}).height > 0


def refuse_narrower(tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str]) -> None:
    """A series that went wide stays wide: its standard rows would be hidden behind the wide ones.

    Raises:
        LakeError: one of the symbols has rows in the wide table.
    """
    if is_wide(tables, source, resolution, symbols):
        raise LakeError(
            f"{source} {resolution} bars are stored with wide precision",
            fix=f"set `precision: wide` for source {source}",
        )


def refuse_unrecorded(tables: Tables, source: str, rules: BarRules, rows: pl.DataFrame) -> None:
    """Compare rows that are about to be rewritten with what the ledger recorded of their sessions.

    Args:
        rows: everything that a file holds: `symbol`, `timestamp`, content.

    Raises:
        LakeError: a session that lies in the file as a whole has another fingerprint, or more rows than were recorded.
    """
    sessions = rules.calendar.session_of(rows["timestamp"], rules.resolution).alias("session")
    placed = rows.hstack([sessions])[["symbol", "session", "timestamp", *CONTENT]]
    stored = session_fingerprints(placed, source, rules.resolution, rules.precision)
    if stored.is_empty():
        return
    first, last = stored["session"].min(), stored["session"].max()
    assert isinstance(first, date) and isinstance(last, date)
    symbols = stored["symbol"].unique().to_list()
    known = ledger.current(tables, source, rules.resolution, symbols, (first, last + timedelta(days=1))).filter(
        pl.col("precision") == rules.precision.value
    )
    both = stored.join(
        known.select("symbol", "session", "actual", pl.col("fingerprint").alias("recorded")), on=["symbol", "session"]
    )
    wrong = both.filter(
        ((pl.col("rows") == pl.col("actual")) & (pl.col("fingerprint") != pl.col("recorded")))
        | (pl.col("rows") > pl.col("actual"))
    )
    if wrong.height:
        symbol, session = wrong.select("symbol", "session").row(0)
        raise LakeError(
            f"{source} {symbol} {rules.resolution}: what is stored of session {session} is not what was recorded of it"
            f" ({wrong.height} such session{'s' if wrong.height > 1 else ''}); nothing was changed",
            fix=f"`gb verify {source}:{symbol} --repair` fetches it again",
        )


def filter_window(rows: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The rows whose timestamp lies in a window."""
    if rows.is_empty():
        return rows
    stamps = rows["timestamp"].cast(pl.Int64)
    inside = (stamps >= microseconds(window.start)) & (stamps < microseconds(window.end))
    return rows if inside.all() else rows.filter(inside)


def _filter_series(snapshot: Snapshot, file_rows: pl.DataFrame, symbols: Sequence[str], window: Window) -> pl.DataFrame:
    rows = filter_window(file_rows, window)
    if "symbol" in snapshot.dataset.partitions or rows.is_empty():
        return rows
    return rows.filter(pl.col("symbol").is_in(list(symbols)))
