"""`python -m gb_pipeline.dagster_runtime.daemon run OPTIONS...`: Dagster's own daemon, patient with a code server that is gone.

A run that is to be started again is, whenever that is possible again (`retries`); and a backfill whose definitions are not
loaded at the moment waits for them, where Dagster calls it failed for good; and one of which a run left out what cannot be had yet
ends well. Everything else is Dagster's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.private import WILL_RETRY_TAG
from gb_pipeline.dagster_runtime.private_daemon import (
    BACKFILL_ID_TAG,
    AssetGraphSubset,
    BackfillDataError,
    BulkActionStatus,
    DefinitionsChangedError,
    RetryDaemon,
    UnreachableError,
    Workspace,
    backfills,
    execute_asset_backfill_iteration,
    run_daemon,
    should_retry,
)
from gb_pipeline.dagster_runtime.retries import Retries
from gb_pipeline.dagster_runtime.runs import LEFT_OUT_TAG

_MOMENT = 10.0


async def look_at_backfill(
    backfill: Any, logger: logging.Logger, workspace_process_context: Workspace[Any], instance: dg.DagsterInstance
) -> None:
    """Dagster's look at a backfill of assets; there is none while one of them is in a code location that is not loaded.

    Raises:
        UnreachableError: that is so, or a run has only just failed. Dagster looks again half a minute later.
    """
    _refuse_missing_definitions(backfill, workspace_process_context)
    _decide_failed_runs(backfill, instance)
    try:
        await execute_asset_backfill_iteration(backfill, logger, workspace_process_context, instance)
    except (BackfillDataError, DefinitionsChangedError):
        # It takes another look at the locations, and one may have gone in between.
        _refuse_missing_definitions(backfill, workspace_process_context)
        raise
    _end_well(backfill.backfill_id, workspace_process_context, instance)


def _end_well(backfill_id: str, context: Workspace[Any], instance: dg.DagsterInstance) -> None:
    """Call a backfill successful of which every run was, although some left out a day that is not over, or that was deferred.

    Dagster calls partitions failed of which a run said nothing that counts; on the pages of the series they are missing.
    """
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.status is not BulkActionStatus.COMPLETED_FAILED:
        return
    runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))
    whole = all(run.status is dg.DagsterRunStatus.SUCCESS for run in runs)
    if not whole or not any(LEFT_OUT_TAG in run.tags for run in runs):
        return
    graph = context.create_request_context().asset_graph
    data = backfill.get_asset_backfill_data(graph).with_failed_and_downstream_subset(
        AssetGraphSubset.create_empty_subset()
    )
    # What was asked for and is not there would be shown as in progress for ever.
    data = data._replace(requested_subset=data.materialized_subset)
    backfill = backfill.with_asset_backfill_data(data, dynamic_partitions_store=instance, asset_graph=graph)
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))  # type: ignore[no-untyped-call]


def _refuse_missing_definitions(backfill: Any, context: Workspace[Any]) -> None:
    workspace = context.create_request_context()
    errors = workspace.code_location_errors()
    if errors and not all(workspace.asset_graph.has(key) for key in backfill.asset_selection or ()):
        raise UnreachableError(errors[0].message)


def _decide_failed_runs(backfill: Any, instance: dg.DagsterInstance) -> None:
    """Say of each failed run whether it is started again: where nobody could, Dagster would take the backfill as over."""
    if not instance.run_retries_enabled:
        return
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={BACKFILL_ID_TAG: backfill.backfill_id})
    for record in instance.get_run_records(failed):
        if WILL_RETRY_TAG in record.dagster_run.tags:
            continue
        # Who says that a run failed says why, and whether it is started again, a moment later.
        if 0 <= time.time() - record.update_timestamp.timestamp() < _MOMENT:
            raise UnreachableError("a run has just failed, and it is not known yet whether it is started again")
        should_retry(record.dagster_run, instance)


def correct_daemon() -> Retries:
    """Put both into Dagster's daemon, for this process."""
    retries = Retries()

    def run_iteration(_: RetryDaemon, workspace_process_context: Workspace[Any]) -> Iterator[None]:
        yield from retries.look(workspace_process_context)

    RetryDaemon.run_iteration = run_iteration  # type: ignore[method-assign, assignment]
    backfills.execute_asset_backfill_iteration = look_at_backfill  # type: ignore[attr-defined, unused-ignore]
    return retries


def main() -> None:
    """Run the daemon."""
    correct_daemon()
    run_daemon()


if __name__ == "__main__":
    main()
