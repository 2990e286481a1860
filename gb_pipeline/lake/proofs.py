"""This module compares stored bars with what the ledger recorded of them, without a calendar.

Bars are placed in the sessions that the ledger knows, by their first and last bar; then counts and fingerprints are compared.
Compaction and verification do this before they trust what they have read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import CompactionRefused
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.lake.precisions import unite
from gb_pipeline.lake.stored import window_files
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline.storage import reading
from gb_pipeline.storage.compaction import Proof
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset
from gb_pipeline.storage.table import Tables

# Sessions may begin up to a day before and end up to a day after their date, in UTC; a label may stand for a month.
_MARGIN = timedelta(days=32)
_SESSION = ["symbol", "session"]
_MISMATCHES = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), "rows": pl.Int64(), "actual": pl.Int64(), "problem": pl.String()}
)


def proof(tables: Tables) -> Proof:
    """The proof that compaction runs before it rewrites a partition.

    The returned function raises `CompactionRefused` where current bars are not those that the ledger recorded.
    """

    def prove(dataset: Dataset, partitions: Sequence[tuple[Mapping[str, Any], pl.DataFrame]]) -> None:
        kind = parse_bar_table(dataset.name)
        if kind is None:
            return
        by_source: dict[str, list[pl.DataFrame]] = {}
        for values, rows in partitions:
            if values[IS_CURRENT]:
                with_symbol = (
                    rows if "symbol" in rows.columns else rows.with_columns(pl.lit(values["symbol"]).alias("symbol"))
                )
                by_source.setdefault(values["source"], []).append(with_symbol.select("symbol", "timestamp", *CONTENT))
        for source, parts in by_source.items():
            mismatches = find_mismatches(tables, source, *kind, _by_symbol(parts))
            if mismatches.height:
                symbol, session, problem = mismatches.select("symbol", "session", "problem").row(0)
                raise CompactionRefused(
                    f"{dataset.name} {source} {symbol}, session {session}: {problem}"
                    f" ({mismatches.height} such session{'s' if mismatches.height > 1 else ''}); nothing was changed",
                    fix=f"`gb verify {source}:{symbol} --repair` fetches it again",
                )

    return prove


def _by_symbol(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Rows sorted by symbol and timestamp; parts that are sorted only have to be put in order."""
    firsts = [
        (frame["symbol"][0], frame["symbol"][-1], frame["timestamp"][0], number) for number, frame in enumerate(parts)
    ]
    rows = pl.concat([parts[number] for *_, number in sorted(firsts)])
    if all(first == last for first, last, *_ in firsts):
        return rows
    return rows.sort("symbol", "timestamp")


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
    first, last = rows["timestamp"].min(), rows["timestamp"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    symbols = rows["symbol"].unique().to_list()
    days = _days_before(first.date()), _days_after(last.date())
    recorded = ledger.current(tables, source, resolution, symbols, days).select(
        "symbol",
        "session",
        "actual",
        "precision",
        "first_timestamp",
        "last_timestamp",
        pl.col("fingerprint").alias("recorded"),
    )
    placed = _place_in_sessions(rows, recorded, resolution)
    unplaced = placed.filter(pl.col("session").is_null())
    in_sessions = placed.drop_nulls("session").select("symbol", "session", "timestamp", *CONTENT)
    own_records = recorded.filter(pl.col("precision") == precision.value)
    complete = _complete_sessions(bars_dataset(resolution, precision), rows, own_records)
    if precision is Precision.WIDE:
        in_sessions = _with_standard(
            tables, source, resolution, in_sessions, own_records.join(complete, on=_SESSION, how="semi")
        )
    fingerprints = session_fingerprints(in_sessions, source, resolution, precision)
    compared = fingerprints.join(own_records, on=_SESSION).join(
        complete.with_columns(pl.lit(True).alias("whole")), on=_SESSION, how="left"
    )
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
    return pl.concat(parts).sort(_SESSION)


def _complete_sessions(dataset: Dataset, rows: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """`symbol` and `session` of recorded sessions whose partitions are all among those of the rows."""
    symbol_column = ["symbol"] if "symbol" in dataset.partition_by else []
    period = str(dataset.period)
    # Far fewer days than rows have to be written as text.
    days = rows.select(*symbol_column, pl.col("timestamp").dt.date().alias("day")).unique()
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
    placed = _place_in_sessions(standard.sort("symbol", "timestamp"), incomplete, resolution).drop_nulls("session")
    return unite(wide, placed, ["symbol", "timestamp"]).sort("symbol", "timestamp")


def _place_in_sessions(rows: pl.DataFrame, recorded: pl.DataFrame, resolution: Resolution) -> pl.DataFrame:
    """Rows with their session, null where none that is recorded has them between its first and last bar."""
    if not resolution.intraday:
        recorded_days = recorded.select("symbol", "session", pl.lit(True).alias("known"))
        labelled = rows.with_columns(pl.col("timestamp").dt.date().alias("session"))
        return labelled.join(recorded_days, on=["symbol", "session"], how="left", maintain_order="left").with_columns(
            pl.when("known").then("session").alias("session")
        )
    edges = recorded.drop_nulls("first_timestamp").select("symbol", "session", "first_timestamp", "last_timestamp")
    placed = rows.join_asof(
        edges.sort("symbol", "first_timestamp"),
        left_on="timestamp",
        right_on="first_timestamp",
        by="symbol",
        strategy="backward",
        check_sortedness=False,
    )
    inside = pl.col("timestamp") <= pl.col("last_timestamp")
    return placed.with_columns(pl.when(inside).then("session").alias("session"))


def _days_before(day: date) -> date:
    return day - min(_MARGIN, day - date.min)


def _days_after(day: date) -> date:
    return day + min(_MARGIN, date.max - day)
