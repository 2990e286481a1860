"""This module keeps the index of all runs: segments in memory, brought up to the newest version of `runs`, and their files.

Rows of `runs` are added, and their `known_at` grows in the order of the log, so whatever became known after the last look is all
that is new: compaction changes nothing here. Only a purge takes rows away, and the table counts purges. The files lie in the folder
of state, can be removed at any time, and are made again of the table.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import polars as pl

from gb_pipeline.lake.datasets import RUNS
from gb_pipeline.market.moments import from_microseconds, instant_literal
from gb_pipeline.research.results.index_files import IndexFiles
from gb_pipeline.research.results.run import RunName
from gb_pipeline.research.results.segments import COLUMNS, Segment, merge
from gb_pipeline.storage import reading
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

# The application transaction that counts purges of `runs`.
PURGES = "purges"
# Runs of one segment at most, when the index is made of the table.
_ROWS_AT_ONCE = 250_000
# Segments with fewer runs are put together once there are so many; files are written when so many runs are in none.
_SMALL, _MANY, _WORTH_A_FILE = 20_000, 6, 2_000


class RunIndex:
    """All runs of a lake. Safe to share between threads."""

    def __init__(self, tables: Tables) -> None:
        """Nothing is read before it is needed."""
        self._tables = tables
        self._files = IndexFiles(tables.storage.state / "results")
        self._guard = threading.RLock()
        self._table_id, self._clock, self._purges = "", 0, 0
        self._segments: list[Segment] = []
        self._filed = 0

    def segments(self, snapshot: Snapshot | None = None) -> Sequence[Segment]:
        """Segments with all runs of a version, the newest by default; later ones may be in it, too.

        Raises:
            LakeError: the table cannot be read, or is damaged.
        """
        newest = self._tables.newest(RUNS.name) if snapshot is None else snapshot
        with self._guard:
            if newest.version < 0:
                return ()
            if newest.table_id != self._table_id:
                self._load(newest)
            if count_purges(newest) > self._purges:
                self._forget(newest)
            if newest.clock > self._clock:
                self._read_on(newest)
            return tuple(self._segments)

    def find(self, names: Sequence[RunName], snapshot: Snapshot | None = None) -> dict[RunName, dict[str, object]]:
        """What the index has of some runs, those that there are."""
        keys = np.array([name.key for name in names], dtype=np.int64)
        wanted = set(names)
        found = {}
        for segment in self.segments(snapshot):
            for row in segment.find(keys).iter_rows(named=True):
                name = RunName(row["strategy"], row["version"], row["run_id"])
                if name in wanted:
                    found[name] = row
        return found

    def _load(self, newest: Snapshot) -> None:
        self._table_id, self._clock, self._segments = newest.table_id, 0, []
        self._purges = count_purges(newest)
        kept = self._files.read(newest.table_id)
        if kept is not None and kept.clock <= newest.clock and kept.purges <= self._purges:
            self._clock, self._purges, self._segments = kept.clock, kept.purges, list(kept.segments)
        self._filed = sum(segment.runs.height for segment in self._segments)

    def _forget(self, newest: Snapshot) -> None:
        """Leave out the runs that were purged, here and in the files."""
        self._purges = count_purges(newest)
        ids = reading.read(self._tables.storage, RUNS, newest.files, ["save_id"])["save_id"].to_numpy()
        kept = [(segment, np.isin(segment.runs["save_id"].to_numpy(), ids)) for segment in self._segments]
        if all(rows.all() for _, rows in kept):
            return
        self._segments = [segment if rows.all() else segment.keep(rows) for segment, rows in kept if rows.any()]
        self._filed = sum(segment.runs.height for segment in self._segments)
        self._files.write(self._table_id, self._clock, self._purges, self._segments)

    def _read_on(self, newest: Snapshot) -> None:
        """Add the runs that became known since."""
        files = newest.files.filter(pl.col("max.known_at").cast(pl.Int64) > self._clock)
        since = from_microseconds(self._clock)
        for part in _steps(files):
            rows = reading.read(self._tables.storage, RUNS, part, list(COLUMNS))
            rows = rows.filter(pl.col("known_at") > instant_literal(since))
            if rows.height:
                self._segments.append(Segment.make(rows))
        self._clock = newest.clock
        self._tidy()

    def _tidy(self) -> None:
        small = [segment for segment in self._segments if segment.runs.height < _SMALL]
        if len(small) >= _MANY:
            large = [segment for segment in self._segments if segment.runs.height >= _SMALL]
            self._segments = [*large, merge(small)]
        runs = sum(segment.runs.height for segment in self._segments)
        if runs - self._filed >= max(_WORTH_A_FILE, self._filed // 50):
            self._filed = runs
            self._files.write(self._table_id, self._clock, self._purges, self._segments)


def count_purges(snapshot: Snapshot) -> int:
    """How often runs were purged, or rows swept, up to a version."""
    return int(snapshot.transactions.get(PURGES, 0))


def _steps(files: pl.DataFrame) -> list[pl.DataFrame]:
    """Files of about as many rows each as a segment has."""
    if files.is_empty():
        return []
    step = (files["rows"].cum_sum() - 1) // _ROWS_AT_ONCE
    return files.with_columns(step.alias("step")).partition_by("step", maintain_order=True, include_key=False)
