"""The universe of a source whose symbols are discovered is an asset: what the vendor lists, asked for every day.

Here are its schedule and its page; `universe.discovery` asks, chooses and merges. New symbols become series of their own once
the definitions are loaded anew, which the run asks the page for.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.catalog.tables import bar_tables
from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.reload import request_reload
from gb_pipeline.errors import GbError
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.fixed_times import STOPPED_FOR_BARS, schedule_assets
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.universe.discovery import Refreshed, refresh

# Between the last close in America and the first open in Asia that is not on a Monday.
_CRON = "45 22 * * *"
_LISTED = 50


class UniverseConfig(dg.Config):
    """How a list is taken that cannot be true."""

    force: bool = Field(default=False, description="accept a list that has lost more than half its symbols")


def is_discovered(group: SeriesGroup) -> bool:
    """Whether the symbols of the group's source come from its vendor's list."""
    return group.source.universe.spec.discover is not None


def build_universe_asset(settings: Settings, group: SeriesGroup) -> dg.AssetsDefinition:
    """One unpartitioned asset per source.

    Args:
        settings: whose sources the catalog describes.
        group: any of the source's groups; it may have no symbols yet.
    """
    source = group.source

    @dg.asset(
        key=group.universe_key,
        group_name="universe",
        kinds={"python"},
        tags={"vendor": group.vendor},
        pool=group.pool,
        required_resource_keys=list_required_resources(source),
        description=f"What `{source.name}` ({group.vendor}) lists and `discover` of gb.yaml chooses. Nobody is ever taken"
        " out: who leaves or is delisted keeps its series.",
    )
    def universe(context: dg.AssetExecutionContext, config: UniverseConfig) -> dg.MaterializeResult[None]:
        lake: LakeResource = context.resources.lake
        try:
            found = refresh(lake.store, with_run_credentials(context, source), force=config.force)
        except GbError as error:
            # What the transport did not get by repeating, another attempt will not get either.
            raise dg.Failure(error.what, metadata={"fix": error.fix or ""}, allow_retries=False) from error
        if found.changes and bar_tables(lake.store.tables):
            # Listing dates are in the catalog.
            refresh_catalog(lake.store, settings.reload().sources)
        joined = any(change.kind == "joined" for change in found.changes)
        reloaded = request_reload() if joined else None
        if reloaded:
            context.log.info(f"new symbols: {reloaded}")
        return dg.MaterializeResult(metadata=build_metadata(found, reloaded))

    return universe


def build_universe_schedule(group: SeriesGroup, *, running: bool = True) -> dg.ScheduleDefinition:
    """Ask every day.

    Args:
        group: any of the source's groups.
        running: whether it runs unless somebody stops it.
    """
    name = f"{group.source.name}_universe_daily"
    return schedule_assets(
        name,
        [group.universe_key],
        _CRON,
        does=f"New listings and delistings of {group.source.name}.",
        description=f"Asks {group.vendor} what it lists, and loads the definitions anew where symbols joined."
        + ("" if running else STOPPED_FOR_BARS),
        running=running,
    )


def build_metadata(found: Refreshed, reloaded: str | None) -> Mapping[str, Any]:
    """What a materialisation shows; numbers are plotted over time.

    Args:
        found: by the refresh.
        reloaded: what became of the definitions; None where no symbol joined.
    """
    kinds = Counter(change.kind for change in found.changes)
    metadata: dict[str, Any] = {
        "status": ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) or "nothing changed",
        "listed": found.listed,
        "chosen": found.chosen,
        "known": found.known,
        "file": str(found.path),
    }
    if reloaded is not None:
        metadata["definitions"] = reloaded
    if found.changes:
        rows = [{"symbol": one.code, "change": one.kind, "what": one.detail} for one in found.changes[:_LISTED]]
        metadata["changes"] = build_table(rows)
    return metadata
