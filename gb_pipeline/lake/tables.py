"""The Delta tables: what they are called, how they are laid out, and how their files are found.

Belongs here: creating, opening, committing to and pruning a Delta table. Does not belong here: what the rows mean.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.storage import Storage
from gb_pipeline.market import schema
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision

if TYPE_CHECKING:
    from deltalake import DeltaTable, WriterProperties

ROW_GROUP_ROWS = 65_536
# delta-rs retries a commit that others overtook; its default of 15 gave up on 4 % of the commits of eight processes.
COMMIT_RETRIES = 200
# A commit that others made wrong (they touched the same rows) is decided anew from what is stored then.
CONFLICT_ATTEMPTS = 60

T = TypeVar("T")


@dataclass(frozen=True)
class TableSpec:
    """A table's name, columns and layout; `order` is how rows lie in a file, `keys` get statistics for pruning."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    order: tuple[str, ...]
    keys: tuple[str, ...]


def bar_spec(resolution: Resolution, precision: Precision) -> TableSpec:
    """Intraday bars lie per symbol and period; daily and coarser ones per period, so a cross-section is a few files."""
    hive = ("source", "symbol", "period") if resolution.intraday else ("source", "period")
    order = ("symbol", "timestamp")
    return TableSpec(schema.bar_table(resolution, precision), schema.bar_schema(precision), hive, order, order)


_LEDGERS = {
    spec.name: spec
    for spec in (
        TableSpec("sessions", schema.SESSIONS, ("source", "resolution"), ("symbol", "session"), ("symbol", "session")),
        TableSpec(
            "quarantine",
            schema.QUARANTINE,
            ("source",),
            ("symbol", "timestamp"),
            ("symbol", "window_start", "window_end"),
        ),
        TableSpec(
            "restatements", schema.restatement_schema(), ("source",), ("symbol", "timestamp"), ("symbol", "timestamp")
        ),
        TableSpec("fetches", schema.FETCHES, ("source",), ("symbol", "window_start"), ("symbol", "fetched_at")),
        TableSpec(
            "corporate_actions", schema.CORPORATE_ACTIONS, ("source",), ("symbol", "ex_date"), ("symbol", "ex_date")
        ),
    )
}


def spec_of(name: str) -> TableSpec:
    """The spec of any table of a lake by its name."""
    if name in _LEDGERS:
        return _LEDGERS[name]
    match = re.fullmatch(r"bars_(.+?)(_wide)?", name)
    if match is None:
        raise LakeError(f"a lake has no table {name!r}", fix=f"use bars_<resolution> or one of {', '.join(_LEDGERS)}")
    return bar_spec(Resolution.parse(match[1]), Precision.WIDE if match[2] else Precision.STANDARD)


def table_names() -> tuple[str, ...]:
    """Every table that a lake can have."""
    bars = [
        schema.bar_table(resolution, precision)
        for resolution in Resolution
        if resolution is not Resolution.TICK
        for precision in Precision
    ]
    return (*bars, *_LEDGERS)


class Tables:
    """The tables under one root. Safe to share between threads; every process has its own."""

    def __init__(self, storage: Storage) -> None:
        """Nothing is opened or created before it is asked for."""
        self.storage = storage
        self._handles: dict[str, DeltaTable] = {}
        self._lock = threading.RLock()

    def existing(self) -> tuple[str, ...]:
        """Names of the tables that hold at least a schema."""
        return tuple(name for name in table_names() if self._is_there(name))

    @contextmanager
    def open(self, name: str) -> Iterator[DeltaTable | None]:
        """The table at its newest version, or None where there is no such table.

        The version stays as it is until the block ends: a commit inside the block conflicts with whatever other processes
        did since, and other threads of this process wait.
        """
        from deltalake import DeltaTable

        with self._lock:
            if name in self._handles:
                if self._may_have_grown(name):
                    self._handles[name].update_incremental()
            elif self._is_there(name):
                self._handles[name] = DeltaTable(self.storage.table(name), storage_options=dict(self.storage.options))
            yield self._handles.get(name)

    def ensure(self, spec: TableSpec) -> None:
        """Make the table unless it is there; several processes may try at once."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        if spec.name in self._handles or self._is_there(spec.name):
            return
        indexed = ",".join(key for key in spec.keys if key not in spec.partition_by)
        try:
            DeltaTable.create(
                self.storage.table(spec.name),
                spec.schema,
                mode="error",
                partition_by=list(spec.partition_by),
                name=spec.name,
                # The log is history that people may ask for; checkpoints keep opening fast.
                configuration={
                    "delta.dataSkippingStatsColumns": indexed,
                    "delta.logRetentionDuration": "interval 3650 days",
                },
                storage_options=dict(self.storage.options),
            )
        except (DeltaError, OSError) as error:
            # Somebody else may have made it a moment ago.
            if not self._is_there(spec.name):
                raise self._unwritable(spec, error) from error

    def append(self, spec: TableSpec, frame: pl.DataFrame) -> int:
        """Append rows in one commit; the version it became. Appends never conflict."""
        self.ensure(spec)
        with self.open(spec.name) as table:
            return self._write(table, spec, frame, mode="append")

    def replace(self, table: DeltaTable, spec: TableSpec, frame: pl.DataFrame, predicate: str) -> int:
        """Replace the rows that match the predicate, in one commit on top of the opened version.

        Raises:
            CommitFailedError: somebody else changed rows that match the predicate since it was opened (deltalake's own
                error: `retry_on_conflict` waits for it).
        """
        return self._write(table, spec, frame, mode="overwrite", predicate=predicate)

    def _write(self, table: DeltaTable | None, spec: TableSpec, frame: pl.DataFrame, **how: str) -> int:
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        if table is None:
            raise LakeError(
                f"table {spec.name} vanished from {self.storage.root}", fix="restore the folder, or start anew"
            )
        columns = schema.polars_schema(spec.schema)
        arrow = frame.select(columns.names()).cast(columns).sort(spec.order).to_arrow().cast(spec.schema)
        try:
            write_deltalake(
                table,
                arrow,
                writer_properties=writer_properties(spec),
                commit_properties=CommitProperties(max_commit_retries=COMMIT_RETRIES),
                storage_options=dict(self.storage.options),
                **how,
            )
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            raise self._unwritable(spec, error) from error
        return int(table.version())

    def _unwritable(self, spec: TableSpec, error: Exception) -> LakeError:
        return LakeError(
            f"table {spec.name} under {self.storage.root} could not be written: {error}",
            fix="nothing was committed; check free space and permissions (`gb doctor`), then run it again",
        )

    def _may_have_grown(self, name: str) -> bool:
        """Versions count up by one, so a local log without the next one has not grown; listing it takes milliseconds."""
        following = f"{self._handles[name].version() + 1:020}.json"
        return bool(self.storage.options) or Path(self.storage.table(name), "_delta_log", following).exists()

    def _is_there(self, name: str) -> bool:
        from deltalake import DeltaTable

        if not self.storage.options:
            return any(Path(self.storage.table(name), "_delta_log").glob("*.json"))
        return bool(DeltaTable.is_deltatable(self.storage.table(name), storage_options=dict(self.storage.options)))


def retry_on_conflict(act: Callable[[], T]) -> T:
    """Run an act that reads a snapshot and commits on top of it, again whenever somebody else was faster.

    Raises:
        LakeError: others were faster every time.
    """
    from deltalake.exceptions import CommitFailedError

    for attempt in range(CONFLICT_ATTEMPTS):
        try:
            return act()
        except CommitFailedError:
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2 ** min(attempt, 6))))
    raise LakeError(
        f"other writers changed the same rows {CONFLICT_ATTEMPTS} times in a row", fix="run it again when they are done"
    )


def writer_properties(spec: TableSpec) -> WriterProperties:
    """ZSTD level 3; numbers and timestamps delta-packed without a dictionary, which is smaller and faster to read."""
    from deltalake import ColumnProperties, WriterProperties

    packed = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    fits = [
        f.name for f in spec.schema if pa.types.is_timestamp(f.type) or pa.types.is_int64(f.type) or _is_int64(f.type)
    ]
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        max_row_group_size=ROW_GROUP_ROWS,
        column_properties=dict.fromkeys(fits, packed),
    )


def _is_int64(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind)) and kind.precision <= 18


# --- finding and reading files ----------------------------------------------------------------------------------------


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
    columns = schema.polars_schema(spec.schema)
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
    ).select(columns.names())
