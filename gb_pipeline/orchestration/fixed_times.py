"""This module makes schedules that run some assets at fixed times. Those that follow a market's close are in `schedules`."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

# Of a schedule that would spend what bars need.
STOPPED_FOR_BARS = " It is stopped by default: the vendor's calls of a day are few, and bars need them."


def schedule_assets(
    name: str,
    assets: Iterable[dg.AssetKey],
    cron: str,
    *,
    does: str,
    description: str,
    zone: str = "UTC",
    running: bool = True,
) -> dg.ScheduleDefinition:
    """Run assets without partitions at fixed times.

    Args:
        name: of the schedule, and of its job.
        assets: all that a run makes.
        cron: one line.
        does: what the job does.
        description: of the schedule.
        zone: of the times.
        running: whether it runs unless somebody stops it.
    """
    return dg.ScheduleDefinition(
        name=name,
        job=dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=does),
        cron_schedule=cron,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )
