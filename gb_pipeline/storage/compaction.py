"""This module finds partitions of many files, of every dataset, and rewrites each as one file that provably says the same.

The rows of a partition are read with their checksums, proved to be what was recorded of them, written as one file, read back and
compared; one commit swaps the files. Old files stay on disk until they are vacuumed, so readers are never blocked. No row gets
another moment, and no clock moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import polars as pl

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.quality.runs import whole_numbers
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, PERIOD, Dataset
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot, index_files
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.workers import THREADS

# A period to which rows are still added is rewritten when it has this many files.
MIN_FILES = 4
# Rows that are rewritten in one commit, while other writers of the table wait.
ROWS_AT_ONCE = 2_000_000
_LISTED = 20


class Comparison(Protocol):
    """Compares the rows of partitions with what was recorded of them elsewhere; raises `CompactionRefused` where they differ."""

    def compare(self, values: Mapping[str, Any], rows: pl.DataFrame) -> None:
        """Compare what a whole partition holds; several threads call this."""
        ...

    def finish(self) -> None:
        """Compare what only several partitions together tell, after all of them."""
        ...


# Begins the comparison of some files of a table; None where nothing is recorded of that table elsewhere.
Proof = Callable[[Dataset, pl.DataFrame], Comparison | None]


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
        values = [str(value) for name, value in self.values.items() if name != IS_CURRENT]
        suffix = ["superseded"] if self.values.get(IS_CURRENT) is False else []
        return " ".join([self.table, *values, *suffix])


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What a compaction did: `version` is None when there was nothing to do."""

    partition: Partition
    files_after: int
    bytes_after: int
    version: int | None


def find_candidates(
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
    partitions: list[Partition] = []
    for snapshot in tables.existing(damaged):
        partitions += _partitions(snapshot, now)
    closed_min = min(2, min_files)
    worthwhile = [item for item in partitions if item.files >= (closed_min if item.closed else min_files)]
    return sorted(worthwhile, key=lambda item: (-item.files, str(item)))


def find_partition(tables: Tables, table: str, values: Mapping[str, Any]) -> Partition:
    """One partition by its values.

    Raises:
        LakeError: nothing is stored there.
    """
    partitions = _partitions_of(tables.newest(table), tables.newest(table).select(values), None)
    if not partitions:
        description = " ".join(str(value) for value in values.values())
        raise LakeError(f"nothing is stored in {table} {description}", fix="see `gb sql 'select * from files'`")
    return partitions[0]


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
    reports: list[CompactionReport] = []
    for batch in _batches(partitions):
        rewrite = _Rewrite(tables, batch, proof)
        reports += commit(tables[batch[0].table], rewrite.decide, clock=clock)
    return reports


@dataclass
class _Rewrite:
    """Partitions of one table that are rewritten in one commit."""

    tables: Tables
    partitions: list[Partition]
    proof: Proof | None

    def decide(self, draft: Draft) -> list[CompactionReport]:
        partition_files = _files_of(draft.base, self.partitions)
        to_rewrite = [
            (partition, files)
            for partition, files in zip(self.partitions, partition_files, strict=True)
            if files.height > 1
        ]
        draft.data_changes, draft.advances_clock = False, False
        draft.info = {
            "operation": "OPTIMIZE",
            "gb": {"partitions": [str(partition) for partition, _ in to_rewrite][:_LISTED]},
        }
        sizes = self._rewrite(draft, to_rewrite) if to_rewrite else {}
        reach("compacted_file")
        return [
            CompactionReport(partition, 1, sizes[str(partition)], draft.base.version + 1)
            if str(partition) in sizes
            else CompactionReport(partition, files.height, int(files["size"].sum()), None)
            for partition, files in zip(self.partitions, partition_files, strict=True)
        ]

    def _rewrite(self, draft: Draft, to_rewrite: list[tuple[Partition, pl.DataFrame]]) -> dict[str, int]:
        """Rewrite partitions, a few at a time, so that what is in work stays in the processor's cache; the size of each."""
        reach("before_files")
        files = pl.concat([partition_files for _, partition_files in to_rewrite])
        comparison = None if self.proof is None else self.proof(draft.table.dataset, files)
        with ThreadPoolExecutor(THREADS) as pool:
            tasks = [pool.submit(_rewrite_one, draft, *item, comparison) for item in to_rewrite]
            # All of them, even if one fails: a file that is still being written could not be discarded.
            wait(tasks)
        actions = [task.result() for task in tasks]
        if comparison is not None:
            comparison.finish()
        reach("file_written")
        draft.remove(files)
        draft.flush(actions)
        return {str(partition): int(action["size"]) for (partition, _), action in zip(to_rewrite, actions, strict=True)}


def _rewrite_one(
    draft: Draft, partition: Partition, files: pl.DataFrame, comparison: Comparison | None
) -> dict[str, Any]:
    """Read, compare, write and read back what a partition holds; the add action of its file."""
    dataset = draft.table.dataset
    edges = [f"min.{name}" for name in dataset.statistics if f"min.{name}" in files.columns]
    rows = _file_rows(draft, files.sort(edges))
    logged_rows = int(files["rows"].sum())
    if rows.height != logged_rows:
        raise CompactionRefused(f"{partition}: the log counts {logged_rows} rows, the files hold {rows.height}")
    rows = _in_order(dataset, partition, rows)
    if comparison is not None:
        comparison.compare(partition.values, rows)
    action = draft.write_partition(partition.values, rows)
    if not _file_rows(draft, index_files(dataset, [action])).equals(rows):
        raise CompactionRefused(f"{partition}: the rewritten file reads back differently; nothing was changed")
    return action


def _in_order(dataset: Dataset, partition: Partition, rows: pl.DataFrame) -> pl.DataFrame:
    order = [name for name in dict.fromkeys((*dataset.order, *dataset.key, KNOWN_AT)) if name in rows.columns]
    if len(order) > 1 and order[0] == dataset.time and _increasing(rows[order[0]]):
        return rows
    rows = rows.sort(order)
    if dataset.history and partition.values.get(IS_CURRENT) and _has_duplicates(dataset, rows):
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
    partition_files = []
    for partition in partitions:
        files = by_values.get(tuple(partition.values[name] for name in keys))
        if files is None or files.is_empty():
            raise LakeError(f"nothing is stored in {partition}", fix="see `gb sql 'select * from files'`")
        partition_files.append(files)
    return partition_files


def _increasing(stamps: pl.Series) -> bool:
    """Whether each is later than the one before: then rows are sorted, and none is there twice."""
    return not stamps.null_count() and bool((np.diff(whole_numbers(stamps)) > 0).all())


def _batches(partitions: Sequence[Partition]) -> Iterator[list[Partition]]:
    """Partitions of one table, up to `ROWS_AT_ONCE` rows."""
    by_table: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_table.setdefault(partition.table, []).append(partition)
    for of_table in by_table.values():
        batch: list[Partition] = []
        for partition in of_table:
            if batch and sum(batched.rows for batched in batch) + partition.rows > ROWS_AT_ONCE:
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
    current = None if now is None or dataset.period is None else dataset.period.name_of(now)
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


def _has_duplicates(dataset: Dataset, rows: pl.DataFrame) -> bool:
    # Rows are sorted by the key, so duplicates are neighbours.
    key = [name for name in dataset.key if name in rows.columns]
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    return bool(rows.select(same.any()).item())
