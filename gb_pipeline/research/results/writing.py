"""This module writes runs: many at once in a commit per table, so that a run is there as a whole or not at all.

Artifacts come first, then metrics, equity, fills and positions, and `runs` last: rows of a save without one there, because it
was cut off or somebody else was faster, do not count. Whether a run is there is decided within the commit, on the newest version.
A sweep of such rows that comes in between makes the save start anew, with rows and artifacts that nobody takes for left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from gb_pipeline.lake.datasets import RUNS
from gb_pipeline.lake.result_rows import PARTS
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.research.results.artifacts import Artifacts
from gb_pipeline.research.results.index import RunIndex, count_purges
from gb_pipeline.research.results.prepared import PreparedRun, keep_artifacts, new_save_id, rows_of
from gb_pipeline.research.results.run import RunName
from gb_pipeline.storage.append import append, sort_rows
from gb_pipeline.storage.commit import Clock, Draft, commit, with_known_at
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.table import Tables


class SaveOutcome(StrEnum):
    """What became of a run that was to be saved."""

    SAVED = "saved"
    UNCHANGED = "unchanged"  # it is there with this content
    REFUSED = "refused"  # it is there with other content


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What became of one run.

    Attributes:
        name: of the run.
        outcome: saved, unchanged or refused.
        digest: SHA-256 of the content that is stored under the name.
    """

    name: RunName
    outcome: SaveOutcome
    digest: str


def save(
    tables: Tables, index: RunIndex, artifacts: Artifacts, runs: Sequence[PreparedRun], clock: Clock
) -> list[SaveReport]:
    """Write those runs that are not there; a report for each, in their order.

    Of several runs of one name in one call the first counts.

    Raises:
        LakeError: the lake cannot be written or is damaged; what was not reported is not there.
    """
    first: dict[RunName, PreparedRun] = {}
    for run in runs:
        first.setdefault(run.name, run)
    stored = {name: str(row["digest"]) for name, row in index.find(list(first)).items()}
    new = [run for name, run in first.items() if name not in stored]
    written: set[RunName] = set()
    if new:
        written, found = _write(tables, index, artifacts, new, clock)
        stored |= found
    reports = []
    for run in runs:
        digest = stored[run.name]
        outcome = SaveOutcome.UNCHANGED if digest == run.digest else SaveOutcome.REFUSED
        if run.name in written and first[run.name] is run:
            outcome = SaveOutcome.SAVED
        reports.append(SaveReport(run.name, outcome, digest))
    return reports


def _write(
    tables: Tables, index: RunIndex, artifacts: Artifacts, runs: list[PreparedRun], clock: Clock
) -> tuple[set[RunName], dict[RunName, str]]:
    """The runs that were written, and the digests of all of them as they are stored now."""
    while True:
        try:
            return _attempt(tables, index, artifacts, runs, clock)
        except _Swept:
            continue


class _Swept(Exception):
    """Rows that no run names were removed meanwhile, and these may have been among them."""


def _attempt(
    tables: Tables, index: RunIndex, artifacts: Artifacts, runs: list[PreparedRun], clock: Clock
) -> tuple[set[RunName], dict[RunName, str]]:
    purges = count_purges(tables.newest(RUNS.name))
    keep_artifacts(artifacts, runs)
    reach("artifacts_kept")
    save_ids = {run.name: new_save_id() for run in runs}
    for dataset in PARTS:
        rows = rows_of(runs, dataset.name, list(save_ids.values()))
        if rows is not None:
            append(tables[dataset.name], rows, clock=clock)
            reach("part_committed")
    types = polars_schema(RUNS.columns)
    columns = {name: [_value(run, name, save_ids) for run in runs] for name in types}
    frame = pl.DataFrame(columns, schema=types)

    def decide(draft: Draft) -> tuple[set[RunName], dict[RunName, str]]:
        if count_purges(draft.base) != purges:
            raise _Swept
        there = {name: str(row["digest"]) for name, row in index.find(list(save_ids), draft.base).items()}
        keep = pl.Series([run.name not in there for run in runs])
        if keep.any():
            rows = frame if keep.all() else frame.filter(keep)
            draft.info = {"operation": "WRITE", "gb": {"runs": rows.height}}
            draft.add(sort_rows(draft.table, with_known_at(rows, draft.stamp, history=False)))
        written = {run.name for run in runs if run.name not in there}
        return written, {run.name: there.get(run.name, run.digest) for run in runs}

    return commit(tables[RUNS.name], decide, clock=clock)


def _value(run: PreparedRun, name: str, save_ids: dict[RunName, int]) -> Any:
    return save_ids[run.name] if name == "save_id" else run.row[name]
