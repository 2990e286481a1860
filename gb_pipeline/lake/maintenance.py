"""This module compacts as many partitions of a lake as possible, and names those that have to be skipped.

The command line and Dagster both use it. How a partition is rewritten, and which ones are worth it, is known to
`storage.compaction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.compaction import CompactionReport, Partition


@dataclass(frozen=True, slots=True)
class TableCompaction:
    """What became of some partitions of one table.

    Attributes:
        reports: one for each that was rewritten.
        skipped: those that stay as they are, each with the reason.
    """

    reports: tuple[CompactionReport, ...]
    skipped: tuple[tuple[Partition, LakeError], ...]


def compact_tables(store: LakeStore, partitions: Iterable[Partition]) -> Iterator[TableCompaction]:
    """Merge the files of partitions, table by table; one that cannot be merged does not keep others from it.

    Example:
        >>> [len(table.reports) for table in compact_tables(store, store.compaction_candidates())]
        [12, 3]
    """
    by_table = sorted(partitions, key=lambda item: item.table)
    for _, group in groupby(by_table, key=lambda item: item.table):
        table_partitions = list(group)
        try:
            yield TableCompaction(tuple(store.compact(*table_partitions)), ())
        except LakeError as error:
            # They share a commit, so one of them may have failed for all.
            if len(table_partitions) > 1:
                yield _one_by_one(store, table_partitions)
            else:
                yield TableCompaction((), ((table_partitions[0], error),))


def _one_by_one(store: LakeStore, partitions: Iterable[Partition]) -> TableCompaction:
    reports: list[CompactionReport] = []
    skipped: list[tuple[Partition, LakeError]] = []
    for partition in partitions:
        try:
            reports += store.compact(partition)
        except LakeError as error:
            skipped.append((partition, error))
    return TableCompaction(tuple(reports), tuple(skipped))
