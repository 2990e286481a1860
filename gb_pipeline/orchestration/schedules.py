"""This module decides when new sessions are fetched: one schedule per group, on its source's calendar.

It ticks at every time of the day at which a session of the calendar may have closed and settled, so a half day is fetched after
its own close. A tick asks for the sessions that became due since the last one that the schedule asked for: after hours or weeks
without a daemon that are several, in one run, up to `catch_up_sessions`. Older ones stay missing, where a person sees them.
What a run does is up to `assets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG, SCHEDULE_NAME_TAG
from gb_pipeline.orchestration.fixed_times import STOPPED_FOR_BARS, schedule_assets
from gb_pipeline.orchestration.partitions import Partitioning
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.providers.registry import has_instruments

# A new session is wanted before the next hundred old ones of a backfill.
PRIORITY = "10"
SESSION_TAG = "session"
_DAY = timedelta(days=1)
_AFTER_BARS = timedelta(hours=1)
# Longer than any holiday.
_LOOK_BACK = 20 * _DAY
# Exchanges change their hours; a process that runs for longer than this has been started again.
_YEARS = 2 * 365 * _DAY


def build_daily_schedule(group: SeriesGroup, today: date) -> dg.ScheduleDefinition:
    """Fetch every session after its close, when the vendor has had time to settle: one run for all symbols.

    Args:
        group: what is fetched.
        today: the present; the hours of the exchange in the years around it count.
    """
    partitioning, source = group.partitioning, group.source
    settle = timedelta(minutes=source.settle_minutes)
    job = dg.define_asset_job(
        group.daily_name,
        selection=dg.AssetSelection.assets(*group.symbols),
        description=f"The newest session of every series of {group.name}, in one run.",
    )

    @dg.schedule(
        name=group.daily_name,
        job=job,
        cron_schedule=build_crons(partitioning, settle, today),
        execution_timezone=partitioning.calendar.zone.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{source.settle_minutes} minutes after each close of {source.calendar}, half days included: fetches the"
        f" session for every symbol, with those that were missed while no daemon ran, {source.catch_up_sessions} at most."
        " Where no session has closed since, the tick is skipped.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        last = _find_last_requested(context.instance, group)
        due = find_due_sessions(partitioning, settle, last, now)
        if not due:
            return dg.SkipReason(_explain_nothing_due(group, last, now - settle))
        if len(due) > source.catch_up_sessions:
            left = due[: -source.catch_up_sessions]
            context.log.warning(
                f"{group.name}: {len(left)} sessions, {left[0]} to {left[-1]}, were missed and are not caught up:"
                f" catch_up_sessions is {source.catch_up_sessions}; fetch them with `gb update`, or by a backfill"
            )
        return list(_request(group, due[-source.catch_up_sessions :]))

    return daily


def _find_last_requested(instance: dg.DagsterInstance, group: SeriesGroup) -> date | None:
    """The newest session that the schedule has asked for, on record in its newest run."""
    runs = instance.get_runs(dg.RunsFilter(tags={SCHEDULE_NAME_TAG: group.daily_name}), limit=1)
    return date.fromisoformat(runs[0].tags[SESSION_TAG]) if runs and SESSION_TAG in runs[0].tags else None


def find_due_sessions(partitioning: Partitioning, settle: timedelta, last: date | None, now: datetime) -> list[date]:
    """The sessions that are wanted, have closed and settled by `now`, and come after another one, in order.

    Args:
        partitioning: of the group.
        settle: how long after its close a session is due.
        last: the session that was asked for last; without one, only the newest session is due, if it closed within a day.
        now: the present, in UTC.
    """
    begin = now.date() - _LOOK_BACK if last is None else last + _DAY
    closes = partitioning.closes(begin, now.date() + 2 * _DAY)
    since = now - settle - _DAY if last is None else None
    due = [day for day, close in closes.items() if close <= now - settle and (since is None or close > since)]
    return due[-1:] if last is None else due


def _explain_nothing_due(group: SeriesGroup, last: date | None, settled: datetime) -> str:
    closes = group.partitioning.closes(settled.date() - _LOOK_BACK, settled.date() + 2 * _DAY)
    closed = [day for day, close in closes.items() if close <= settled]
    if not closed and last is None:
        return f"{group.source.name} wants no session that has ended by now"
    return f"no session of {group.source.calendar} ended since {last or closed[-1]}"


def _request(group: SeriesGroup, due: Sequence[date]) -> Iterator[dg.RunRequest]:
    """One run, or several where there are more partitions than a run may have; old sessions that vendors correct go with it."""
    partitioning, most = group.partitioning, group.source.partitions_per_run
    first = find_earlier_session(partitioning, due[-1], group.source.refetch_sessions - 1)
    days = pl.Series(partitioning.calendar.sessions(min(first, due[0]), due[-1] + _DAY), dtype=pl.Date)
    keys = partitioning.keys(days).unique(maintain_order=True).to_list()
    for begin in range(0, len(keys), most):
        part = keys[begin : begin + most]
        # The run that is requested last is looked at first: the newest session is on record only when all are requested.
        newest = str(due[-1]) if part[-1] == keys[-1] else str(min(due[-1], partitioning.sessions(part[-1])[1] - _DAY))
        tags = {"dagster/priority": PRIORITY, SESSION_TAG: newest}
        run_key = f"{group.name} {part[0]}..{newest}"
        if len(part) == 1:
            yield dg.RunRequest(run_key=run_key, partition_key=part[0], tags=tags)
        else:
            yield dg.RunRequest(run_key=run_key, tags=tags | {RANGE_START_TAG: part[0], RANGE_END_TAG: part[-1]})


def build_actions_schedule(group: SeriesGroup, today: date, *, running: bool = True) -> dg.ScheduleDefinition:
    """Ask every day, an hour after the bars: what is announced in the evening is known before the next session opens.

    Where the vendor tells of instruments as well, their changes of symbols are asked for in the same run.

    Args:
        group: any of the source's groups.
        today: the present; the hours of the exchange in the years around it count.
        running: whether it runs unless somebody stops it.
    """
    settle = timedelta(minutes=group.source.settle_minutes) + _AFTER_BARS
    return schedule_assets(
        f"{group.source.name}_corporate_actions_daily",
        [group.actions_key, *([group.instruments_key] if has_instruments(group.source) else [])],
        # Once a day, and of a day's possible closes after the last one.
        build_crons(group.partitioning, settle, today)[-1],
        does=f"Corporate actions of every share of {group.source.name}.",
        description=f"Asks for the corporate actions of every share of {group.source.name}."
        + ("" if running else STOPPED_FOR_BARS),
        zone=group.partitioning.calendar.zone.key,
        running=running,
    )


def find_earlier_session(partitioning: Partitioning, session: date, count: int) -> date:
    """The session that lies so many before another one, or the first one that is wanted."""
    if count <= 0:
        return session
    first = max(partitioning.start, session - _LOOK_BACK - 4 * count * _DAY)
    earlier = partitioning.calendar.sessions(first, session)[-count:]
    return earlier[0] if earlier else session


def build_crons(partitioning: Partitioning, settle: timedelta, today: date) -> list[str]:
    """Cron lines in the calendar's zone: every time of the day at which a session of these years has closed and settled."""
    first, last = today - _YEARS, min(today + _YEARS, partitioning.calendar.end or date.max)
    closes = partitioning.calendar.schedule(first, last)["close"] + settle
    local = closes.dt.convert_time_zone(partitioning.calendar.zone.key)
    times = pl.select(hour=local.dt.hour(), minute=local.dt.minute()).unique().sort("hour", "minute")
    return [f"{minute} {hour} * * *" for hour, minute in times.iter_rows()]
