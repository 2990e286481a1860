"""Verification is an asset: every week every byte of the lake is read, and what was found is remembered for `gb health`."""

from typing import Any

import dagster as dg

from gb_pipeline.lake.verification import VerifyReport, verify
from gb_pipeline.lake.verify_record import record_verification
from gb_pipeline.orchestration.assets.compaction import POOL
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.fixed_times import schedule_assets
from gb_pipeline.orchestration.resources import LakeResource

GROUP = "maintenance"
VERIFY = dg.AssetKey("verify")
VERIFY_JOB = "verify_weekly"
# On Sundays no exchange of shares is open, and nobody waits for the disk.
_CRON = "30 4 * * 0"
_LISTED = 50


def build_verify_asset() -> dg.AssetsDefinition:
    """One asset for the whole lake."""

    @dg.asset(
        key=VERIFY,
        group_name=GROUP,
        kinds={"delta"},
        pool=POOL,
        description="Reads every byte of every table, and compares each session with its fingerprint. Nothing is changed.",
    )
    def verify_lake(lake: LakeResource) -> dg.MaterializeResult[None]:
        store = lake.open_store()
        report = verify(store)
        record_verification(store.storage, report, store.clock())
        metadata = describe_report(report)
        if not report.ok:
            first = report.damages[0]
            raise dg.Failure(
                f"{len(report.damages):,} problems in the lake; the first: {first.table}: {first.problem}"
                " -> `gb verify --repair` mends what can be mended",
                metadata=metadata,
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)

    return verify_lake


def build_verify_schedule() -> dg.ScheduleDefinition:
    """Run it every week."""
    return schedule_assets(
        VERIFY_JOB,
        [VERIFY],
        _CRON,
        does="Reads every byte of the lake and compares it with its checksums and fingerprints.",
        description="Verifies the whole lake every Sunday.",
    )


def describe_report(report: VerifyReport) -> dict[str, Any]:
    """How much was looked at, and what was found."""
    metadata: dict[str, Any] = {
        "tables": report.tables,
        "files": report.files,
        "bytes": report.bytes,
        "sessions": report.sessions,
        "problems": len(report.damages),
    }
    rows = [
        {
            "table": damage.table,
            "problem": damage.problem,
            "file": damage.file or "",
            "sessions": len(damage.sessions),
        }
        for damage in report.damages[:_LISTED]
    ]
    if rows:
        metadata["damages"] = build_table(rows)
    if report.lost:
        metadata["lost"] = "\n".join(report.lost[:_LISTED])
    return metadata
