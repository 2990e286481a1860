"""This module compares stored bars with what the ledger recorded of them, without a calendar.

Bars are placed in the sessions that the ledger knows, by their first and last bar; then counts and fingerprints are compared.
Compaction and verification do this before they trust what they have read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import CompactionRefused
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.lake.precisions import unite
from gb_pipeline.lake.stored import window_files
from gb_pipeline.market.repeated import repeated
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import describe_runs, fingerprint_runs
from gb_pipeline.quality.runs import Integers, SessionRuns, expand, row_runs, rows_of, session_runs, whole_numbers
from gb_pipeline.storage import reading
from gb_pipeline.storage.compaction import Proof
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset
from gb_pipeline.storage.table import Tables

# Sessions may begin up to a day before and end up to a day after their date, in UTC; a label may stand for a month.
_MARGIN = timedelta(days=32)
_SESSION = ["symbol", "session"]
_ROW = [*_SESSION, "timestamp", *CONTENT]
_MISMATCHES = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), "rows": pl.Int64(), "actual": pl.Int64(), "problem": pl.String()}
)


def proof(tables: Tables) -> Proof:
    """The proof that compaction runs before it rewrites partitions: current bars are those that the ledger recorded."""

    def begin(dataset: Dataset, files: pl.DataFrame) -> _LedgerComparison | None:
        kind = parse_bar_table(dataset.name)
        current = files.filter(IS_CURRENT) if kind is not None else files.clear()
        return None if kind is None or current.is_empty() else _LedgerComparison(tables, dataset, *kind, current)

    return begin


class _LedgerComparison:
    """Bars of some files against the ledger, which is read once for all of them."""

    def __init__(
        self, tables: Tables, dataset: Dataset, resolution: Resolution, precision: Precision, files: pl.DataFrame
    ) -> None:
        self.tables, self.dataset, self.resolution, self.precision = tables, dataset, resolution, precision
        self._recorded = {
            source: _read_recorded(
                tables,
                source,
                resolution,
                of_source["symbol"].unique().to_list() if "symbol" in dataset.partition_by else None,
                of_source["min.timestamp"].min(),
                of_source["max.timestamp"].max(),
            )
            for (source,), of_source in files.group_by("source")
        }
        # Rows of sessions that go on in other partitions.
        self._incomplete: list[tuple[str, pl.DataFrame]] = []

    def compare(self, values: Mapping[str, Any], rows: pl.DataFrame) -> None:
        """Compare the current rows of a partition; those of sessions of which it has a part only are left to `finish`."""
        if not values[IS_CURRENT]:
            return
        source = values["source"]
        if "symbol" not in rows.columns:
            rows = rows.hstack([repeated("symbol", values["symbol"], pl.String(), rows.height)])
        incomplete = self._refuse_mismatches(source, rows[["symbol", "timestamp", *CONTENT]], values.get("symbol"))
        if incomplete.height:
            self._incomplete.append((source, incomplete))

    def finish(self) -> None:
        """Compare the sessions that lie in several partitions."""
        for source in {source for source, _ in self._incomplete}:
            parts = [rows for part_source, rows in self._incomplete if part_source == source]
            self._refuse_mismatches(source, pl.concat(parts).sort("symbol", "timestamp"))

    def _refuse_mismatches(self, source: str, rows: pl.DataFrame, symbol: str | None = None) -> pl.DataFrame:
        """Raise where rows, of one symbol or of any, are not those that were recorded; see `_compare` for what is returned."""
        low, high = _range(rows["timestamp"].min(), rows["timestamp"].max())
        recorded = self._recorded[source]
        sessions, symbols = recorded["session"], recorded["symbol"]
        of_these = symbols.is_in(rows["symbol"].unique().implode()) if symbol is None else symbols == symbol
        near = recorded.filter((sessions >= low) & (sessions < high) & of_these)
        mismatches, incomplete = _compare(self.tables, source, self.resolution, self.precision, rows, near)
        if mismatches.height:
            symbol, session, problem = mismatches.select("symbol", "session", "problem").row(0)
            raise CompactionRefused(
                f"{self.dataset.name} {source} {symbol}, session {session}: {problem}"
                f" ({mismatches.height} such session{'s' if mismatches.height > 1 else ''}); nothing was changed",
                fix=f"`gb verify {source}:{symbol} --repair` fetches it again",
            )
        return incomplete


def find_mismatches(
    tables: Tables, source: str, resolution: Resolution, precision: Precision, rows: pl.DataFrame
) -> pl.DataFrame:
    """Sessions whose stored bars are not those that the ledger recorded.

    Args:
        rows: current bars of whole partitions, `symbol`, `timestamp` and content, sorted by symbol and timestamp.

    Returns:
        `symbol`, `session`, `rows`, `actual` (what the ledger counts), `problem`; empty where all is as recorded. Sessions of which
        `rows` may hold a part only are not compared.
    """
    if rows.is_empty():
        return pl.DataFrame(schema=_MISMATCHES)
    symbols = rows["symbol"].unique().to_list()
    recorded = _read_recorded(tables, source, resolution, symbols, rows["timestamp"].min(), rows["timestamp"].max())
    return _compare(tables, source, resolution, precision, rows, recorded)[0]


def _read_recorded(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str] | None, first: object, last: object
) -> pl.DataFrame:
    """What the ledger says about bars from a first to a last timestamp."""
    return ledger.current(tables, source, resolution, symbols, _range(first, last)).select(
        "symbol",
        "session",
        "actual",
        "precision",
        "first_timestamp",
        "last_timestamp",
        pl.col("fingerprint").alias("recorded"),
    )


def _range(first: object, last: object) -> tuple[date, date]:
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return _days_before(first.date()), _days_after(last.date())


def _compare(
    tables: Tables,
    source: str,
    resolution: Resolution,
    precision: Precision,
    rows: pl.DataFrame,
    recorded: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `find_mismatches` returns, and the rows of sessions of which `rows` have a part only."""
    if resolution.intraday:
        runs, records, unplaced = _place_between_edges(rows, recorded)
        if unplaced.is_empty() and _are_as_recorded(runs, records, source, resolution, precision):
            return pl.DataFrame(schema=_MISMATCHES), rows.clear()
    else:
        runs, unplaced = place_bars(rows, recorded, resolution)
    own_records = recorded.filter(pl.col("precision") == precision.value)
    compared = describe_runs(runs, source, resolution, precision).join(own_records, on=_SESSION)
    differs = (pl.col("rows") != pl.col("actual")) | pl.col("fingerprint").ne_missing(pl.col("recorded"))
    if unplaced.is_empty() and not compared.select(differs.any()).item():
        return pl.DataFrame(schema=_MISMATCHES), rows.clear()
    complete = _complete_sessions(bars_dataset(resolution, precision), runs, own_records)
    if precision is Precision.WIDE:
        whole = own_records.join(complete, on=_SESSION, how="semi")
        runs = session_runs(_with_standard(tables, source, resolution, rows_of(runs).select(_ROW), whole))
        compared = describe_runs(runs, source, resolution, precision).join(own_records, on=_SESSION)
    compared = compared.join(complete.with_columns(pl.lit(True).alias("whole")), on=_SESSION, how="left")
    mismatches = compared.with_columns(
        pl.when((pl.col("rows") > pl.col("actual")) | ((pl.col("rows") < pl.col("actual")) & pl.col("whole")))
        .then(pl.format("{} bars are stored where {} were recorded", "rows", "actual"))
        .when((pl.col("rows") == pl.col("actual")) & pl.col("fingerprint").ne_missing(pl.col("recorded")))
        .then(pl.lit("its bars are not those that were recorded"))
        .alias("problem")
    ).drop_nulls("problem")
    unplaced_days = unplaced.group_by("symbol", pl.col("timestamp").dt.date().alias("session")).agg(
        pl.len().cast(pl.Int64).alias("rows")
    )
    unrecorded = unplaced_days.with_columns(
        pl.lit(0, pl.Int64).alias("actual"), pl.format("{} bars lie in no recorded session", "rows").alias("problem")
    )
    parts = [part.select(_MISMATCHES.names()).cast(_MISMATCHES) for part in (mismatches, unrecorded)]
    in_part = compared.filter((pl.col("rows") < pl.col("actual")) & pl.col("whole").is_null())
    incomplete = rows.clear()
    if in_part.height:
        incomplete = rows_of(runs).join(in_part.select(_SESSION), on=_SESSION, how="semi").select(rows.columns)
    return pl.concat(parts).sort(_SESSION), incomplete


def _are_as_recorded(
    runs: SessionRuns, records: pl.DataFrame, source: str, resolution: Resolution, precision: Precision
) -> bool:
    """Whether all sessions have as many bars as were recorded, and just these; without a question to Polars' engine."""
    return bool(
        records["recorded"].null_count() == 0
        and (records["precision"] == precision.value).all()
        and (records["actual"].to_numpy() == runs.counts).all()
        and (records["recorded"].to_numpy() == fingerprint_runs(runs, source, resolution, precision)).all()
    )


def _complete_sessions(dataset: Dataset, runs: SessionRuns, recorded: pl.DataFrame) -> pl.DataFrame:
    """`symbol` and `session` of recorded sessions whose partitions are all among those of the rows."""
    symbol_column = ["symbol"] if "symbol" in dataset.partition_by else []
    period = str(dataset.period)
    stamps = runs.frame["timestamp"]
    # The first and the last row of a session tell all periods that it reaches into.
    days = pl.concat(
        [
            pl.DataFrame([runs.symbols, stamps[rows].dt.date().alias("day")]).select(*symbol_column, "day").unique()
            for rows in (runs.starts, runs.starts + runs.counts - 1)
        ]
    )
    periods = days.select(*symbol_column, pl.col("day").dt.strftime(period).alias("period")).unique()
    edges = recorded.drop_nulls("first_timestamp").select(
        *_SESSION, *(pl.col(f"{edge}_timestamp").dt.strftime(period).alias(edge) for edge in ("first", "last"))
    )
    for edge in ("first", "last"):
        edges = edges.join(periods, left_on=[*symbol_column, edge], right_on=[*symbol_column, "period"], how="semi")
    return edges.select(_SESSION)


def _with_standard(
    tables: Tables, source: str, resolution: Resolution, wide: pl.DataFrame, recorded: pl.DataFrame
) -> pl.DataFrame:
    """Wide rows, and what the standard table holds of their sessions: a session may share its bars between both.

    Args:
        wide: `symbol`, `session`, `timestamp` and content, of sessions that are whole or are left as they are.
        recorded: rows of the ledger about sessions that are whole.
    """
    counts = wide.group_by(_SESSION).len()
    incomplete = recorded.join(counts, on=_SESSION).filter(pl.col("len") < pl.col("actual"))
    if incomplete.is_empty():
        return wide
    sibling = tables.newest(bars_dataset(resolution).name)
    first, last = incomplete["first_timestamp"].min(), incomplete["last_timestamp"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    window = Window(first, last + timedelta(microseconds=1))
    symbols = incomplete["symbol"].unique().to_list()
    standard = reading.read(
        tables.storage,
        sibling.dataset,
        window_files(sibling, source, symbols, window),
        ["symbol", "timestamp", *CONTENT],
        between=("timestamp", window.start, window.end),
    ).filter(pl.col("symbol").is_in(symbols))
    placed, _ = place_bars(standard.sort("symbol", "timestamp"), incomplete, resolution)
    return unite(wide, rows_of(placed), ["symbol", "timestamp"]).sort("symbol", "timestamp")


def place_bars(rows: pl.DataFrame, recorded: pl.DataFrame, resolution: Resolution) -> tuple[SessionRuns, pl.DataFrame]:
    """The recorded sessions of rows, and the rows that lie in none of them.

    Args:
        rows: sorted by symbol and timestamp.
        recorded: `symbol`, `session`, `first_timestamp`, `last_timestamp`.
    """
    if not resolution.intraday:
        days = recorded.select("symbol", "session", pl.lit(True).alias("is_recorded"))
        labelled = rows.with_columns(pl.col("timestamp").dt.date().alias("session"))
        placed = labelled.join(days, on=_SESSION, how="left", maintain_order="left")
        unplaced = placed.filter(pl.col("is_recorded").is_null())
        return session_runs(placed.drop_nulls("is_recorded") if unplaced.height else placed), unplaced
    runs, _, unplaced = _place_between_edges(rows, recorded)
    return runs, unplaced


def _place_between_edges(rows: pl.DataFrame, recorded: pl.DataFrame) -> tuple[SessionRuns, pl.DataFrame, pl.DataFrame]:
    """What `place_bars` returns of bars within days, and between the two the record of every run."""
    edges = _sort_edges(recorded)
    starts, ends = _edges_in_rows(rows, edges)
    is_stored = starts < ends
    records, counts = edges.filter(pl.Series(is_stored)), (ends - starts)[is_stored]
    symbols, sessions = records["symbol"], records["session"]
    if counts.sum() == rows.height:
        # No two of them overlap, so they hold every row.
        return SessionRuns(rows, starts[is_stored], counts, symbols, sessions), records, rows.clear()
    covered = expand(starts[is_stored], counts)
    is_covered = np.zeros(rows.height, dtype=bool)
    is_covered[covered] = True
    firsts = np.cumsum(counts) - counts
    unplaced = rows.filter(~pl.Series(is_covered))
    return SessionRuns(rows[covered], firsts, counts, symbols, sessions), records, unplaced


def _sort_edges(recorded: pl.DataFrame) -> pl.DataFrame:
    """Records of sessions with bars, by symbol and first bar, as those of one symbol mostly are."""
    edges = recorded.drop_nulls("first_timestamp") if recorded["first_timestamp"].null_count() else recorded
    starts, _ = row_runs(edges, ["symbol"])
    if len(starts) == 1 and edges["first_timestamp"].is_sorted():
        return edges
    return edges.sort("symbol", "first_timestamp")


def _edges_in_rows(rows: pl.DataFrame, edges: pl.DataFrame) -> tuple[Integers, Integers]:
    """Where each recorded session begins and ends in rows; one ends at the latest where the next one begins.

    Args:
        edges: `symbol`, `first_timestamp`, `last_timestamp`, sorted by the first two.
    """
    stamps = whole_numbers(rows["timestamp"])
    firsts, lasts = whole_numbers(edges["first_timestamp"]), whole_numbers(edges["last_timestamp"])
    starts, ends = np.zeros(edges.height, np.int64), np.zeros(edges.height, np.int64)
    row_starts, row_counts = row_runs(rows, ["symbol"])
    rows_of_symbol = dict(
        zip(rows["symbol"][row_starts], zip(row_starts, row_starts + row_counts, strict=True), strict=True)
    )
    edge_starts, edge_counts = row_runs(edges, ["symbol"])
    for symbol, low, count in zip(edges["symbol"][edge_starts], edge_starts, edge_counts, strict=True):
        if symbol not in rows_of_symbol:
            continue
        first_row, end_row = rows_of_symbol[symbol]
        here, own = slice(low, low + count), stamps[first_row:end_row]
        starts[here] = first_row + np.searchsorted(own, firsts[here], "left")
        after_last = first_row + np.searchsorted(own, lasts[here], "right")
        ends[here] = np.minimum(after_last, np.append(starts[here][1:], end_row))
    return starts, ends


def _days_before(day: date) -> date:
    return day - min(_MARGIN, day - date.min)


def _days_after(day: date) -> date:
    return day + min(_MARGIN, date.max - day)
