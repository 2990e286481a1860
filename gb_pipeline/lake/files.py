"""Finding and reading a table's files.

Belongs here: pruning by the Delta log's statistics, and scanning exactly the files that are left; no folder is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

from gb_pipeline.lake.specs import TableSpec, spec_of
from gb_pipeline.lake.storage import Storage
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.schema import polars_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable


def files(
    table: DeltaTable,
    *,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[datetime | date, datetime | date] | None = None,
    key: str = "timestamp",
) -> pl.DataFrame:
    """The files of a snapshot that may hold such rows, by the log's statistics; no data file and no folder is read.

    Args:
        between: half-open range of the column `key`.

    Returns:
        Columns `path` (relative), `size_bytes`, `num_records` and one per partition and statistic, as the log has them.
    """
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    keep = [pl.lit(True)]
    if source is not None:
        keep.append(pl.col("partition.source") == source)
    if symbols is not None:
        keep.append(_may_hold_symbol(actions, sorted(set(symbols))))
    if between is not None and f"min.{key}" in actions.columns:
        start, end = (pl.lit(edge) for edge in between)
        # Statistics are cut to milliseconds: the last row may lie up to one millisecond after what they say.
        slack = pl.duration(milliseconds=1) if isinstance(between[0], datetime) else pl.duration(days=0)
        keep.append(
            (pl.col(f"min.{key}").is_null() | (pl.col(f"min.{key}") < end))
            & (pl.col(f"max.{key}").is_null() | (pl.col(f"max.{key}") + slack >= start))
        )
    return actions.filter(pl.all_horizontal(keep))


def _may_hold_symbol(actions: pl.DataFrame, symbols: list[str]) -> pl.Expr:
    if "partition.symbol" in actions.columns:
        return pl.col("partition.symbol").is_in(symbols)
    if "min.symbol" not in actions.columns:
        return pl.lit(True)
    inside = pl.any_horizontal(
        [pl.lit(False)] + [(pl.col("min.symbol") <= code) & (pl.col("max.symbol") >= code) for code in symbols[:200]]
    )
    if len(symbols) > 200:
        inside = (pl.col("min.symbol") <= symbols[-1]) & (pl.col("max.symbol") >= symbols[0])
    return inside | pl.col("min.symbol").is_null()


def scan(storage: Storage, spec: TableSpec, paths: Sequence[str]) -> pl.LazyFrame:
    """Lazily read exactly these files of a table, with all columns in their declared types."""
    columns = polars_schema(spec.schema)
    if not paths:
        return pl.LazyFrame(schema=columns)
    root = storage.table(spec.name)
    hive = {name: columns[name] for name in spec.partition_by}
    return pl.scan_parquet(
        [f"{root}/{unquote(path)}" for path in paths],
        hive_partitioning=True,
        hive_schema=hive,
        schema={name: columns[name] for name in columns if name not in hive} | hive,
        storage_options=dict(storage.options) or None,
        glob=False,
        # Files that are older than a nullable column do not have it.
        missing_columns="insert",
    ).select(columns.names())


def ledger_rows(
    tables: Tables,
    name: str,
    *,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[datetime | date, datetime | date] | None = None,
    key: str = "timestamp",
) -> pl.LazyFrame:
    """The rows of one of the small tables, pruned and filtered; no rows where the table does not exist yet.

    Args:
        between: half-open range of the column `key`.
    """
    spec = spec_of(name)
    with tables.open(name) as table:
        found = None if table is None else files(table, source=source, symbols=symbols, between=between, key=key)
    rows = scan(tables.storage, spec, [] if found is None else found["path"].to_list())
    if source is not None:
        rows = rows.filter(pl.col("source") == source)
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if between is not None:
        rows = rows.filter((pl.col(key) >= between[0]) & (pl.col(key) < between[1]))
    return rows
