"""This module finds the partitions of a group that are not stored although somebody asked for them: failed, refused or deferred.

The ledger knows of the first two. Of what is deferred it says nothing, as nothing is known of it: that is in Dagster's runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.deferred import find_missing
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG
from gb_pipeline.orchestration.events.stored_partitions import find_stored_partitions, recorded_sessions
from gb_pipeline.orchestration.series_group import SeriesGroup

DEFERRED = "deferred"
_FOUND = pl.Schema({"symbol": pl.String(), "key": pl.String(), "status": pl.String()})
_DAY = timedelta(days=1)
_CURSOR = "gb/deferred/{}"
# A run that is under way changes while it is looked at.
_OVERLAP = timedelta(minutes=5)


def find_unstored(instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Partitions of a group that are failed, refused or deferred.

    Returns:
        `symbol, key, status` (String), a row per series and session, or per partition where it is deferred.
    """
    return pl.concat([find_not_stored(store, group), find_deferred(instance, store, group)])


def find_not_stored(store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Sessions of a group that the ledger has as failed or refused: `symbol`, `key` (the partition) and `status`."""
    columns = [*ledger.KEYS, "known_at", "status"]
    rows = ledger.select_valid(ledger.scan(store.tables, group.source.name, group.resolution, columns=columns))
    names = [symbol.code for symbol in group.symbols.values()]
    bad = rows.filter(pl.col("status").is_in(UNSTORED) & pl.col("symbol").is_in(names)).collect()
    if bad.is_empty():
        return pl.DataFrame(schema=_FOUND)
    days = bad["session"].sort()
    # Incidents may explain them: that is asked of these few only.
    sessions = recorded_sessions(store, group, bad["symbol"].unique().to_list(), (days[0], days[-1] + _DAY))
    return sessions.filter(pl.col("status").is_in(UNSTORED)).select("symbol", "key", "status")


def find_deferred(instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Partitions that runs deferred, and that nobody has stored since: `symbol`, `key` and `status`, as `find_not_stored`.

    A run of which everything is stored is not looked at again; the instance remembers which ones are left.
    """
    waiting, after = _read_cursor(instance, group)
    records = _find_runs(instance, group, waiting, after)
    rows = [
        (record.dagster_run.run_id, group.symbols[one].code, key)
        for record in records
        for key, series in find_missing(instance, group, record.dagster_run.run_id).items()
        for one in series
    ]
    found = pl.DataFrame(rows, schema={"run": pl.String(), "symbol": pl.String(), "key": pl.String()}, orient="row")
    found = _drop_stored(store, group, found)
    under_way = {record.dagster_run.run_id for record in records if not record.dagster_run.is_finished}
    newest = max((record.update_timestamp.timestamp() for record in records), default=after)
    _write_cursor(instance, group, under_way | set(found["run"]), max(after, newest))
    return found.drop("run").unique().sort("symbol", "key").with_columns(status=pl.lit(DEFERRED))


def _find_runs(
    instance: dg.DagsterInstance, group: SeriesGroup, waiting: Collection[str], after: float
) -> list[dg.RunRecord]:
    """Runs that deferred something, and of which something was left, or which changed since."""
    since = datetime.fromtimestamp(after, UTC) - _OVERLAP if after else None
    changed = instance.get_run_records(dg.RunsFilter(tags={DEFERRED_TAG: group.name}, updated_after=since))
    known = {record.dagster_run.run_id for record in changed}
    left = sorted(set(waiting) - known)
    return [*changed, *(instance.get_run_records(dg.RunsFilter(run_ids=left)) if left else [])]


def _drop_stored(store: LakeStore, group: SeriesGroup, found: pl.DataFrame) -> pl.DataFrame:
    """Without what was stored before and was to be asked for once more: that is stored."""
    if found.is_empty():
        return found
    symbols = [symbol for symbol in group.symbols.values() if symbol.code in found["symbol"]]
    spans = [group.partitioning.sessions(key) for key in found["key"].unique()]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    stored = find_stored_partitions(store, group, symbols, first, last)
    return found.join(stored, on=["symbol", "key"], how="anti", maintain_order="left")


def _read_cursor(instance: dg.DagsterInstance, group: SeriesGroup) -> tuple[list[str], float]:
    """Runs of which something was left, and the newest change of a run that was looked at; where it is lost, all are looked at."""
    name = _CURSOR.format(group.name)
    state = json.loads(instance.daemon_cursor_storage.get_cursor_values({name}).get(name, "{}"))
    return state.get("waiting", []), state.get("after", 0.0)


def _write_cursor(instance: dg.DagsterInstance, group: SeriesGroup, waiting: set[str], after: float) -> None:
    # Two runs that end at once write one behind the other. Each writes what it has seen as a whole, so a look is repeated at most.
    text = json.dumps({"waiting": sorted(waiting), "after": after})
    instance.daemon_cursor_storage.set_cursor_values({_CURSOR.format(group.name): text})
