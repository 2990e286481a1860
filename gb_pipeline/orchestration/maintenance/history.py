"""Pruning of Dagster's own history is an asset: every week what no page is made of is removed, once it is old enough."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.pruning.prune import prune
from gb_pipeline.orchestration.fixed_times import schedule_assets
from gb_pipeline.orchestration.maintenance.verify import GROUP
from gb_pipeline.orchestration.resources import LakeResource

PRUNE_EVENTS = dg.AssetKey("prune_events")
PRUNE_EVENTS_JOB = "prune_events_weekly"
# Between the verification and the test of the backup, with which it shares no file.
_CRON = "30 5 * * 0"


def build_prune_events_asset(settings: Settings) -> dg.AssetsDefinition:
    """One asset for the instance that it is run on."""

    @dg.asset(
        key=PRUNE_EVENTS,
        group_name=GROUP,
        description="Removes from Dagster's history what no page is made of, once it is `history_days` of gb.yaml old: what newer"
        " events superseded, logs of old runs, ticks. No partition changes its state, and no asset its newest metadata.",
    )
    def prune_events(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
        if settings.history_days is None:
            return dg.MaterializeResult(metadata={"finding": "gb.yaml keeps all of it: `history_days` is null"})
        before = lake.open_store().clock() - timedelta(days=settings.history_days)
        found: dict[str, Any] = asdict(prune(context.instance, before))
        sentence = f"{found['events']:,} events and {found['run_logs']:,} logs of runs of before {before:%Y-%m-%d} were removed"
        return dg.MaterializeResult(
            metadata={"finding": sentence, "before": dg.MetadataValue.timestamp(before), **found}
        )

    return prune_events


def build_prune_events_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Run it every week; stopped where everything is kept."""
    return schedule_assets(
        PRUNE_EVENTS_JOB,
        [PRUNE_EVENTS],
        _CRON,
        does="Removes from Dagster's history what no page is made of.",
        description="Prunes Dagster's history every Sunday.",
        running=settings.history_days is not None,
    )
