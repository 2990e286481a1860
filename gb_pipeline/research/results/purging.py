"""This module removes runs for good, and the rows that no run names: of saves and purges that were cut off.

A purge takes the rows of `runs` away in one commit, by which the runs are gone, and then what belonged to them. Killed in between,
the same purge, or a sweep, does what is left. A save that is under way meanwhile notices that commit and starts anew, so a sweep
never takes rows of a run that is about to count. Artifacts that nobody names any more go with `gb vacuum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.datasets import RESULT_NOTES, RUNS
from gb_pipeline.lake.removals import check_reason
from gb_pipeline.lake.result_rows import PARTS, live_ids, orphan_files
from gb_pipeline.lake.rewriting import leave_out
from gb_pipeline.market.moments import from_microseconds, instant_literal
from gb_pipeline.research.results import querying
from gb_pipeline.research.results.conditions import RunQuery, listed
from gb_pipeline.research.results.index import PURGES, RunIndex
from gb_pipeline.research.results.notes import Note, Notes
from gb_pipeline.research.results.run import RunName, shard_of
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

# What a purge leaves, to be said to whoever asks for one.
LEFT = (
    "files that held them and artifacts that nobody names any more, until `gb vacuum` frees them",
    "a note of each version with the reason, and log entries with counts",
    "runs that wait in the spool of a writer, which saves them",
    "the index of runs on other machines, until they look again; backups, synced copies and exports",
)
# More runs than this are noted by version, not one by one.
_NOTED_ALONE = 100


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What was removed.

    Attributes:
        runs: that are gone.
        rows: of other tables that no run names, by table.
    """

    runs: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)


def chosen_names(index: RunIndex, query: RunQuery, snapshot: Snapshot | None = None) -> dict[int, RunName]:
    """The runs that a query means, retired or not, by the id of their save."""
    found: dict[int, RunName] = {}
    for segment in index.segments(snapshot):
        rows = querying.chosen_rows(segment, query, None)
        chosen = segment.runs.select("save_id", "strategy", "version", "run_id")[rows]
        found |= {save_id: RunName(*names) for save_id, *names in chosen.iter_rows()}
    return found


def purge(tables: Tables, index: RunIndex, notes: Notes, query: RunQuery, reason: str, clock: Clock) -> PurgeReport:
    """Remove the runs that a query means; see `Results.purge`."""
    reason = check_reason(reason)
    strategies = listed(query.strategy)
    if not strategies:
        raise ConfigError("a purge of all strategies was not meant", fix="name the strategy whose runs are to go")
    chosen = chosen_names(index, query)
    if chosen:
        notes.add(_purge_notes(list(chosen.values()), reason), clock)
        reach("purge_noted")
    report = _sweep(tables, index, query, reason, clock)
    if not report.runs and not any(report.rows.values()):
        raise LakeError(f"no run of {', '.join(strategies)} is meant", fix="see `gb results list`; nothing was changed")
    return report


def sweep(tables: Tables, index: RunIndex, clock: Clock) -> PurgeReport:
    """Remove rows that no run names; see `Results.sweep`."""
    return _sweep(tables, index, None, "", clock)


def _purge_notes(names: Sequence[RunName], reason: str) -> list[Note]:
    if len(names) <= _NOTED_ALONE:
        return [Note(name.strategy, name.version, name.run_id, "purge", None, reason) for name in names]
    versions = dict.fromkeys((name.strategy, name.version) for name in names)
    return [Note(*version, None, "purge", None, reason) for version in versions]


def _sweep(tables: Tables, index: RunIndex, query: RunQuery | None, reason: str, clock: Clock) -> PurgeReport:
    """Take runs out of `runs`, if any, and then every row that was there before and that no run names."""
    strategies = None if query is None else listed(query.strategy)
    # Rows that become known later may be of a save that began after the commit below.
    before = {dataset.name: tables.newest(dataset.name).clock for dataset in (*PARTS, RESULT_NOTES)}
    if tables.newest(RUNS.name).version < 0 and not any(before.values()):
        return PurgeReport()

    def decide(draft: Draft) -> int:
        wanted = {} if query is None else chosen_names(index, query, draft.base)
        files = _select(draft.base, strategies) if wanted else draft.base.files.clear()
        gone = pl.col("save_id").is_in(pl.Series(list(wanted), dtype=pl.Int64).implode())
        count = sum(leave_out(draft, files[place : place + 1], gone) for place in range(files.height))
        # Every save that is under way sees it, and starts anew.
        draft.set_transaction(PURGES, draft.base.transactions.get(PURGES, 0) + 1)
        draft.info = {"operation": "DELETE", "gb": {"runs": count, "reason": reason}}
        return count

    runs = commit(tables[RUNS.name], decide, clock=clock)
    reach("runs_purged")
    after = tables.newest(RUNS.name)
    live = live_ids(tables, _select(after, strategies))
    rows = {}
    for dataset in PARTS:
        rows[dataset.name] = _sweep_part(tables, dataset, live, strategies, before[dataset.name], clock)
        reach("rows_purged")
    rows[RESULT_NOTES.name] = _sweep_notes(tables, after, strategies, before[RESULT_NOTES.name], clock)
    reach("notes_purged")
    # The files of the index on this machine name nothing that is gone.
    index.segments()
    return PurgeReport(runs, rows)


def _select(snapshot: Snapshot, strategies: Sequence[str] | None) -> pl.DataFrame:
    if strategies is None:
        return snapshot.files
    return snapshot.select({"shard": sorted(set(map(shard_of, strategies)))}, holding={"strategy": list(strategies)})


def _sweep_part(
    tables: Tables,
    dataset: Dataset,
    live: npt.NDArray[np.int64],
    strategies: Sequence[str] | None,
    before: int,
    clock: Clock,
) -> int:
    is_live = pl.col("save_id").is_in(pl.Series(live, dtype=pl.Int64).implode())
    gone = ~is_live & (pl.col("known_at") <= instant_literal(from_microseconds(before)))
    if strategies is not None:
        # Saves of other strategies in the same files are not known here.
        gone &= pl.col("strategy").is_in(list(strategies))

    def decide(draft: Draft) -> int:
        files = orphan_files(tables, draft.base, live, _select(draft.base, strategies))
        draft.info = {"operation": "DELETE", "gb": {"purge": True}}
        return sum(leave_out(draft, file, gone) for file, _ in files)

    return commit(tables[dataset.name], decide, clock=clock)


def _sweep_notes(tables: Tables, runs: Snapshot, strategies: Sequence[str] | None, before: int, clock: Clock) -> int:
    """Remove what was said of runs and versions that are gone, but not why they were purged."""
    names = ["strategy", "version", "run_id"]
    there = reading.read(tables.storage, RUNS, _select(runs, strategies), names)
    # Names have no slash, so each text is one of them.
    of_run, of_version = pl.concat_str(names, separator="/"), pl.concat_str(names[:2], separator="/")
    live_runs, live_versions = (there.select(text.alias("text"))["text"].unique() for text in (of_run, of_version))
    is_live = (
        pl.when(pl.col("run_id").is_null())
        .then(of_version.is_in(live_versions.implode()))
        .otherwise(of_run.is_in(live_runs.implode()))
    )
    gone = ~is_live & (pl.col("kind") != "purge") & (pl.col("known_at") <= instant_literal(from_microseconds(before)))
    if strategies is not None:
        gone &= pl.col("strategy").is_in(list(strategies))

    def decide(draft: Draft) -> int:
        files = _select(draft.base, strategies)
        return sum(leave_out(draft, files[place : place + 1], gone) for place in range(files.height))

    return commit(tables[RESULT_NOTES.name], decide, clock=clock)
