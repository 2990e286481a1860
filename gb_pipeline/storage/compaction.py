"""Fewer, larger files that provably say the same.

Belongs here: finding partitions of many files, of every dataset, and rewriting one of them. The rows of a partition are read with
their checksums, proved to be what was recorded of them, written as one file, read back and compared; one commit swaps the files.
Old files stay on disk until they are vacuumed, so readers are never blocked. No row gets another moment, and no clock moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, PERIOD, Dataset
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot, index_of
from gb_pipeline.storage.table import Tables

# A period to which rows are still added is rewritten when it has so many files.
MIN_FILES = 4
# Rows that are rewritten in one commit, while other writers of the table wait.
ROWS_AT_ONCE = 2_000_000
_NAMED = 20
# Compares rows of whole partitions, each with the partition's values, with what was recorded elsewhere; raises where they differ.
Proof = Callable[[Dataset, Sequence[tuple[Mapping[str, Any], pl.DataFrame]]], None]


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


def candidates(
    tables: Tables,
    *,
    now: datetime | None = None,
    min_files: int = MIN_FILES,
    damaged: list[LakeError] | None = None,
) -> list[Partition]:
    """Partitions that are worth a rewrite, most files first; no data file is opened.

    Those of a period that has ended at `now` as soon as they have two files, others when they have `min_files`.

    Args:
        damaged: takes the errors of tables whose contents are not known, which are left out; without it they raise.
    """
    found: list[Partition] = []
    for snapshot in tables.existing(damaged):
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
    tables: Tables, partitions: Sequence[Partition], *, proof: Proof | None = None, clock: Clock = wall_clock
) -> list[CompactionReport]:
    """Rewrite partitions, each into one file; those of one table together, in commits of up to `ROWS_AT_ONCE` rows.

    Returns:
        One report per partition, in the order of the tables.

    Raises:
        LakeError: no such partition, a file of it is damaged, or others changed the table every time.
        CompactionRefused: what is stored is not what was recorded, or a new file reads back differently. Partitions of the same
            commit were not changed.
    """
    done: list[CompactionReport] = []
    for batch in _batches(partitions):
        act = _Compaction(tables, batch, proof)
        done += commit(tables[batch[0].table], act.decide, clock=clock)
    return done


@dataclass
class _Compaction:
    """Partitions of one table that are rewritten in one commit."""

    tables: Tables
    partitions: list[Partition]
    proof: Proof | None

    def decide(self, draft: Draft) -> list[CompactionReport]:
        found = _files_of(draft.base, self.partitions)
        work = [(item, files) for item, files in zip(self.partitions, found, strict=True) if files.height > 1]
        before = [self._read(draft, item, files) for item, files in work]
        if self.proof is not None and before:
            self.proof(draft.table.dataset, [(item.values, rows) for (item, _), rows in zip(work, before, strict=True)])
        draft.data_changes, draft.ticks = False, False
        draft.info = {"operation": "OPTIMIZE", "gb": {"partitions": [str(item) for item, _ in work][:_NAMED]}}
        for (item, files), rows in zip(work, before, strict=True):
            draft.remove(files)
            draft.add_partition(item.values, rows)
        written = index_of(draft.table.dataset, draft.write()) if work else draft.base.files.clear()
        reach("compacted_file")
        new = iter([written[number] for number in range(written.height)])
        reports = []
        rewritten = dict(zip((str(item) for item, _ in work), zip(before, new, strict=True), strict=True))
        for item, files in zip(self.partitions, found, strict=True):
            if str(item) not in rewritten:
                reports.append(CompactionReport(item, files.height, int(files["size"].sum()), None))
                continue
            rows, file = rewritten[str(item)]
            if not _file_rows(draft, file).equals(rows):
                raise CompactionRefused(f"{item}: the rewritten file reads back differently; nothing was changed")
            reports.append(CompactionReport(item, 1, int(file["size"].sum()), draft.base.version + 1))
        return reports

    def _read(self, draft: Draft, partition: Partition, files: pl.DataFrame) -> pl.DataFrame:
        """Everything that a partition holds, as it is to lie in one file."""
        dataset = draft.table.dataset
        rows = _file_rows(
            draft, files.sort([f"min.{name}" for name in dataset.statistics if f"min.{name}" in files.columns])
        )
        counted = int(files["rows"].sum())
        if rows.height != counted:
            raise CompactionRefused(f"{partition}: the log counts {counted} rows, the files hold {rows.height}")
        order = [name for name in dict.fromkeys((*dataset.order, *dataset.key, KNOWN_AT)) if name in rows.columns]
        if len(order) > 1 and order[0] == dataset.time and _increasing(rows[order[0]]):
            return rows
        rows = rows.sort(order)
        if dataset.history and partition.values.get(IS_CURRENT) and _repeats(dataset, rows):
            raise CompactionRefused(
                f"{partition}: a row is stored twice", fix="`gb verify --repair` looks into it; nothing was changed"
            )
        return rows


def _file_rows(draft: Draft, files: pl.DataFrame) -> pl.DataFrame:
    dataset = draft.table.dataset
    return reading.read(draft.table.storage, dataset, files, dataset.file_schema.names)


def _files_of(base: Snapshot, partitions: Sequence[Partition]) -> list[pl.DataFrame]:
    """The files of each partition."""
    keys = list(base.dataset.partitions)
    by_values = base.files.partition_by(keys, as_dict=True) if keys else {(): base.files}
    found = []
    for partition in partitions:
        files = by_values.get(tuple(partition.values[name] for name in keys))
        if files is None or files.is_empty():
            raise LakeError(f"nothing is stored in {partition}", fix="see `gb sql 'select * from files'`")
        found.append(files)
    return found


def _increasing(stamps: pl.Series) -> bool:
    """Whether each is later than the one before: then rows are sorted, and none is there twice."""
    return bool((stamps.to_physical().diff().drop_nulls() > 0).all())


def _batches(partitions: Sequence[Partition]) -> Iterator[list[Partition]]:
    """Partitions of one table, up to so many rows."""
    by_table: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_table.setdefault(partition.table, []).append(partition)
    for mine in by_table.values():
        batch: list[Partition] = []
        for partition in mine:
            if batch and sum(item.rows for item in batch) + partition.rows > ROWS_AT_ONCE:
                yield batch
                batch = []
            batch.append(partition)
        if batch:
            yield batch


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


def _repeats(dataset: Dataset, rows: pl.DataFrame) -> bool:
    # Rows lie sorted by the key, so a repeat stands beside its like.
    key = [name for name in dataset.key if name in rows.columns]
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    return bool(rows.select(same.any()).item())
