"""Backups are assets: the lake is copied every night, and the copy is restored every week to see whether it can be.

Both do nothing, and say so, where gb.yaml names no place under `backup`.
"""

from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.restore_test import RestoreRecord, record_restore, try_restore
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.assets.compaction import POOL
from gb_pipeline.orchestration.fixed_times import schedule_assets
from gb_pipeline.orchestration.maintenance.verify import GROUP
from gb_pipeline.orchestration.resources import LakeResource

BACKUP, RESTORE_TEST = dg.AssetKey("backup"), dg.AssetKey("restore_test")
BACKUP_JOB, RESTORE_TEST_JOB = "backup_nightly", "restore_test_weekly"
NO_BACKUP = "no backup is configured: name a folder or a bucket under `backup` in gb.yaml"
# Before the vacuum, which removes files that a copy under way may need; and after the verification of the lake itself.
_NIGHTLY, _WEEKLY = "30 2 * * *", "30 6 * * 0"


class RestoreTestConfig(dg.Config):
    """How much is restored."""

    most_gb: float = Field(
        default=10.0,
        gt=0,
        description="a larger backup is restored in part: series by chance, other ones every week; never more than half of the"
        " room on the disk of the state's folder",
    )


def build_backup_asset(settings: Settings) -> dg.AssetsDefinition:
    """The copy that gb.yaml names."""

    @dg.asset(
        key=BACKUP,
        group_name=GROUP,
        kinds={"delta"},
        pool=POOL,
        description="Copies to the place of `backup` in gb.yaml what is not there yet, and compares both places.",
    )
    def backup(lake: LakeResource) -> dg.MaterializeResult[None]:
        address, store = settings.backup_address(), lake.open_store()
        if address is None or not store.storage.exists:
            return dg.MaterializeResult(metadata={"finding": NO_BACKUP if address is None else "nothing is stored yet"})
        report = plan_copy(store, LakeStore.at(address)).run()
        return dg.MaterializeResult(
            metadata={
                "place": str(address),
                "files": report.files,
                "bytes": report.bytes,
                "fingerprint": report.fingerprint,
                "finding": "the copy says the same of every session",
            }
        )

    return backup


def build_restore_test_asset(settings: Settings) -> dg.AssetsDefinition:
    """The test of that copy."""

    @dg.asset(
        key=RESTORE_TEST,
        group_name=GROUP,
        kinds={"delta"},
        pool=POOL,
        description="Restores the backup, or series of it by chance where it is large, into a temporary folder, verifies what was"
        " restored, and compares fingerprints.",
    )
    def restore_test(lake: LakeResource, config: RestoreTestConfig) -> dg.MaterializeResult[None]:
        address, store = settings.backup_address(), lake.open_store()
        if address is None:
            return dg.MaterializeResult(metadata={"finding": NO_BACKUP})
        began = store.clock()
        week = began.strftime("%G-%V")
        record = try_restore(store, LakeStore.at(address), most_bytes=int(config.most_gb * 1e9), seed=week)
        record_restore(store.storage, record)
        if record.problems:
            raise dg.Failure(
                f"the backup at {record.place} has {record.problems:,} problems; the first: {record.damages[0]}"
                f" -> `gb backup --verify` copies again what is damaged there",
                metadata=_describe(record, began),
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=_describe(record, began))

    return restore_test


def build_backup_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Every night, and every week; stopped while there is no backup."""
    return [
        schedule_assets(name, [key], cron, does=what, description=what, running=settings.backup is not None)
        for name, key, cron, what in (
            (BACKUP_JOB, BACKUP, _NIGHTLY, "Copies the lake to its backup every night."),
            (RESTORE_TEST_JOB, RESTORE_TEST, _WEEKLY, "Restores the backup every Sunday to see whether it can be."),
        )
    ]


def _describe(record: RestoreRecord, began: datetime) -> dict[str, Any]:
    whole = record.series == record.of_series
    return {
        "finding": f"{'all' if whole else record.series} of {record.of_series} series were restored, "
        + (f"with {record.problems:,} problems" if record.problems else "and every byte is as it was written"),
        "place": record.place,
        "as_of": dg.MetadataValue.timestamp(record.newest),
        "series": record.series,
        "files": record.files,
        "bytes": record.bytes,
        "seconds": (record.at - began).total_seconds(),
        "sessions": record.sessions,
        "fingerprint": record.fingerprint,
        "problems": record.problems,
    }
