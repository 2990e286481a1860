"""This module makes the catalog's tables as frames, from the Delta logs and the small ledgers.

No data file of a bars table is ever opened. DuckDB is dealt with in `projection` and `views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS, parse_bar_table
from gb_pipeline.lake.decisions import Decision
from gb_pipeline.lake.explained import INCIDENT_COLUMNS
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, bar_table
from gb_pipeline.quality.fingerprint import fingerprint_text
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings

SERIES = ["source", "symbol", "resolution"]

FILES = pl.Schema(
    {
        "table": pl.String(),
        "source": pl.String(),
        "symbol": pl.String(),
        "resolution": pl.String(),
        "precision": pl.String(),
        "period": pl.String(),
        "path": pl.String(),
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
        "first_symbol": pl.String(),
        "last_symbol": pl.String(),
        "first_timestamp": INSTANT,
        "last_timestamp": INSTANT,
        "first_known": INSTANT,
        "last_known": INSTANT,
        "is_current": pl.Boolean(),
    }
)
COVERAGE = [name for name in SESSIONS.schema.names if name not in {"gaps", "table_version", "fetched_at", PERIOD}]
GAPS = pl.Schema(
    {
        **dict.fromkeys(SERIES, pl.String()),
        "session": pl.Date(),
        "start": INSTANT,
        "end": INSTANT,
        "missing": pl.Int64(),
        "reason": pl.String(),
        **INCIDENT_COLUMNS,
    }
)
SYMBOL_DATA = pl.Schema(
    {
        "source": pl.String(),
        "symbol": pl.String(),
        "exchange": pl.String(),
        "asset_class": pl.String(),
        "resolution": pl.String(),
        "start": INSTANT,
        "end": INSTANT,
        "record_count": pl.Int64(),
        "file_path": pl.String(),
        "bytes": pl.Int64(),
        "created_at": INSTANT,
        "updated_at": INSTANT,
        "adjustment": pl.String(),
        "listed_from": pl.Date(),
        "listed_until": pl.Date(),
    }
)
# A series of which nothing but such sessions is known was removed as a whole, and is in no list.
_GONE = [status.value for status in (SessionStatus.REMOVED, SessionStatus.CLOSED, SessionStatus.NOT_LISTED)]
INSTRUMENTS = pl.Schema(
    {
        **dict.fromkeys((*SERIES, "exchange", "asset_class"), pl.String()),
        "listed_from": pl.Date(),
        "listed_until": pl.Date(),
    }
)


def bar_tables(tables: Tables) -> list[str]:
    """Names of the bars tables that the lake has."""
    return [snapshot.dataset.name for snapshot in tables.existing(damaged=[]) if parse_bar_table(snapshot.dataset.name)]


def file_list(tables: Tables, as_of: datetime | None = None) -> pl.DataFrame:
    """Every data file of every bars table, as the logs list them; columns of `FILES`, in the order of table and path.

    Args:
        as_of: only those that may hold what was known at this moment.

    Raises:
        DamagedLog: what one of the tables holds is not known; a list without it would be taken for all there is.
    """
    names = [dataset.name for dataset in tables.possible() if parse_bar_table(dataset.name)]
    snapshots = [snapshot for snapshot in map(tables.newest, names) if snapshot.version >= 0]
    lists = [_files_of(tables, snapshot, as_of) for snapshot in snapshots]
    return pl.concat(lists).sort("table", "path") if lists else pl.DataFrame(schema=FILES)


def _files_of(tables: Tables, snapshot: Snapshot, as_of: datetime | None) -> pl.DataFrame:
    kind = parse_bar_table(snapshot.dataset.name)
    assert kind is not None, "a table of bars"
    files = snapshot.files if as_of is None else reading.files_valid_at(snapshot.files, as_of)
    by_symbol = "symbol" in snapshot.dataset.partitions
    root = f"{tables.storage.table_name(snapshot.dataset.name)}/"
    return files.select(
        pl.lit(snapshot.dataset.name).alias("table"),
        "source",
        pl.col("symbol") if by_symbol else pl.lit(None, pl.String).alias("symbol"),
        pl.lit(kind[0].value).alias("resolution"),
        pl.lit(kind[1].value).alias("precision"),
        "period",
        (pl.lit(root) + pl.col("path")).alias("path"),
        "rows",
        pl.col("size").alias("bytes"),
        pl.col("symbol" if by_symbol else "min.symbol").alias("first_symbol"),
        pl.col("symbol" if by_symbol else "max.symbol").alias("last_symbol"),
        pl.col("min.timestamp").alias("first_timestamp"),
        pl.col("max.timestamp").alias("last_timestamp"),
        pl.col("min.known_at").alias("first_known"),
        pl.col("max.known_at").alias("last_known"),
        IS_CURRENT,
    ).cast(FILES)


def coverage(sessions: pl.DataFrame) -> pl.DataFrame:
    """One row per source, symbol, resolution and session: what is expected, stored and missing.

    Args:
        sessions: valid rows of the ledger, as `explained.read_sessions` returns them.
    """
    return sessions.select(COVERAGE).with_columns(fingerprint_text(sessions["fingerprint"]).alias("fingerprint"))


def gaps(sessions: pl.DataFrame) -> pl.DataFrame:
    """One row per run of missing bars, columns of `GAPS`, in the order of the sessions."""
    runs = sessions.select(*SERIES, "session", "gaps").explode("gaps", empty_as_null=False, keep_nulls=False)
    fields = [pl.col("gaps").struct.field(name) for name in ("start", "end", "missing", "reason")]
    kind = sessions.schema["gaps"]
    # Without an incident, nothing is said of any.
    is_explained = isinstance(kind, pl.List) and "incident" in dict(kind.inner)  # type: ignore[call-overload]
    fields += [
        pl.col("gaps").struct.field(name) if is_explained else pl.lit(None).alias(name) for name in INCIDENT_COLUMNS
    ]
    return runs.select(*SERIES, "session", *fields).cast(GAPS)


def symbol_data(
    tables: Tables,
    listed: pl.DataFrame,
    sessions: pl.DataFrame,
    instruments: pl.DataFrame | None = None,
    *,
    by_log: bool = True,
) -> pl.DataFrame:
    """One row per series, columns of `SYMBOL_DATA`.

    An intraday series of one precision is counted by its files: `record_count`, `start` and `end` are what the log
    says. Where a file holds many symbols, or a wide table hides rows of its sibling, they come from the
    ledger of sessions; `bytes` of a file of many symbols are shared out by rows. `file_path` is the folder of the files.
    `adjustment` says what was done to the prices, `raw` or `split`; null without a bar. A series that was removed as a whole is not
    among them.

    Args:
        listed: `file_list(tables)`.
        sessions: valid rows of the ledger.
        instruments: columns of `INSTRUMENTS`; unknown instruments have an empty exchange and no asset class.
        by_log: False counts by the ledger alone, as for a moment of the past: files hold later rows as well.
    """
    is_gone = pl.col("status").is_in(_GONE).all() & (pl.col("status") == SessionStatus.REMOVED.value).any()
    left = sessions.filter(~is_gone.over(SERIES)) if sessions.height else sessions
    by_ledger = left.group_by(SERIES).agg(
        pl.col("first_timestamp").min().alias("start"),
        pl.col("last_timestamp").max().alias("end"),
        pl.col("actual").sum().alias("record_count"),
        (pl.col("precision") == "wide").any().alias("wide"),
        pl.col("known_at").min().alias("created_at"),
        pl.col("known_at").max().alias("updated_at"),
        # A series never changes it; rows without bars may be of before anything was known.
        pl.col("adjustment").filter(pl.col("actual") > 0).fill_null("raw").first().alias("adjustment"),
    )
    current = listed.filter(IS_CURRENT)
    by_files = _count_by_files(current)
    shared = _shared_files(current, by_ledger)
    listed_instruments = pl.DataFrame(schema=INSTRUMENTS) if instruments is None else instruments
    joined = (
        by_ledger.join(by_files, on=SERIES, how="full", coalesce=True, suffix="_logged")
        .join(shared, on=SERIES, how="left", suffix="_shared")
        .join(listed_instruments, on=SERIES, how="left")
    )
    # Several precisions may hold the same bar twice; only the ledger counts it once.
    count_by_log = pl.col("record_count_logged").is_not_null() & (pl.col("precisions") == 1) & pl.lit(by_log)
    return (
        joined.with_columns(
            *(
                pl.when(count_by_log).then(f"{name}_logged").otherwise(name).alias(name)
                for name in ("start", "end", "record_count")
            ),
            pl.coalesce("bytes", "bytes_shared", 0).alias("bytes"),
            pl.coalesce("wide_logged", "wide", False).alias("wide"),
            pl.coalesce("created_at", "created_at_logged").alias("created_at"),
            pl.coalesce("updated_at", "updated_at_logged").alias("updated_at"),
            pl.col("exchange").fill_null(""),
        )
        .with_columns(_folders(tables).alias("file_path"))
        .select(SYMBOL_DATA.names())
        .cast(SYMBOL_DATA)
        .sort("source", "symbol", "resolution")
    )


def _count_by_files(listed: pl.DataFrame) -> pl.DataFrame:
    return (
        listed.filter(pl.col("symbol").is_not_null())
        .group_by(SERIES)
        .agg(
            pl.col("first_timestamp").min().alias("start"),
            pl.col("last_timestamp").max().alias("end"),
            pl.col("rows").sum().alias("record_count"),
            pl.col("bytes").sum(),
            pl.col("first_known").min().alias("created_at"),
            pl.col("last_known").max().alias("updated_at"),
            pl.col("precision").n_unique().alias("precisions"),
            (pl.col("precision") == "wide").any().alias("wide"),
        )
    )


def _shared_files(listed: pl.DataFrame, by_ledger: pl.DataFrame) -> pl.DataFrame:
    """Bytes of files that hold many symbols, shared out by stored bars."""
    totals = (
        listed.filter(pl.col("symbol").is_null())
        .group_by("source", "resolution")
        .agg(pl.col("bytes").sum().cast(pl.Float64))
    )
    share = pl.col("record_count") / pl.col("record_count").sum().over("source", "resolution")
    return by_ledger.join(totals, on=["source", "resolution"]).select(
        *SERIES, (pl.col("bytes") * share).fill_nan(0).round().cast(pl.Int64).alias("bytes")
    )


def _folders(tables: Tables) -> pl.Expr:
    """The folder of a series' files: its own where the layout has one, else the source's; empty without a bar."""
    folder: pl.Expr = pl.lit("")
    for resolution in Resolution:
        if resolution is Resolution.TICK:
            continue
        standard = tables.storage.table_name(bar_table(resolution))
        root = (
            pl.when("wide")
            .then(pl.lit(tables.storage.table_name(bar_table(resolution, Precision.WIDE))))
            .otherwise(pl.lit(standard))
        )
        parts = [root, pl.lit("/source="), pl.col("source")]
        if resolution.intraday:
            parts += [pl.lit("/symbol="), pl.col("symbol")]
        folder = pl.when(pl.col("resolution") == resolution.value).then(pl.concat_str(parts)).otherwise(folder)
    return pl.when(pl.col("record_count") > 0).then(folder).otherwise(pl.lit(""))


def instruments_of(sources: Mapping[str, SourceSettings]) -> pl.DataFrame:
    """Exchange, asset class and listing of every series that the settings name; columns of `INSTRUMENTS`."""
    rows = [
        (name, symbol.code, resolution.value, symbol.exchange, symbol.asset_class.value, *settings.listing(symbol))
        for name, settings in sources.items()
        for symbol in settings.instruments
        for resolution in settings.resolutions
    ]
    return pl.DataFrame(rows, schema=INSTRUMENTS, orient="row")


def quarantine_summary(refused: pl.DataFrame) -> pl.DataFrame:
    """Refused rows by series, session and reason, and how many are open, released and dropped; a row that breaks two rules
    counts under both.

    Args:
        refused: columns of the dataset `quarantine`, and `decision`, as `decisions.with_decisions` returns them.
    """
    keys = [*SERIES, "session", pl.col("reasons").alias("reason")]
    return (
        refused.explode("reasons", empty_as_null=True, keep_nulls=True)
        .group_by(keys)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            *(
                (pl.col("decision") == decision.value).sum().cast(pl.Int64).alias(decision.value)
                for decision in Decision
            ),
            pl.col("timestamp").min().alias("first_timestamp"),
            pl.col("timestamp").max().alias("last_timestamp"),
            pl.col("quarantined_at").max().alias("quarantined_at"),
            pl.col("row").first().alias("example"),
        )
        .sort(*SERIES, "session", "reason")
    )


def fetch_summary(calls: pl.DataFrame) -> pl.DataFrame:
    """Vendor calls by series, kind and outcome: how many, how much, how long, and the newest error.

    Kinds are `bars`, `corporate_actions`, `instruments`; the latter two have an empty resolution.

    Args:
        calls: columns of the dataset `fetches`, as `fetches.read` returns them.
    """
    last_error = pl.col("message").filter(pl.col("message").is_not_null()).last()
    return (
        calls.with_columns(pl.col("kind").fill_null("bars"))
        .group_by(*SERIES, "kind", "outcome")
        .agg(
            pl.len().cast(pl.Int64).alias("fetches"),
            pl.col("read", "outside", *(item.name for item in fields(RowCounts)), "calls", "bytes").sum(),
            pl.col("latency_ms").median().cast(pl.Int64).alias("median_latency_ms"),
            pl.col("latency_ms").max().alias("max_latency_ms"),
            pl.col("fetched_at").max().alias("last_fetched_at"),
            last_error.alias("last_message"),
        )
        .sort(*SERIES, "kind", "outcome")
    )
