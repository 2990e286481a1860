"""This module holds what only `daemon` imports from inside Dagster, each name with its reason, as `private` does for the others.

Dagster's daemon takes 0.4 s to import, which no run and no command has to spend.
"""

from __future__ import annotations

# What a backfill's failed partitions are kept in.
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset

# What a backfill says of definitions that lack an asset of its own, on one way ...
from dagster._core.errors import DagsterAssetBackfillDataLoadError as BackfillDataError

# ... what is raised where a location failed to load ...
from dagster._core.errors import DagsterCodeLocationLoadError as LocationError

# ... what a backfill says of them on the other way ...
from dagster._core.errors import DagsterDefinitionChangedDeserializationError as DefinitionsChangedError

# ... and what is raised where nobody answers. Dagster exports no names for them.
from dagster._core.errors import DagsterUserCodeUnreachableError as UnreachableError

# One look at a backfill; see `daemon`.
from dagster._core.execution.asset_backfill import execute_asset_backfill_iteration

# How a backfill ended.
from dagster._core.execution.backfill import BulkActionStatus

# Which run was started in place of a failed one, which backfill a run is of, and the how-manieth one it is.
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_ID_TAG, RETRY_NUMBER_TAG

# What every daemon is given: its instance, and a look at the code locations as they are now.
from dagster._core.workspace.context import IWorkspaceProcessContext as Workspace

# The module of backfills, whose `execute_asset_backfill_iteration` is replaced.
from dagster._daemon import backfill as backfills

# Whether a failed run is started again, and how. Both are as they should be; see `retries` for what is made of an error.
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import retry_run, should_retry

# Its `run_iteration` is replaced.
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon as RetryDaemon

# `dagster-daemon` itself.
from dagster._daemon.cli import main as run_daemon

__all__ = [
    "AUTO_RETRY_RUN_ID_TAG",
    "BACKFILL_ID_TAG",
    "RETRY_NUMBER_TAG",
    "AssetGraphSubset",
    "BackfillDataError",
    "BulkActionStatus",
    "DefinitionsChangedError",
    "LocationError",
    "RetryDaemon",
    "UnreachableError",
    "Workspace",
    "backfills",
    "execute_asset_backfill_iteration",
    "retry_run",
    "run_daemon",
    "should_retry",
]
