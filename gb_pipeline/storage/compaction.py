"""Fewer, larger files that provably say the same.

Belongs here: finding partitions of many files, of every dataset, and rewriting one of them. The rows of a partition are read with
their checksums, proved to be what was recorded of them, written as one file, read back and compared; one commit swaps the files.
Old files stay on disk until they are vacuumed, so readers are never blocked. No row gets another moment, and no clock moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD, Dataset
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot, index_of
from gb_pipeline.storage.table import Tables

# A period to which rows are still added is rewritten when it has so many files.
MIN_FILES = 4
# Compares the rows of a partition with what was recorded elsewhere; raises where they differ.
Proof = Callable[[Dataset, Mapping[str, Any], pl.DataFrame], None]


@dataclass(frozen=True, slots=True)
class Partition:
    """One hive partition of a table and what it is made of.

    Attributes:
        table: its name.
        values: value by partition column.
        files, rows, bytes: what the log counts.
        closed: whether its period has ended; None for a table without periods.
    """

    table: str
    values: Mapping[str, Any]
    files: int
    rows: int
    bytes: int
    closed: bool | None = None

    def __str__(self) -> str:
        """`bars_1m sim BTC-USDT 2024-01`."""
        said = [str(value) for name, value in self.values.items() if name != IS_CURRENT]
        past = ["superseded"] if self.values.get(IS_CURRENT) is False else []
        return " ".join([self.table, *said, *past])


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did: `version` is None when there was nothing to do."""

    partition: Partition
    files_after: int
    bytes_after: int
    version: int | None


def candidates(tables: Tables, *, now: datetime | None = None, min_files: int = MIN_FILES) -> list[Partition]:
    """Partitions that are worth a rewrite, most files first; no data file is opened.

    Those of a period that has ended at `now` as soon as they have two files, others when they have `min_files`.
    """
    found: list[Partition] = []
    for snapshot in tables.existing():
        found += _partitions(snapshot, now)
    worth = [item for item in found if item.files >= (2 if item.closed and min_files > 1 else min_files)]
    return sorted(worth, key=lambda item: (-item.files, str(item)))


def partition_of(tables: Tables, table: str, values: Mapping[str, Any]) -> Partition:
    """One partition by its values.

    Raises:
        LakeError: nothing is stored there.
    """
    found = _partitions_of(tables.newest(table), tables.newest(table).select(values), None)
    if not found:
        said = " ".join(str(value) for value in values.values())
        raise LakeError(f"nothing is stored in {table} {said}", fix="see `gb sql 'select * from files'`")
    return found[0]


def compact(
    tables: Tables, partition: Partition, *, proof: Proof | None = None, clock: Clock = wall_clock
) -> CompactionReport:
    """Rewrite one partition into one file.

    Raises:
        LakeError: no such partition, a file of it is damaged, or others changed the table every time.
        CompactionRefused: what is stored is not what was recorded, or the new file reads back differently; nothing was changed.
    """
    table = tables[partition.table]

    def decide(draft: Draft) -> CompactionReport:
        files = draft.base.select(partition.values)
        if files.is_empty():
            raise LakeError(f"nothing is stored in {partition}", fix="see `gb sql 'select * from files'`")
        if files.height == 1:
            return CompactionReport(partition, 1, int(files["size"].sum()), None)
        rows = _sorted(table.dataset, reading.read(tables.storage, table.dataset, files))
        _refuse_doubtful(table.dataset, partition, files, rows)
        if proof is not None:
            proof(table.dataset, partition.values, rows)
        draft.data_changes, draft.ticks = False, False
        draft.info = {"operation": "OPTIMIZE", "gb": {"partition": {k: str(v) for k, v in partition.values.items()}}}
        draft.remove(files)
        draft.add(rows, current=partition.values.get(IS_CURRENT) is not False)
        written = index_of(table.dataset, draft.write())
        reach("compacted_file")
        after = _sorted(table.dataset, reading.read(tables.storage, table.dataset, written))
        if not after.equals(rows):
            raise CompactionRefused(f"{partition}: the rewritten file reads back differently; nothing was changed")
        return CompactionReport(partition, written.height, int(written["size"].sum()), draft.base.version + 1)

    return commit(table, decide, clock=clock)


def _partitions(snapshot: Snapshot, now: datetime | None) -> list[Partition]:
    return _partitions_of(snapshot, snapshot.files, now)


def _partitions_of(snapshot: Snapshot, files: pl.DataFrame, now: datetime | None) -> list[Partition]:
    dataset = snapshot.dataset
    keys = list(dataset.partitions)
    counts = [pl.len().alias("files"), pl.col("rows").sum(), pl.col("size").sum()]
    if files.is_empty():
        return []
    grouped = files.group_by(keys, maintain_order=True).agg(counts) if keys else files.select(counts)
    current = None if now is None or dataset.period is None else now.strftime(dataset.period)
    return [
        Partition(
            table=dataset.name,
            values={name: row[name] for name in keys},
            files=row["files"],
            rows=row["rows"],
            bytes=row["size"],
            closed=None if current is None else row[PERIOD] < current,
        )
        for row in grouped.iter_rows(named=True)
    ]


def _sorted(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(list(dict.fromkeys((*dataset.partitions, *dataset.order, *dataset.key, "known_at"))))


def _refuse_doubtful(dataset: Dataset, partition: Partition, files: pl.DataFrame, rows: pl.DataFrame) -> None:
    counted = int(files["rows"].sum())
    if rows.height != counted:
        raise CompactionRefused(f"{partition}: the log counts {counted} rows, the files hold {rows.height}")
    if dataset.history and partition.values.get(IS_CURRENT) and _repeats(dataset, rows):
        raise CompactionRefused(
            f"{partition}: a row is stored twice", fix="`gb verify --repair` looks into it; nothing was changed"
        )


def _repeats(dataset: Dataset, rows: pl.DataFrame) -> bool:
    # Rows lie sorted by the key, so a repeat stands beside its like.
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in dataset.key)
    return bool(rows.select(same.any()).item())
