"""Looking after a lake: as many partitions as possible are merged, and what has to be left alone is named.

Belongs here: what a person at a terminal and a run of Dagster do alike. Does not belong here: how a partition is rewritten
(`storage.compaction`), and which ones are worth it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.compaction import CompactionReport, Partition


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of some partitions of one table.

    Attributes:
        done: one report for each that was merged.
        left: those that were left as they are, each with the reason.
    """

    done: tuple[CompactionReport, ...]
    left: tuple[tuple[Partition, LakeError], ...]


def merge(store: LakeStore, partitions: Iterable[Partition]) -> Iterator[Merged]:
    """Merge the files of partitions, table by table; one that cannot be merged keeps no other from it.

    Example:
        >>> [len(merged.done) for merged in merge(store, store.compaction_candidates())]
        [12, 3]
    """
    by_table = sorted(partitions, key=lambda item: item.table)
    for _, found in groupby(by_table, key=lambda item: item.table):
        mine = list(found)
        try:
            yield Merged(tuple(store.compact(*mine)), ())
        except LakeError as error:
            # They share a commit, so one of them may speak for all.
            yield _one_by_one(store, mine) if len(mine) > 1 else Merged((), ((mine[0], error),))


def _one_by_one(store: LakeStore, partitions: Iterable[Partition]) -> Merged:
    done: list[CompactionReport] = []
    left: list[tuple[Partition, LakeError]] = []
    for partition in partitions:
        try:
            done += store.compact(partition)
        except LakeError as error:
            left.append((partition, error))
    return Merged(tuple(done), tuple(left))
