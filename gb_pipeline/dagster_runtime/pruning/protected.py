"""This module finds the runs whose events stay, whatever their age."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from gb_pipeline.dagster_runtime.private import SqlEventLogStorage
from gb_pipeline.dagster_runtime.runs import UNFINISHED


def find_protected_runs(
    instance: dg.DagsterInstance, log: SqlEventLogStorage, keys: Iterable[dg.AssetKey], before: datetime
) -> set[str]:
    """Runs that are under way, that ended or changed since, and those by which some partition is red or in progress.

    The last ones are Dagster's own answer: the latest attempt at a partition that is newer than what is stored of it.

    Args:
        keys: of all assets.
        before: with a time zone.
    """
    unfinished = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
    recent = {record.dagster_run.run_id for record in instance.get_run_records(dg.RunsFilter(updated_after=before))}
    attempts = log.get_latest_asset_partition_materialization_attempts_without_materializations
    return unfinished | recent | {run_id for key in keys for run_id, _ in attempts(key).values()}
