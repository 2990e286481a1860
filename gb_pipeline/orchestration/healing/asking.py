"""This module asks Dagster which runs were to fetch what: those that healing has requested, that failed, or that go on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.runs import UNFINISHED, find_partitions
from gb_pipeline.ingest.attempts import ASKED, DEFERRED
from gb_pipeline.orchestration.deferred import find_missing
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG, UNTIL_TAG, parse_until
from gb_pipeline.orchestration.series_group import SeriesGroup

HEALING_TAG = "gb/healing"
# Longer than all waits usually are together; what a run was to fetch and nobody has asked for since is a backfill's by then.
_LOOK_BACK = timedelta(days=30)
_MOST_RUNS = 1000


def find_asked(instance: dg.DagsterInstance, group: SeriesGroup, now: datetime) -> pl.DataFrame:
    """What healing has requested of a group, as rows of `ASKED`; a run that the vendor's quota deferred asked for nothing."""
    records = _find_runs(instance, dg.RunsFilter(tags={HEALING_TAG: group.name}, created_after=now - _LOOK_BACK))
    return _to_frame(group, (record for record in records if DEFERRED_TAG not in record.dagster_run.tags))


def find_failed(instance: dg.DagsterInstance, group: SeriesGroup, now: datetime) -> pl.DataFrame:
    """What runs of a group that failed were to fetch, as rows of `ASKED`; what a person cancelled is not wanted."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], created_after=now - _LOOK_BACK)
    return _to_frame(group, _find_runs(instance, failed))


def find_deferrals(instance: dg.DagsterInstance, group: SeriesGroup) -> pl.DataFrame:
    """What runs of a group left to the vendor's next day and nobody has fetched since, as rows of `DEFERRED`."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    rows = []
    for record in instance.get_run_records(dg.RunsFilter(tags={DEFERRED_TAG: group.name}, statuses=ended)):
        run, at = record.dagster_run, record.create_timestamp.astimezone(UTC)
        if (until := run.tags.get(UNTIL_TAG)) is None:
            continue
        for partition, series in find_missing(instance, group, run.run_id).items():
            days = group.partitioning.sessions(partition)
            rows += [(group.symbols[key].code, *days, at, run.run_id, parse_until(until)) for key in series]
    return pl.DataFrame(rows, schema=DEFERRED, orient="row")


def find_busy(instance: dg.DagsterInstance, group: SeriesGroup) -> tuple[set[str], bool]:
    """The symbols of a group that runs are fetching just now, and whether any of these runs is healing's."""
    runs = [record.dagster_run for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))]
    codes = {code for run in runs for code in _list_symbols(group, run)}
    return codes, any(run.tags.get(HEALING_TAG) == group.name for run in runs)


def find_deferral(instance: dg.DagsterInstance, group: SeriesGroup) -> datetime | None:
    """Until when the calls of the vendor's day are used up, as the newest run that met that says; None where none did."""
    runs = instance.get_runs(dg.RunsFilter(tags={DEFERRED_TAG: group.name}), limit=1)
    text = runs[0].tags.get(UNTIL_TAG) if runs else None
    return parse_until(text) if text else None


def _find_runs(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterable[dg.RunRecord]:
    return instance.get_run_records(wanted, limit=_MOST_RUNS)


def _to_frame(group: SeriesGroup, records: Iterable[dg.RunRecord]) -> pl.DataFrame:
    rows = [
        (_list_symbols(group, run), *days, record.create_timestamp.astimezone(UTC), run.run_id)
        for record in records
        if (days := _find_days(group, run := record.dagster_run)) is not None
    ]
    runs = pl.DataFrame(rows, schema={**ASKED, "symbol": pl.List(pl.String())}, orient="row")
    return runs.explode("symbol").drop_nulls("symbol")


def _find_days(group: SeriesGroup, run: dg.DagsterRun) -> tuple[date, date] | None:
    """The sessions [first, end) of a run's partitions; None where it has none, or where gb.yaml has others by now."""
    if (partitions := find_partitions(run)) is None:
        return None
    first, last = partitions
    try:
        return group.partitioning.sessions(first)[0], group.partitioning.sessions(last)[1]
    except ValueError:
        return None


def _list_symbols(group: SeriesGroup, run: dg.DagsterRun) -> list[str]:
    if run.asset_selection:
        return [group.symbols[key].code for key in run.asset_selection if key in group.symbols]
    own = {group.daily_name, group.deferred_name, group.healing_name}
    return [symbol.code for symbol in group.symbols.values()] if run.job_name in own else []
