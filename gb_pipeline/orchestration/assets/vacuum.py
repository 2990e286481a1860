"""Vacuum is an asset: files that nobody needs any more are removed every night.

Here are its settings, its schedule and its report; `storage.vacuum` tells what is needed.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from gb_pipeline.catalog.projection import catalog_is_stale, refresh_catalog
from gb_pipeline.config.settings import Settings
from gb_pipeline.iceberg.before_vacuum import prepare_vacuum
from gb_pipeline.orchestration.assets.compaction import POOL
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.fixed_times import schedule_assets
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.storage.vacuum import VacuumReport

VACUUM = dg.AssetKey("vacuum")
VACUUM_JOB = "vacuum_nightly"
# In the hours in which the fewest markets are open.
_CRON = "30 3 * * *"


class VacuumConfig(dg.Config):
    """What is of no use for so long is removed."""

    retention_days: int = Field(
        default=7, ge=1, description="how long a replaced file is kept for those who read an older version"
    )
    dry_run: bool = Field(default=False, description="only count files and bytes")


def build_vacuum_asset(settings: Settings) -> dg.AssetsDefinition:
    """One asset for all tables."""

    @dg.asset(
        key=VACUUM,
        group_name="maintenance",
        kinds={"delta"},
        pool=POOL,
        description="Removes files that compaction or newer versions replaced, and what killed writers left behind, once"
        " they have been of no use for a week. Every version of every bar stays.",
    )
    def vacuum(lake: LakeResource, config: VacuumConfig) -> dg.MaterializeResult[None]:
        # The catalog's views name files: it must not name any that go now.
        if not config.dry_run and catalog_is_stale(lake.store):
            refresh_catalog(lake.store, settings.sources)
        retention = timedelta(days=config.retention_days)
        own = [] if config.dry_run else prepare_vacuum(lake.store, retention)
        reports = [*lake.store.vacuum(retention=retention, dry_run=config.dry_run), *own]
        return dg.MaterializeResult(metadata=_build_metadata(reports, dry_run=config.dry_run))

    return vacuum


def build_vacuum_schedule() -> dg.ScheduleDefinition:
    """Run it every night."""
    return schedule_assets(
        VACUUM_JOB,
        [VACUUM],
        _CRON,
        does="Removes files that nobody needs any more.",
        description="Removes files that have been of no use for a week.",
    )


def _build_metadata(reports: Sequence[VacuumReport], *, dry_run: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "files": sum(report.files for report in reports),
        "bytes": sum(report.bytes for report in reports),
        "deleted": not dry_run,
    }
    rows = [{"table": item.table, "files": item.files, "bytes": item.bytes} for item in reports if item.files]
    return metadata | ({"tables": build_table(rows)} if rows else {})
