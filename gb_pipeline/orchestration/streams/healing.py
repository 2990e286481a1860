"""Holes in trades are closed by an asset that asks the venues again, and a sensor that requests it where there are some.

What is asked and stored is up to `collectors.healing`; books cannot be asked for afterwards.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.collectors.healing import LOOK_BACK, Healed, find_healable_holes, heal_trades
from gb_pipeline.config.settings import Settings
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.runs import find_unfinished_runs
from gb_pipeline.orchestration.streams.feeds import Feed

HEALING = dg.AssetKey("streams_healing")
JOB = SENSOR = "streams_heal"
_SECONDS = 600
_LISTED = 50
_MICROSECOND = 1_000


def build_healing_asset(settings: Settings, feeds: Sequence[Feed]) -> dg.AssetsDefinition:
    """One asset for the trades of all feeds."""

    @dg.asset(
        key=HEALING,
        group_name="maintenance",
        deps=[feed.key for feed in feeds if feed.dataset is StreamDataset.TRADES],
        description="Asks venues for the trades of stretches that no evidence covers, and stores those that are not there yet.",
    )
    def streams_healing(lake: LakeResource) -> dg.MaterializeResult[None]:
        store = lake.open_store()
        healed = heal_trades(settings, now=microseconds(store.clock()) * _MICROSECOND, store=store)
        return dg.MaterializeResult(metadata=_build_metadata(healed))

    return streams_healing


def build_stream_healing_sensor(lake: LakeResource, feeds: Sequence[Feed]) -> dg.SensorDefinition:
    """Request the asset where trades have holes: once for each new one, and once a day for those that stay."""
    sources = sorted({feed.source for feed in feeds if feed.dataset is StreamDataset.TRADES})

    @dg.sensor(
        name=SENSOR,
        job=dg.define_asset_job(
            JOB,
            selection=dg.AssetSelection.assets(HEALING),
            description="Closes holes in trades by asking venues again.",
        ),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for stretches of trades that no evidence covers, and has venues asked for them: once as they are found,"
        f" and once a day for {LOOK_BACK.days} days.",
    )
    def heal(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        store = lake.open_store()
        now = store.clock()
        holes = find_healable_holes(store, microseconds(now - LOOK_BACK) * _MICROSECOND).filter(
            pl.col("source").is_in(sources)
        )
        if holes.is_empty():
            return dg.SkipReason("trades have no holes that a venue might close")
        if find_unfinished_runs(context.instance, [HEALING], JOB):
            return dg.SkipReason("venues are being asked")
        rows = holes.select("source", "symbol", "start_time").rows()
        return dg.RunRequest(run_key=f"{now.date()} {hashlib.sha256(repr(rows).encode()).hexdigest()[:12]}")

    return heal


def _build_metadata(healed: Sequence[Healed]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "holes": len(healed),
        "healed": sum(item.error is None for item in healed),
        "left": sum(item.error is not None for item in healed),
        "stored": sum(item.stored for item in healed),
    }
    rows = [
        {
            "source": item.source,
            "symbol": item.symbol,
            "seconds": (item.end_time - item.start_time) / 1e9,
            "reason": item.reason or "",
            "stored": item.stored,
            "error": item.error or "",
        }
        for item in healed[-_LISTED:]
    ]
    return metadata | ({"newest": build_table(rows)} if rows else {})
