"""This module decides when new sessions are fetched: one schedule per group, on its source's calendar.

What a run does is up to `assets`. Days that were missed are nobody's schedule: they are visible as missing partitions, and a
backfill fetches them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG
from gb_pipeline.orchestration.partitions import Partitioning
from gb_pipeline.orchestration.series_group import SeriesGroup

# A new session is wanted before the next hundred old ones of a backfill.
PRIORITY = "10"
_DAY = timedelta(days=1)
_AFTER_BARS = timedelta(hours=1)
# Longer than any holiday.
_LOOK_BACK = 20 * _DAY


def build_daily_schedule(group: SeriesGroup) -> dg.ScheduleDefinition:
    """Fetch every session after its close, when the vendor has had time to settle: one run for all symbols."""
    partitioning = group.partitioning
    settle = timedelta(minutes=group.source.settle_minutes)
    job = dg.define_asset_job(
        group.daily_name,
        selection=dg.AssetSelection.assets(*group.symbols),
        description=f"The newest session of every series of {group.name}, in one run.",
    )

    @dg.schedule(
        name=group.daily_name,
        job=job,
        cron_schedule=build_cron(partitioning, settle),
        execution_timezone=partitioning.calendar.zone.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{group.source.settle_minutes} minutes after the close of {group.source.calendar}, once its session"
        " has become a partition: fetches it for every symbol. Days without a session are skipped.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        session = find_newest_session(partitioning, now - settle)
        if session is None:
            return dg.SkipReason(f"{group.source.name} wants no session that has ended by now")
        if partitioning.end_of(session) <= now - _DAY - settle:
            return dg.SkipReason(f"no session of {group.source.calendar} ended since {session}")
        tags = {"dagster/priority": PRIORITY, "session": str(session)}
        first = partitioning.key(find_earlier_session(partitioning, session, group.source.refetch_sessions - 1))
        last = partitioning.key(session)
        if first == last:
            return dg.RunRequest(run_key=f"{group.name} {session}", partition_key=last, tags=tags)
        tags |= {RANGE_START_TAG: first, RANGE_END_TAG: last}
        return dg.RunRequest(run_key=f"{group.name} {session}", tags=tags)

    return daily


def build_actions_schedule(group: SeriesGroup, *, running: bool = True) -> dg.ScheduleDefinition:
    """Ask every day, an hour after the bars: what is announced in the evening is known before the next session opens.

    Args:
        group: any of the source's groups.
        running: whether it runs unless somebody stops it.
    """
    settle = timedelta(minutes=group.source.settle_minutes) + _AFTER_BARS
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    job = dg.define_asset_job(
        f"{group.source.name}_corporate_actions_daily",
        selection=dg.AssetSelection.assets(group.actions_key),
        description=f"Corporate actions of every share of {group.source.name}.",
    )
    why = "" if running else " It is stopped by default: the vendor's calls of a day are few, and bars need them."
    return dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=build_cron(group.partitioning, settle),
        execution_timezone=group.partitioning.calendar.zone.key,
        default_status=status,
        description=f"Asks for the corporate actions of every share of {group.source.name}.{why}",
    )


def find_newest_session(partitioning: Partitioning, now: datetime) -> date | None:
    """The last session that is wanted and has ended by `now`; None before the first."""
    today = now.date() + 2 * _DAY
    last = min(today, partitioning.end or today, partitioning.calendar.end or today)
    first = max(partitioning.start, last - _LOOK_BACK)
    sessions = partitioning.calendar.sessions(first, last) if first < last else []
    return next((day for day in reversed(sessions) if partitioning.end_of(day) <= now), None)


def find_earlier_session(partitioning: Partitioning, session: date, count: int) -> date:
    """The session that lies so many before another one, or the first one that is wanted."""
    if count <= 0:
        return session
    first = max(partitioning.start, session - _LOOK_BACK - 4 * count * _DAY)
    earlier = partitioning.calendar.sessions(first, session)[-count:]
    return earlier[0] if earlier else session


def build_cron(partitioning: Partitioning, settle: timedelta) -> str:
    """A cron line: daily at the local time by which, in every season, a session has ended and settled."""
    zone = partitioning.calendar.zone
    # Once in winter and once in summer; the later of the two on the local clock holds for the whole year.
    ends = [partitioning.end_of(day).astimezone(zone) for day in (date(2024, 1, 10), date(2024, 7, 10))]
    noon = [end.replace(hour=12, minute=0) for end in ends]
    # Counted from the session's noon, or an end after midnight would be earlier than one before it.
    latest = max(end - middle if end >= middle else end - middle + _DAY for end, middle in zip(ends, noon, strict=True))
    at = datetime(2024, 1, 10, 12) + latest + settle
    return f"{at.minute} {at.hour} * * *"
