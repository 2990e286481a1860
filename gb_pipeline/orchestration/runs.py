"""This module asks Dagster which runs are under way, for sensors that wait for them."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from gb_pipeline.dagster_runtime.runs import UNFINISHED


def find_unfinished_runs(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], job: str) -> list[float]:
    """When the runs were created that have not ended and make some of these assets, in seconds since 1970.

    Args:
        instance: whose runs.
        keys: assets that a run selects.
        job: the one of a schedule or sensor, whose runs select nothing.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED))
    return [
        record.create_timestamp.timestamp()
        for record in records
        if record.dagster_run.job_name == job or not set(keys).isdisjoint(record.dagster_run.asset_selection or ())
    ]
