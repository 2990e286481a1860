"""This module declares the datasets of a lake, each once: schema, key, partitions, order, statistics and period of every table.

Storage, the catalog, compaction, vacuum and verification work from these declarations; a new dataset is one more of them. What the
rows mean is known to those who write them (`bars`, `corporate_actions`, `ledger`, `quarantine`,
`fetches`, `fundamentals`, `listings`, `instruments`, `factors`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pyarrow as pa

from gb_pipeline.market import factor_schema, fundamental_schema, instrument_schema, result_schema, schema, tick_schema
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage.dataset import Dataset, Datasets, Period

BAR_KEY = ("source", "symbol", "timestamp")


@cache
def bars_dataset(resolution: Resolution, precision: Precision = Precision.STANDARD) -> Dataset:
    """Bars of one resolution: files of 10,000 to 100,000 rows.

    Bars of a second are kept per symbol and day, longer intraday bars per symbol and month. Files of days and longer hold a year
    of all symbols of a source, so that a cross-section is a few files.
    """
    period = Period.MONTH if resolution.intraday else Period.YEAR
    return Dataset(
        name=schema.bar_table(resolution, precision),
        columns=schema.bar_columns(precision),
        key=BAR_KEY,
        partition_by=("source", "symbol") if resolution.intraday else ("source",),
        order=("symbol", "timestamp"),
        statistics=("symbol", "timestamp"),
        time="timestamp",
        period=Period.DAY if resolution is Resolution.SECOND else period,
        history=True,
        evidence=("fetched_at",),
    )


SESSIONS = Dataset(
    name="sessions",
    columns=schema.SESSIONS,
    key=("source", "symbol", "resolution", "session"),
    partition_by=("source", "resolution"),
    order=("symbol", "session"),
    statistics=("symbol", "session"),
    time="session",
    period=Period.YEAR,
)
QUARANTINE = Dataset(
    name="quarantine",
    columns=schema.QUARANTINE,
    key=("row_id",),
    partition_by=("source",),
    order=("symbol", "timestamp"),
    statistics=("symbol", "window_start", "window_end"),
    time="quarantined_at",
    period=Period.MONTH,
)
FETCHES = Dataset(
    name="fetches",
    columns=schema.FETCHES,
    key=("source", "symbol", "fetched_at", "window_start", "kind"),
    partition_by=("source",),
    order=("symbol", "window_start"),
    statistics=("symbol", "fetched_at"),
    time="fetched_at",
    period=Period.MONTH,
)
CORPORATE_ACTIONS = Dataset(
    name="corporate_actions",
    columns=schema.CORPORATE_ACTIONS,
    key=("source", "symbol", "ex_date", "kind", "label"),
    partition_by=("source",),
    order=("symbol", "ex_date"),
    statistics=("symbol", "ex_date"),
    history=True,
    evidence=("fetched_at",),
)
FUNDAMENTALS = Dataset(
    name="fundamentals",
    columns=fundamental_schema.FUNDAMENTALS,
    key=("source", "symbol", "statement", "kind", "fiscal_period_end", "item"),
    # What changes every week lies apart from what hardly ever does.
    partition_by=("source", "statement"),
    order=("symbol", "kind", "fiscal_period_end", "item"),
    statistics=("symbol",),
    history=True,
    evidence=("fetched_at",),
)
LISTINGS = Dataset(
    name="listings",
    columns=fundamental_schema.LISTINGS,
    key=("source", "symbol", "ipo_date"),
    partition_by=("source",),
    order=("symbol", "ipo_date"),
    statistics=("symbol",),
    history=True,
    evidence=("fetched_at",),
)
OVERRIDES = Dataset(
    name="overrides",
    columns=schema.OVERRIDES,
    key=("override_id", "vendor_fetched_at"),
    partition_by=("source",),
    order=("symbol", "timestamp"),
    statistics=("symbol", "timestamp"),
)
QUARANTINE_DECISIONS = Dataset(
    name="quarantine_decisions",
    columns=schema.QUARANTINE_DECISIONS,
    key=("row_id", "decision_id"),
    partition_by=("source",),
    order=("symbol", "row_id"),
    statistics=("symbol",),
)
REMOVALS = Dataset(
    name="removals",
    columns=schema.REMOVALS,
    key=("removal_id",),
    partition_by=("source",),
    order=("symbol", "resolution"),
    statistics=("symbol",),
)
INSTRUMENTS = Dataset(
    name="instruments",
    columns=instrument_schema.INSTRUMENTS,
    key=("source", "symbol", "valid_from"),
    partition_by=("source",),
    order=("symbol", "valid_from"),
    statistics=("symbol", "valid_from"),
    history=True,
    evidence=("fetched_at",),
)
ROLLS = Dataset(
    name="rolls",
    columns=instrument_schema.ROLLS,
    key=("source", "symbol", "session"),
    partition_by=("source",),
    order=("symbol", "session"),
    statistics=("symbol", "session"),
    history=True,
)
IDENTIFIER_ANSWERS = Dataset(
    name="identifier_answers",
    columns=instrument_schema.IDENTIFIER_ANSWERS,
    key=("source", "question", "fetched_at"),
    partition_by=("source",),
    order=("question",),
    statistics=("question",),
)


@cache
def stream_dataset(name: str, precision: Precision = Precision.STANDARD) -> Dataset:
    """Trades, updates of order books, their snapshots or quotes: files of a symbol and a day."""
    columns, key = _STREAMS[name]
    return Dataset(
        name=f"{name}_wide" if precision is Precision.WIDE else name,
        columns=columns(precision),
        key=("source", "symbol", *key),
        partition_by=("source", "symbol"),
        order=("timestamp", "receive_time", "ordinal"),
        statistics=("timestamp", "exchange_time", "receive_time"),
        time="timestamp",
        period=Period.DAY,
        # What is traded moves step by step; what changes in a book does not.
        repeated=("price", "size") if name.startswith("book_") else ("size",) if name == "trades" else (),
        distinct=("trade_id",) if name == "trades" else (),
    )


_STREAMS: dict[str, tuple[Callable[[Precision], pa.Schema], tuple[str, ...]]] = {
    "trades": (tick_schema.trade_columns, ("trade_id", "exchange_time", "receive_time", "ordinal", "collector")),
    "book_updates": (tick_schema.book_update_columns, ("receive_time", "ordinal", "collector")),
    "book_snapshots": (tick_schema.book_snapshot_columns, ("receive_time", "ordinal", "collector")),
    # Files have quotes that nobody heard live.
    "quotes": (tick_schema.quote_columns, ("exchange_time", "receive_time", "ordinal", "collector")),
}
STREAM_TABLES = tuple(_STREAMS)
CONNECTION_EVENTS = Dataset(
    name="connection_events",
    columns=tick_schema.CONNECTION_EVENTS,
    key=("source", "collector", "connection", "event_time", "kind", "symbol"),
    partition_by=("source",),
    order=("event_time",),
    statistics=("timestamp", "event_time"),
    time="timestamp",
    period=Period.MONTH,
)
STREAM_INTERVALS = Dataset(
    name="stream_intervals",
    columns=tick_schema.STREAM_INTERVALS,
    key=("source", "symbol", "dataset", "collector", "start_time", "kind"),
    partition_by=("source", "dataset"),
    order=("symbol", "start_time"),
    statistics=("symbol", "timestamp", "start_time", "end_time"),
    time="timestamp",
    period=Period.MONTH,
)
WATERMARKS = Dataset(
    name="watermarks",
    columns=tick_schema.WATERMARKS,
    key=("source", "dataset", "collector", "segment"),
    partition_by=("source",),
    order=("dataset", "through_time"),
    statistics=("timestamp", "through_time"),
    time="timestamp",
    period=Period.MONTH,
)


def _results(name: str, columns: pa.Schema, key: tuple[str, ...], order: tuple[str, ...]) -> Dataset:
    """A table of what backtests found: files of a month of some strategies, in which the rows of a run lie together."""
    return Dataset(
        name=name,
        columns=columns,
        key=("run_key", "save_id", *key),
        partition_by=("shard",),
        order=("run_key", "save_id", *order),
        statistics=("strategy", "run_key", "started_at"),
        time="started_at",
        period=Period.MONTH,
    )


RUNS = _results("runs", result_schema.RUNS, (), ())
METRICS = _results("metrics", result_schema.METRICS, ("name",), ("name",))
EQUITY = _results("equity", result_schema.EQUITY, ("name", "timestamp"), ("name", "timestamp"))
FILLS = _results("fills", result_schema.FILLS, ("ordinal",), ("ordinal",))
POSITIONS = _results("positions", result_schema.POSITIONS, ("ordinal",), ("ordinal",))
RESULT_NOTES = Dataset(
    name="result_notes",
    columns=result_schema.RESULT_NOTES,
    key=("note_id",),
    partition_by=("shard",),
    order=("strategy", "version", "noted_at"),
    statistics=("strategy", "noted_at"),
)
RESULT_TABLES = (RUNS, METRICS, EQUITY, FILLS, POSITIONS, RESULT_NOTES)
FACTORS = Dataset(
    name="factors",
    columns=factor_schema.FACTORS,
    key=("factor_set", "factor", "symbol", "session"),
    partition_by=("factor_set",),
    # Whoever reads one factor of many opens few row groups.
    order=("factor", "symbol", "session"),
    statistics=("factor", "symbol", "session"),
    time="session",
    period=Period.MONTH,
    history=True,
    evidence=("data_as_of",),
)
FACTOR_RUNS = Dataset(
    name="factor_runs",
    columns=factor_schema.FACTOR_RUNS,
    key=("factor_set", "start", "end", "computed_at"),
    partition_by=("factor_set",),
    order=("start", "computed_at"),
    statistics=("start", "computed_at"),
)

ALL = Datasets(
    [
        *(
            bars_dataset(resolution, precision)
            for resolution in Resolution
            if resolution is not Resolution.TICK
            for precision in Precision
        ),
        SESSIONS,
        QUARANTINE,
        FETCHES,
        CORPORATE_ACTIONS,
        FUNDAMENTALS,
        LISTINGS,
        OVERRIDES,
        REMOVALS,
        QUARANTINE_DECISIONS,
        INSTRUMENTS,
        ROLLS,
        IDENTIFIER_ANSWERS,
        *(stream_dataset(name, precision) for name in STREAM_TABLES for precision in Precision),
        CONNECTION_EVENTS,
        STREAM_INTERVALS,
        WATERMARKS,
        *RESULT_TABLES,
        FACTORS,
        FACTOR_RUNS,
    ]
)


@cache
def parse_bar_table(name: str) -> tuple[Resolution, Precision] | None:
    """Resolution and precision of a table of bars; None for any other table."""
    match = re.fullmatch(r"bars_(.+?)(_wide)?", name)
    if match is None:
        return None
    return Resolution.parse(match[1]), Precision.WIDE if match[2] else Precision.STANDARD
