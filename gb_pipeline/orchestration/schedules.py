"""When new sessions are fetched.

Belongs here: one schedule per dataset, on its source's calendar. Does not belong here: what a run does (`assets`), and days
that were missed: those are visible as missing partitions, and a backfill fetches them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.partitions import Partitioning

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# A new session is wanted before the next hundred old ones of a backfill.
PRIORITY = "10"
_DAY = timedelta(days=1)
_AFTER_BARS = timedelta(hours=1)
# Longer than any holiday.
_LOOK_BACK = 20 * _DAY


def daily_name(dataset: Dataset) -> str:
    """Of the schedule and its job."""
    return f"{dataset.name}_daily"


def daily_job(dataset: Dataset) -> UnresolvedAssetJobDefinition:
    """The job that the schedule starts: all series of the dataset."""
    return dg.define_asset_job(
        daily_name(dataset),
        selection=dg.AssetSelection.assets(*dataset.symbols),
        description=f"The newest session of every series of {dataset.name}, in one run.",
    )


def daily_schedule(dataset: Dataset, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """After every close, when the vendor has had time to settle: one run for all symbols."""
    partitioning = dataset.partitioning
    settle = timedelta(minutes=dataset.source.settle_minutes)

    @dg.schedule(
        name=daily_name(dataset),
        job=job,
        cron_schedule=cron(partitioning, settle),
        execution_timezone=partitioning.calendar.zone.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{dataset.source.settle_minutes} minutes after the close of {dataset.source.calendar}, once its session"
        " has become a partition: fetches it for every symbol. Days without a session are skipped.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        session = newest(partitioning, now - settle)
        if session is None:
            return dg.SkipReason(f"{dataset.source.name} wants no session that has ended by now")
        if partitioning.ended(session) <= now - _DAY - settle:
            return dg.SkipReason(f"no session of {dataset.source.calendar} ended since {session}")
        key = partitioning.key(session)
        return dg.RunRequest(
            run_key=f"{dataset.name} {session}",
            partition_key=key,
            tags={"dagster/priority": PRIORITY, "session": str(session)},
        )

    return daily


def actions_job(dataset: Dataset, key: dg.AssetKey) -> UnresolvedAssetJobDefinition:
    """The job that asks for the corporate actions of a source."""
    return dg.define_asset_job(
        f"{dataset.source.name}_corporate_actions_daily",
        selection=dg.AssetSelection.assets(key),
        description=f"Corporate actions of every share of {dataset.source.name}.",
    )


def actions_schedule(
    dataset: Dataset, job: UnresolvedAssetJobDefinition, *, running: bool = True
) -> dg.ScheduleDefinition:
    """Every day, an hour after the bars: what is announced in the evening is known before the next session opens.

    Args:
        dataset: any of the source's datasets.
        job: `actions_job`.
        running: whether it runs unless somebody stops it.
    """
    settle = timedelta(minutes=dataset.source.settle_minutes) + _AFTER_BARS
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    why = "" if running else " It is stopped by default: the vendor's calls of a day are few, and bars need them."
    return dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=cron(dataset.partitioning, settle),
        execution_timezone=dataset.partitioning.calendar.zone.key,
        default_status=status,
        description=f"Asks for the corporate actions of every share of {dataset.source.name}.{why}",
    )


def newest(partitioning: Partitioning, now: datetime) -> date | None:
    """The last session that is wanted and has ended; None before the first."""
    today = now.date() + 2 * _DAY
    last = min(today, partitioning.end or today, partitioning.calendar.end or today)
    first = max(partitioning.start, last - _LOOK_BACK)
    sessions = partitioning.calendar.sessions(first, last) if first < last else []
    return next((day for day in reversed(sessions) if partitioning.ended(day) <= now), None)


def cron(partitioning: Partitioning, settle: timedelta) -> str:
    """Daily at the local time by which, in every season, a session has ended and settled."""
    zone = partitioning.calendar.zone
    # Once in winter and once in summer; the later of the two on the local clock holds for the whole year.
    ends = [partitioning.ended(day).astimezone(zone) for day in (date(2024, 1, 10), date(2024, 7, 10))]
    noon = [end.replace(hour=12, minute=0) for end in ends]
    # Counted from the session's noon, or an end after midnight would be earlier than one before it.
    latest = max(end - middle if end >= middle else end - middle + _DAY for end, middle in zip(ends, noon, strict=True))
    at = datetime(2024, 1, 10, 12) + latest + settle
    return f"{at.minute} {at.hour} * * *"
