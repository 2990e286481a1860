"""The fundamentals of a source are one asset, and its listings another: what companies reported, and where they are listed.

Here is what Dagster must know about them, and what their pages show; `ingest` asks and stores. They have no partitions: a vendor
tells all periods each time, so that restatements of old ones are found. A run asks about the companies that are due.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from gb_pipeline.errors import QuotaExhausted, VendorError
from gb_pipeline.ingest.fundamentals import FundamentalsOutcome, ingest_fundamentals, ingest_listings
from gb_pipeline.lake import fundamentals, listings
from gb_pipeline.lake.fundamentals import FundamentalsReport
from gb_pipeline.market.fundamental_schema import FUNDAMENTALS, LISTINGS
from gb_pipeline.orchestration.asset_facts import describe_columns
from gb_pipeline.orchestration.events.outcome import build_table, describe_deferral
from gb_pipeline.orchestration.fixed_times import STOPPED_FOR_BARS, schedule_assets
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.providers.registry import has_listings

ANSWERED = "answered"
VALID = "valid"
_LISTED = 20
_COUNTS = ("received", "new", "restated", "unchanged", "withdrawn", "quarantined", "repeated", "late")
# On Saturday a week of reports is complete, and no bars are fetched.
_WEEKLY = "0 9 * * 6"


def build_fundamentals_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """One unpartitioned asset per source whose vendor knows companies.

    Args:
        group: any of the source's groups.
    """
    key, source = group.fundamentals_key, group.source

    @dg.multi_asset(
        name=f"{source.name}_{fundamentals.TABLE}",
        specs=[_build_spec(group)],
        check_specs=[
            dg.AssetCheckSpec(ANSWERED, asset=key, description="The vendor answered about every company that was due."),
            dg.AssetCheckSpec(
                VALID,
                asset=key,
                description="Every number that the vendor sent can be stored exactly, stands in a period that is over, and no two"
                " of them contradict each other. The others are in quarantine.",
            ),
        ],
        can_subset=True,
        pool=group.pool,
        required_resource_keys=list_required_resources(source),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        lake: LakeResource = context.resources.lake
        outcomes = ingest_fundamentals(lake.store, with_run_credentials(context, source), run_id=context.run.run_id)
        waiting = next((item.deferred for item in outcomes if item.deferred is not None), None)
        failed = [item for item in outcomes if item.error is not None]
        if not any(item.ok for item in outcomes) and outcomes:
            if not failed:
                assert waiting is not None, "nobody answered"
                # Neither materialised nor failed: nothing was asked.
                context.log_event(dg.AssetObservation(key, description=describe_deferral(waiting)))
                return
            raise dg.Failure(
                f"no company of {source.name} could be had; the first: {failed[0].symbol.code}: {_explain(failed[0])}",
                metadata={"not_stored": build_table(_list_failures(failed))},
                allow_retries=False,
            )
        held = fundamentals.read(lake.store.tables, source.name).height
        yield dg.MaterializeResult(
            asset_key=key, metadata=_build_metadata(outcomes, held), check_results=list(_check(key, outcomes))
        )

    return materialise


def build_listings_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """One unpartitioned asset per source whose vendor tells what is and was listed.

    Args:
        group: any of the source's groups.
    """
    key, source = group.listings_key, group.source

    @dg.multi_asset(
        name=f"{source.name}_{listings.TABLE}",
        specs=[
            dg.AssetSpec(
                key,
                skippable=True,
                group_name=source.name,
                kinds={"delta", "polars"},
                tags={"vendor": group.vendor},
                description=f"What is and was listed, as `{source.name}` ({group.vendor}) tells it, those that are gone included.",
                metadata=_describe_table(LISTINGS, listings.TABLE, source.name),
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                VALID, asset=key, description="Every listing has a code, and no two contradict each other."
            )
        ],
        can_subset=True,
        pool=group.pool,
        required_resource_keys=list_required_resources(source),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        lake: LakeResource = context.resources.lake
        try:
            report = ingest_listings(lake.store, with_run_credentials(context, source), run_id=context.run.run_id)
        except QuotaExhausted as error:
            context.log_event(dg.AssetObservation(key, description=describe_deferral(error)))
            return
        except VendorError as error:
            raise dg.Failure(
                f"the list of {source.name} could not be had: {error.what}", allow_retries=False
            ) from error
        held = listings.read(lake.store.tables, source.name).height
        check = dg.AssetCheckResult(
            asset_key=key,
            check_name=VALID,
            passed=not report.quarantined,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"quarantined": report.quarantined, **_show_worst_rows(report.worst)},
        )
        yield dg.MaterializeResult(asset_key=key, metadata=_count(report, held), check_results=[check])

    return materialise


def build_fundamentals_schedule(group: SeriesGroup, *, running: bool = True) -> dg.ScheduleDefinition:
    """Ask every week about the companies that are due, and for the list of listings.

    Args:
        group: any of the source's groups.
        running: whether it runs unless somebody stops it.
    """
    source = group.source
    return schedule_assets(
        f"{source.name}_fundamentals_weekly",
        [group.fundamentals_key, *([group.listings_key] if has_listings(source) else [])],
        _WEEKLY,
        does=f"Fundamentals of every company of {source.name} that is due.",
        description=f"Asks about the companies of {source.name} whose last answer is older than"
        f" {source.fundamentals.refresh_days} days, those first that have waited longest."
        + ("" if running else STOPPED_FOR_BARS),
        zone=group.partitioning.calendar.zone.key,
        running=running,
    )


def _build_spec(group: SeriesGroup) -> dg.AssetSpec:
    source = group.source
    return dg.AssetSpec(
        group.fundamentals_key,
        skippable=True,
        group_name=source.name,
        kinds={"delta", "polars"},
        tags={"vendor": group.vendor},
        description=f"What the companies of `{source.name}` ({group.vendor}) reported:"
        f" {', '.join(source.fundamentals.statements)}; exact, with every restatement, and since when the public could have it.",
        metadata=_describe_table(FUNDAMENTALS, fundamentals.TABLE, source.name),
    )


def _describe_table(columns: Any, table: str, source: str) -> dict[str, Any]:
    return {
        "dagster/column_schema": describe_columns(columns),
        "dagster/table_name": f"{table} (source={source})",
        "dagster/storage_kind": "deltalake",
    }


def _build_metadata(outcomes: Sequence[FundamentalsOutcome], held: int) -> dict[str, Any]:
    """What a materialisation shows; numbers are plotted over time."""
    metadata: dict[str, Any] = {"symbols": len(outcomes)}
    metadata |= {name: sum(getattr(item, name) for item in outcomes) for name in (*_COUNTS, "calls", "vendor_bytes")}
    metadata["failed"] = sum(item.error is not None for item in outcomes)
    metadata["deferred"] = sum(item.deferred is not None for item in outcomes)
    metadata["without_reports"] = sum(item.ok and not item.received for item in outcomes)
    metadata["latency_ms"] = round(sum(item.latency_ms for item in outcomes) / max(metadata["calls"], 1))
    metadata["dagster/row_count"] = held
    versions = [item.version for item in outcomes if item.version is not None]
    if versions:
        metadata["table_version"] = max(versions)
    return metadata | _show_worst_rows([row for item in outcomes for row in item.worst])


def _count(report: FundamentalsReport, held: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {name: getattr(report, name) for name in _COUNTS} | {"dagster/row_count": held}
    return metadata | ({} if report.version is None else {"table_version": report.version})


def _check(key: dg.AssetKey, outcomes: Sequence[FundamentalsOutcome]) -> Iterator[dg.AssetCheckResult]:
    failed = [item for item in outcomes if item.error is not None]
    refused = sum(item.quarantined for item in outcomes)
    answered: dict[str, Any] = {"symbols": len(outcomes), "failed": len(failed)}
    if failed:
        answered["not_stored"] = build_table(_list_failures(failed))
    worst = _show_worst_rows([row for item in outcomes for row in item.worst])
    for name, passed, severity, metadata in (
        (ANSWERED, not failed, dg.AssetCheckSeverity.ERROR, answered),
        (VALID, not refused, dg.AssetCheckSeverity.WARN, {"quarantined": refused, **worst}),
    ):
        yield dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, severity=severity, metadata=metadata)


def _list_failures(failed: Sequence[FundamentalsOutcome]) -> list[dict[str, Any]]:
    return [{"symbol": item.symbol.code, "reason": _explain(item)} for item in failed[:_LISTED]]


def _explain(item: FundamentalsOutcome) -> str:
    return item.error.what if item.error is not None else ""


def _show_worst_rows(rows: Sequence[Any]) -> dict[str, Any]:
    return {"worst_rows": build_table([dict(row) for row in rows[:_LISTED]])} if rows else {}
