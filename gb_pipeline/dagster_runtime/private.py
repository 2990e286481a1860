"""This module holds everything that gb_pipeline imports from inside Dagster, each name with the reason for it.

Dagster promises nothing about modules whose name begins with an underscore, so no other module imports them, and a test holds
that. `pyproject.toml` pins Dagster to the patch below. Whoever raises the pin looks at each name again, runs the tests of
`orchestration`, and writes the new version here.
"""

from __future__ import annotations

# A check's result has to name the materialisation that it speaks about, or Dagster's pages do not show it. Events that
# Dagster yields itself get this from its own step; events that are logged while the run goes on have to say it themselves.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as CheckTarget,
)

# What Dagster keeps of an asset's days: ranges. Joined key by key they take longer than everything else; see `known_windows`.
from dagster._core.definitions.partitions.subset.time_window import TimeWindowPartitionsSubset

# The type of what `dagster.define_asset_job` returns, which has no public name; for annotations alone.
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

# What an event of a run holds. Dagster's public way of reporting one outside of a run, `report_runless_asset_event`, takes the
# checks of a partition only once: the second result of the same check is refused by a constraint of the database.
from dagster._core.events import AssetMaterializationPlannedData, AssetObservationData, StepMaterializationData

# What a launcher of runs is given, and what it answers when Dagster's monitoring asks it; see `celery_launcher`.
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

# The event log of an instance on disk, whose methods open a connection for each statement; see `event_log`.
from dagster._core.storage.event_log import SqliteEventLogStorage

# The tables of the event log, in SQLite and PostgreSQL. Dagster removes the events of a run or of an asset as a whole, and with
# them what it shows of partitions; see `pruning`.
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as CHECKS

# The tags of its events ...
from dagster._core.storage.event_log.schema import AssetEventTagsTable as EVENT_TAGS

# ... and the events.
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as EVENTS

# The class that both logs are made from: only their tables are known.
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

# The name of its file that all runs share.
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

# What the pages show of partitions is computed and cached by this alone; see `status_cache`.
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

# SQLAlchemy's, with the settings that Dagster's own connections have.
from dagster._core.storage.sql import create_engine

# A run over a range of partitions is requested with a tag for its end ...
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG as RANGE_END_TAG

# ... and one for its start. Dagster documents their texts and exports no names.
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG as RANGE_START_TAG

# Which retries a failed run gets; without it the daemon would start a run of ours again that it knows nothing of. By the other
# one a schedule finds the runs that it has requested, and so the session that it is to go on from. The last one is set on a
# failed run that the daemon starts again: who says that a run failed says this too.
from dagster._core.storage.tags import MAX_RETRIES_TAG, SCHEDULE_NAME_TAG, WILL_RETRY_TAG

# What dagster.yaml says of a class that it names, handed on as it is; and what a launcher sends to a worker, read.
from dagster._serdes import ConfigurableClassData, unpack_value

CHECKED_WITH = "1.13.27"

__all__ = [
    "CHECKED_WITH",
    "CHECKS",
    "EVENTS",
    "EVENT_TAGS",
    "INDEX_SHARD_NAME",
    "MAX_RETRIES_TAG",
    "RANGE_END_TAG",
    "RANGE_START_TAG",
    "SCHEDULE_NAME_TAG",
    "WILL_RETRY_TAG",
    "AssetJob",
    "AssetMaterializationPlannedData",
    "AssetObservationData",
    "CheckRunHealthResult",
    "CheckTarget",
    "ConfigurableClassData",
    "LaunchRunContext",
    "SqlEventLogStorage",
    "SqliteEventLogStorage",
    "StepMaterializationData",
    "TimeWindowPartitionsSubset",
    "WorkerStatus",
    "create_engine",
    "get_and_update_asset_status_cache_value",
    "unpack_value",
]
