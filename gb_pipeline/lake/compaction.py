"""Fewer, larger files that provably say the same.

Belongs here: finding partitions of many small files and rewriting one of them. The new file is written beside the old ones,
read back, and compared row by row and by fingerprint with what it replaces; only then one commit swaps them. Old files stay
on disk until retention, so readers are never blocked. Whoever changed the partition meanwhile wins: the commit is refused.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl
import pyarrow.parquet as pq

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.lake.files import files, scan
from gb_pipeline.lake.specs import ROW_GROUP_ROWS, TableSpec, packed_columns, spec_of
from gb_pipeline.lake.tables import COMMIT_RETRIES, Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.quality.fingerprint import combine, session_fingerprints

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, RemoveAction

# Fewer files than this are not worth a rewrite.
MIN_FILES = 4


@dataclass(frozen=True, slots=True)
class Partition:
    """One hive partition of a bars table and what it is made of; `symbol` is None where a file holds many symbols."""

    table: str
    source: str
    symbol: str | None
    period: str
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did: `version` is None when there was nothing to do."""

    partition: Partition
    files_after: int
    bytes_after: int
    fingerprint: str
    version: int | None


def candidates(tables: Tables, *, min_files: int = MIN_FILES) -> list[Partition]:
    """Partitions of the bars tables with at least so many files, most files first; no data file is opened."""
    found = []
    for name in tables.existing():
        if not name.startswith("bars_"):
            continue
        with tables.open(name) as table:
            assert table is not None, "it exists"
            found += _partitions(name, files(table))
    return sorted((item for item in found if item.files >= min_files), key=lambda item: -item.files)


def _partitions(name: str, actions: pl.DataFrame) -> list[Partition]:
    keys = [column for column in actions.columns if column.startswith("partition.")]
    grouped = actions.group_by(keys).agg(pl.len(), pl.col("num_records").sum(), pl.col("size_bytes").sum())
    return [
        Partition(
            table=name,
            source=row["partition.source"],
            symbol=row.get("partition.symbol"),
            period=row["partition.period"],
            files=row["len"],
            rows=row["num_records"],
            bytes=row["size_bytes"],
        )
        for row in grouped.iter_rows(named=True)
    ]


def compact(tables: Tables, name: str, source: str, symbol: str | None, period: str) -> CompactionReport:
    """Rewrite one partition into one file.

    Args:
        name: a bars table, such as `bars_1m`.
        symbol: None for daily and coarser bars, whose files hold all symbols.
        period: the partition's period, `2024` or, for bars of a second, `2024-03`.

    Raises:
        LakeError: no such partition, or somebody else changed it meanwhile; nothing was changed, run it again.
        CompactionRefused: the new file is not provably the same; nothing was changed.
    """
    from deltalake.exceptions import CommitFailedError

    spec = spec_of(name)
    with tables.open(name) as table:
        if table is None:
            raise LakeError(f"the lake has no table {name}", fix="fetch some data first")
        found = _files_of(table, source, symbol, period)
        partition = Partition(
            name, source, symbol, period, found.height, int(found["num_records"].sum()), int(found["size_bytes"].sum())
        )
        before = scan(tables.storage, spec, found["path"].to_list()).sort(spec.order).collect()
        proof = _fingerprint(spec, before)
        if found.height == 1:
            return CompactionReport(partition, 1, partition.bytes, proof, None)
        _refuse_doubtful(spec, partition, before)
        path, added = _write(tables, spec, before, partition)
        try:
            _prove(tables, spec, path, before, proof, partition)
            table.create_write_transaction(
                [*_removals(found), added],
                mode="append",
                schema=spec.schema,
                partition_by=list(spec.partition_by),
                commit_properties=_properties(proof),
            )
        except CommitFailedError:
            _discard(tables, spec, path)
            raise LakeError(
                f"{_named(partition)} changed while it was compacted", fix="run the compaction again"
            ) from None
        except BaseException:
            _discard(tables, spec, path)
            raise
        return CompactionReport(partition, 1, added.size, proof, int(table.version()))


def _files_of(table: DeltaTable, source: str, symbol: str | None, period: str) -> pl.DataFrame:
    found = files(table, source=source).filter(pl.col("partition.period") == period)
    if symbol is not None:
        found = found.filter(pl.col("partition.symbol") == symbol)
    if found.is_empty():
        raise LakeError(
            f"nothing is stored for {source} {symbol or ''} {period}", fix="see `gb sql 'select * from files'`"
        )
    return found


def _fingerprint(spec: TableSpec, rows: pl.DataFrame) -> str:
    resolution = Resolution.parse(spec.name.removeprefix("bars_").removesuffix("_wide"))
    precision = Precision.WIDE if spec.name.endswith("_wide") else Precision.STANDARD
    daily = rows.with_columns(pl.col("timestamp").dt.date().alias("session"))
    source = rows["source"][0] if rows.height else ""
    prints = session_fingerprints(daily, source, resolution, precision)
    return combine((f"{symbol} {day}", value) for (symbol, day), value in prints.items())


def _refuse_doubtful(spec: TableSpec, partition: Partition, rows: pl.DataFrame) -> None:
    if rows.height != partition.rows:
        raise CompactionRefused(
            f"{_named(partition)}: the log counts {partition.rows} rows, the files hold {rows.height}"
        )
    if rows.select(pl.struct(spec.order).is_duplicated().any()).item():
        raise CompactionRefused(
            f"{_named(partition)}: a bar is stored twice", fix="fetch the window again, then compact"
        )


def _write(tables: Tables, spec: TableSpec, rows: pl.DataFrame, partition: Partition) -> tuple[str, AddAction]:
    from deltalake.transaction import AddAction

    values = {"source": partition.source, "symbol": partition.symbol, "period": partition.period}
    hive = {key: values[key] for key in spec.partition_by}
    folder = "/".join(f"{key}={quote(str(value), safe='')}" for key, value in hive.items())
    path = f"{folder}/compacted-{uuid.uuid4()}.zstd.parquet"
    target = Path(tables.storage.table(spec.name), path)
    columns = [name for name in polars_schema(spec.schema).names() if name not in hive]
    numeric = packed_columns(spec)
    arrow = rows.select(columns).to_arrow().cast(_without(spec.schema, hive))
    pq.write_table(
        arrow,
        target,
        compression="zstd",
        compression_level=3,
        row_group_size=ROW_GROUP_ROWS,
        store_decimal_as_integer=True,
        use_dictionary=[name for name in columns if name not in numeric],
        column_encoding=dict.fromkeys(numeric, "DELTA_BINARY_PACKED"),
    )
    keys = [key for key in spec.keys if key not in hive]
    stats = {
        "numRecords": rows.height,
        "minValues": {key: _json(rows[key].min()) for key in keys},
        "maxValues": {key: _json(rows[key].max()) for key in keys},
        "nullCount": dict.fromkeys(keys, 0),
    }
    size = target.stat().st_size
    return path, AddAction(path, size, hive, int(time.time() * 1000), False, json.dumps(stats))


def _without(schema: Any, hive: dict[str, str | None]) -> Any:
    import pyarrow as pa

    return pa.schema([field for field in schema if field.name not in hive])


def _json(value: Any) -> Any:
    # Delta's statistics are cut to milliseconds; bars lie on whole seconds, so nothing is cut here.
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z" if hasattr(value, "strftime") else value


def _prove(tables: Tables, spec: TableSpec, path: str, before: pl.DataFrame, proof: str, partition: Partition) -> None:
    after = scan(tables.storage, spec, [path]).collect()
    if not after.equals(before) or _fingerprint(spec, after) != proof:
        raise CompactionRefused(f"{_named(partition)}: the rewritten file differs from what it would replace")


def _removals(found: pl.DataFrame) -> list[RemoveAction]:
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)
    keys = [column for column in found.columns if column.startswith("partition.")]
    return [
        RemoveAction(
            row["path"], False, now, row["size_bytes"], {key.removeprefix("partition."): row[key] for key in keys}
        )
        for row in found.iter_rows(named=True)
    ]


def _properties(proof: str) -> Any:
    from deltalake import CommitProperties

    return CommitProperties(
        custom_metadata={"fingerprint": proof, "act": "compaction"}, max_commit_retries=COMMIT_RETRIES
    )


def _discard(tables: Tables, spec: TableSpec, path: str) -> None:
    Path(tables.storage.table(spec.name), path).unlink(missing_ok=True)


def _named(partition: Partition) -> str:
    return f"{partition.table} {partition.source} {partition.symbol or ''} {partition.period}".replace("  ", " ")
