"""This module describes damage: of files that are not as they were written, and of rows that can be read but are not right.

Each damage has the file, series, sessions and rows that it concerns. The rows of a table are compared with the ledger and with
each other. Whole lakes are verified in `verification` and mended in `mending`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import GbError
from gb_pipeline.lake import ledger, proofs
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import describe_runs
from gb_pipeline.storage import reading, scrub
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.parquet import DamagedFile
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Table, Tables

_DAY = timedelta(days=1)
_SESSION = ["symbol", "session"]


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written.

    Attributes:
        table: where.
        problem: what was seen, one sentence.
        file: relative to the table; empty where it is the log, or rows of several files.
        source, symbols, resolution: the series that it concerns; empty or None where it concerns all of the table.
        sessions: of these series, in order; of each it may concern one, some or all symbols.
        rows: which rows, in words.
        broken: the file with what can be read of it; None where no file is to be taken out.
    """

    table: str
    problem: str
    file: str = ""
    source: str = ""
    symbols: tuple[str, ...] = ()
    resolution: Resolution | None = None
    sessions: tuple[date, ...] = ()
    rows: str = ""
    broken: scrub.BrokenFile | None = field(default=None, repr=False)

    @property
    def current(self) -> bool:
        """Whether newest versions are concerned, which can be fetched again; superseded ones cannot."""
        return self.broken is None or self.broken.row.get(IS_CURRENT) is not False


def describe_broken_file(store: LakeStore, snapshot: Snapshot, broken_file: scrub.BrokenFile) -> Damage:
    """What a damaged file holds, by the log and the ledger."""
    row, kind = broken_file.row, parse_bar_table(snapshot.dataset.name)
    rows = _describe_rows(broken_file)
    if kind is None:
        return Damage(
            snapshot.dataset.name,
            broken_file.error.reason,
            row["path"],
            str(row.get("source") or ""),
            rows=rows,
            broken=broken_file,
        )
    symbols, sessions = _sessions_of(store, row, kind[0])
    return Damage(
        table=snapshot.dataset.name,
        problem=broken_file.error.reason,
        file=row["path"],
        source=str(row["source"]),
        symbols=symbols,
        resolution=kind[0],
        sessions=sessions,
        rows=rows,
        broken=broken_file,
    )


def _sessions_of(
    store: LakeStore, row: Mapping[str, Any], resolution: Resolution
) -> tuple[tuple[str, ...], tuple[date, ...]]:
    first, last = row["min.timestamp"], row["max.timestamp"]
    symbol = row.get("symbol")
    try:
        recorded = ledger.current(
            store.tables, row["source"], resolution, None if symbol is None else [symbol],
            (first.date() - 32 * _DAY, last.date() + 2 * _DAY),
        )  # fmt: skip
    except GbError:
        return (() if symbol is None else (symbol,)), ()
    inside = recorded.filter((pl.col("first_timestamp") <= last) & (pl.col("last_timestamp") >= first))
    if symbol is None:
        inside = inside.filter(pl.col("symbol").is_between(pl.lit(row["min.symbol"]), pl.lit(row["max.symbol"])))
    symbols = tuple(inside["symbol"].unique().sort().to_list()) or (() if symbol is None else (symbol,))
    return symbols, tuple(inside["session"].unique().sort().to_list())


def _describe_rows(broken_file: scrub.BrokenFile) -> str:
    rows = broken_file.row["rows"]
    if broken_file.parts is None:
        return f"all {rows:,} rows" if rows is not None else "all rows"
    parts = [
        f"rows {first + 1:,} to {first + count:,} ({', '.join(columns)})"
        for _, first, count, columns in broken_file.parts
    ]
    return "; ".join(parts) or "no row: what is damaged is never decoded"


def find_row_damages(
    store: LakeStore,
    table: Table,
    snapshot: Snapshot,
    files: pl.DataFrame,
    source: str | None,
    codes: Sequence[str] | None,
) -> tuple[list[Damage], int]:
    """Bars against the ledger, and versions against each other."""
    kind = parse_bar_table(snapshot.dataset.name)
    if kind is None or files.is_empty():
        return [], 0
    damages: list[Damage] = []
    sessions = 0
    groups = [name for name in ("source", "symbol") if name in snapshot.dataset.partitions]
    for values, group in files.group_by(groups, maintain_order=True):
        try:
            rows = reading.read(store.storage, snapshot.dataset, group).sort("symbol", "timestamp", KNOWN_AT)
        except DamagedFile as error:
            damages.append(Damage(table.name, error.reason, error.name, str(values[0])))
            continue
        damages += _history_damages(table.name, kind[0], str(values[0]), rows)
        current = rows.filter(IS_CURRENT)
        mismatches = proofs.find_mismatches(store.tables, str(values[0]), *kind, current)
        damages += _mismatch_damages(table.name, kind[0], str(values[0]), mismatches)
        sessions += current.select("symbol", pl.col("timestamp").dt.date()).unique().height
    damages += _missing_damages(store, table.name, kind, files, source, codes)
    return damages, sessions


def _mismatch_damages(table: str, resolution: Resolution, source: str, mismatches: pl.DataFrame) -> Iterator[Damage]:
    for (code,), rows in mismatches.group_by("symbol", maintain_order=True):
        days = tuple(rows["session"].to_list())
        problems = "; ".join(f"{row['session']}: {row['problem']}" for row in rows.head(5).iter_rows(named=True))
        yield Damage(
            table,
            "what is stored is not what the ledger recorded",
            "",
            source,
            (str(code),),
            resolution,
            days,
            problems,
        )


def _history_damages(table: str, resolution: Resolution, source: str, rows: pl.DataFrame) -> Iterator[Damage]:
    """Versions of one bar follow each other: no two are valid at once."""
    key = ["symbol", "timestamp"]
    next_known = pl.col(KNOWN_AT).shift(-1).over(key)
    # A version that was lost leaves a hole between its neighbours; two that are valid at once are a fault.
    overlaps = pl.col(SUPERSEDED_AT).is_null() | (pl.col(SUPERSEDED_AT) > pl.col("after"))
    overlapping = rows.with_columns(next_known.alias("after")).filter(pl.col("after").is_not_null() & overlaps)
    for (code,), bars in overlapping.group_by("symbol", maintain_order=True):
        stamps = bars["timestamp"]
        yield Damage(
            table,
            "two versions of a bar are valid at once",
            "",
            source,
            (str(code),),
            resolution,
            tuple(stamps.dt.date().unique().sort().to_list()),
            f"{bars.height} bars, the first at {stamps[0]}",
        )


def _missing_damages(
    store: LakeStore,
    table: str,
    kind: tuple[Resolution, Precision],
    files: pl.DataFrame,
    source: str | None,
    codes: Sequence[str] | None,
) -> Iterator[Damage]:
    """Sessions of which the ledger counts bars, and of which no file may hold one."""
    resolution, precision = kind
    recorded = ledger.current(store.tables, source, resolution, codes)
    recorded = recorded.filter((pl.col("actual") > 0) & (pl.col("precision") == precision.value))
    current = files.filter(IS_CURRENT)
    by_symbol = "symbol" in current.columns
    spans = current.select(
        "source",
        *(["symbol"] if by_symbol else []),
        pl.col("min.timestamp").alias("low"),
        pl.col("max.timestamp").alias("high"),
    )
    keys = ["source", "symbol"] if by_symbol else ["source"]
    stored_sessions = (
        recorded.select("source", "symbol", "session", "first_timestamp", "last_timestamp")
        .join(spans, on=keys, how="inner")
        .filter((pl.col("low") <= pl.col("last_timestamp")) & (pl.col("high") >= pl.col("first_timestamp")))
    )
    lost = recorded.join(stored_sessions, on=["source", "symbol", "session"], how="anti")
    if precision is Precision.WIDE and lost.height:
        of_series = lost.group_by("source", "symbol", maintain_order=True)
        proven = [_find_in_standard(store.tables, str(name), resolution, rows) for (name, _), rows in of_series]
        lost = lost.join(pl.concat(proven), on=["source", *_SESSION], how="anti", maintain_order="left")
    for (name, code), rows in lost.group_by("source", "symbol", maintain_order=True):
        days = tuple(rows["session"].sort().to_list())
        yield Damage(
            table, "the ledger counts bars that are not stored", "", str(name), (str(code),), resolution, days,
            f"{int(rows['actual'].sum())} bars",
        )  # fmt: skip


def _find_in_standard(tables: Tables, source: str, resolution: Resolution, recorded: pl.DataFrame) -> pl.DataFrame:
    """Sessions of a series that went wide whose bars are all in the standard table still: they fit, and never changed.

    Args:
        recorded: rows of the ledger, of one symbol.

    Returns:
        `source`, `symbol` and `session` of those that hold just what was recorded.
    """
    sibling = tables.newest(bars_dataset(resolution).name)
    first, last = recorded["first_timestamp"].min(), recorded["last_timestamp"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return recorded.select("source", *_SESSION).clear()
    symbols = recorded["symbol"].unique().to_list()
    rows = read_window(tables, sibling, source, symbols, Window(first, last + timedelta(microseconds=1)))
    types = polars_schema(bar_schema(Precision.WIDE))
    wide = rows.select("symbol", "timestamp", *(pl.col(name).cast(types[name]) for name in CONTENT))
    placed, _ = proofs.place_bars(wide, recorded.sort("symbol", "session"), resolution)
    both = describe_runs(placed, source, resolution, Precision.WIDE).join(
        recorded.select(*_SESSION, "actual", pl.col("fingerprint").alias("recorded")), on=_SESSION
    )
    same = (pl.col("rows") == pl.col("actual")) & (pl.col("fingerprint") == pl.col("recorded"))
    return both.filter(same).select(pl.lit(source).alias("source"), *_SESSION)
