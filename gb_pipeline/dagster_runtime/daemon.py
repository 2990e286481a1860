"""`python -m gb_pipeline.dagster_runtime.daemon run OPTIONS...`: Dagster's own daemon, patient with a code server that is gone.

A run that is to be started again is, whenever that is possible again (`retries`); and a backfill whose definitions are not
loaded at the moment waits for them, where Dagster calls it failed for good. Everything else is Dagster's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.private_daemon import (
    BackfillDataError,
    DefinitionsChangedError,
    RetryDaemon,
    UnreachableError,
    Workspace,
    backfills,
    execute_asset_backfill_iteration,
    run_daemon,
)
from gb_pipeline.dagster_runtime.retries import Retries


async def look_at_backfill(
    backfill: Any, logger: logging.Logger, workspace_process_context: Workspace[Any], instance: dg.DagsterInstance
) -> None:
    """Dagster's look at a backfill of assets; there is none while one of them is in a code location that is not loaded.

    Raises:
        UnreachableError: that is so. Dagster looks again half a minute later.
    """
    _refuse_missing_definitions(backfill, workspace_process_context)
    try:
        await execute_asset_backfill_iteration(backfill, logger, workspace_process_context, instance)
    except (BackfillDataError, DefinitionsChangedError):
        # It takes another look at the locations, and one may have gone in between.
        _refuse_missing_definitions(backfill, workspace_process_context)
        raise


def _refuse_missing_definitions(backfill: Any, context: Workspace[Any]) -> None:
    workspace = context.create_request_context()
    errors = workspace.code_location_errors()
    if errors and not all(workspace.asset_graph.has(key) for key in backfill.asset_selection or ()):
        raise UnreachableError(errors[0].message)


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
