"""The corporate actions of a source are one asset: splits, dividends, listings and delistings of all its equities.

Here is what Dagster must know about it, and what its page shows; `ingest` asks and stores.

It has no partitions: a vendor is asked for everything each time, so that corrections of old actions are found.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.private import CheckTarget
from gb_pipeline.ingest.corporate_actions import ActionsOutcome
from gb_pipeline.ingest.fetch_actions import ingest_actions
from gb_pipeline.lake import corporate_actions
from gb_pipeline.market.schema import CORPORATE_ACTIONS
from gb_pipeline.orchestration.asset_facts import describe_columns
from gb_pipeline.orchestration.events.outcome import build_table, describe_deferral
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup

ANSWERED = "answered"
VALID = "valid"
_LISTED = 20


def build_actions_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """One unpartitioned asset per source.

    Args:
        group: any of the source's groups.
    """
    key, source = group.actions_key, group.source

    @dg.multi_asset(
        name=f"{source.name}_{corporate_actions.TABLE}",
        specs=[_build_spec(group)],
        check_specs=list(_build_check_specs(key)),
        can_subset=True,
        pool=group.pool,
        required_resource_keys=list_required_resources(source),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        lake: LakeResource = context.resources.lake
        outcomes = ingest_actions(lake.store, with_run_credentials(context, source), run_id=context.run.run_id)
        waiting = next((item.deferred for item in outcomes if item.deferred is not None), None)
        stored = [item for item in outcomes if item.deferred is None and item.error is None]
        if stored:
            held = corporate_actions.read(lake.store.tables, source.name).height
            context.log_event(dg.AssetMaterialization(key, metadata=build_metadata(outcomes, held)))
        elif waiting is not None:
            # Neither materialised nor failed: nothing was asked.
            context.log_event(dg.AssetObservation(key, description=describe_deferral(waiting)))
        if stored or waiting is None:
            for evaluation in _evaluate(context, key, outcomes):
                context.log_event(evaluation)
        failed = [item for item in outcomes if item.error is not None]
        if failed and not stored:
            raise dg.Failure(
                f"no symbol of {source.name} could be had; the first: {failed[0].symbol.code}: {_explain(failed[0])}",
                metadata={"not_stored": build_table(_list_failures(failed))},
                allow_retries=False,
            )
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return materialise


def build_metadata(outcomes: Sequence[ActionsOutcome], held: int) -> dict[str, Any]:
    """What a materialisation shows; numbers are plotted over time.

    Args:
        held: actions of the source that the lake holds now.
    """
    names = ("received", "new", "restated", "withdrawn", "quarantined")
    metadata: dict[str, Any] = {"symbols": len(outcomes), "actions": held}
    metadata |= {name: sum(getattr(item, name) for item in outcomes) for name in names}
    metadata["failed"] = sum(item.error is not None for item in outcomes)
    metadata["deferred"] = sum(item.deferred is not None for item in outcomes)
    answered = [item for item in outcomes if item.calls]
    metadata["calls"] = sum(item.calls for item in answered)
    metadata["latency_ms"] = round(sum(item.latency_ms for item in answered) / max(metadata["calls"], 1))
    metadata["vendor_bytes"] = sum(item.vendor_bytes for item in answered)
    metadata["dagster/row_count"] = held
    versions = [item.version for item in outcomes if item.version is not None]
    if versions:
        metadata["table_version"] = max(versions)
    refetched = [
        {
            "symbol": item.symbol.code,
            "resolution": refetch.resolution.value,
            "from": str(refetch.outcome.start),
            "until": str(refetch.outcome.end),
            "splits": ", ".join(map(str, refetch.splits)),
            "restated": sum(session.restated for session in refetch.outcome.sessions),
        }
        for item in outcomes
        for refetch in item.refetched
    ]
    if refetched:
        metadata["fetched_again"] = build_table(refetched[:_LISTED])
    return metadata | _show_worst_rows(outcomes)


def _build_spec(group: SeriesGroup) -> dg.AssetSpec:
    source = group.source
    return dg.AssetSpec(
        group.actions_key,
        skippable=True,
        group_name=source.name,
        kinds={"delta", "polars"},
        tags={"vendor": group.vendor},
        description=f"Splits, cash dividends, listings and delistings of the shares of `{source.name}` ({group.vendor}), as"
        " the vendor tells them, with every correction kept. A new split of a vendor that adjusts its prices has the stored"
        " bars fetched again.",
        metadata={
            "dagster/column_schema": describe_columns(CORPORATE_ACTIONS),
            "dagster/table_name": f"{corporate_actions.TABLE} (source={source.name})",
            "dagster/storage_kind": "deltalake",
        },
    )


def _build_check_specs(key: dg.AssetKey) -> Iterator[dg.AssetCheckSpec]:
    yield dg.AssetCheckSpec(
        ANSWERED,
        asset=key,
        description="The vendor answered for every share, and where a split changed its prices, the stored bars have been"
        " fetched again.",
    )
    yield dg.AssetCheckSpec(
        VALID,
        asset=key,
        description="Every action that the vendor sent has a date, and exact numbers above zero. The others are in quarantine."
        " A split that stands there under two dates is pointed out.",
    )


def _evaluate(
    context: dg.AssetExecutionContext, key: dg.AssetKey, outcomes: Sequence[ActionsOutcome]
) -> Iterator[dg.AssetCheckEvaluation]:
    failed = [item for item in outcomes if item.error is not None]
    refused = sum(item.quarantined for item in outcomes)
    doubts = [f"{item.symbol.code}: {doubt}" for item in outcomes for doubt in item.doubtful]
    answered: dict[str, Any] = {"symbols": len(outcomes), "failed": len(failed)}
    if failed:
        answered["not_stored"] = build_table(_list_failures(failed))
    valid: dict[str, Any] = {"quarantined": refused} | _show_worst_rows(outcomes)
    if doubts:
        valid["doubtful"] = dg.MetadataValue.md("\n".join(f"- {doubt}" for doubt in doubts[:_LISTED]))
    results = ((ANSWERED, not failed, dg.AssetCheckSeverity.ERROR, answered),) + (
        ((VALID, not refused and not doubts, dg.AssetCheckSeverity.WARN, valid),) if len(failed) < len(outcomes) else ()
    )
    for name, passed, severity, metadata in results:
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=passed,
            severity=severity,
            metadata=metadata,
            target_materialization_data=_find_target(context, key),
        )


def _find_target(context: dg.AssetExecutionContext, key: dg.AssetKey) -> CheckTarget | None:
    records = context.instance.fetch_materializations(key, limit=1).records
    if not records or records[0].run_id != context.run.run_id:
        return None
    return CheckTarget(storage_id=records[0].storage_id, run_id=records[0].run_id, timestamp=records[0].timestamp)


def _list_failures(failed: Sequence[ActionsOutcome]) -> list[dict[str, Any]]:
    return [{"symbol": item.symbol.code, "reason": _explain(item)} for item in failed[:_LISTED]]


def _explain(item: ActionsOutcome) -> str:
    return item.error.what if item.error is not None else ""


def _show_worst_rows(outcomes: Sequence[ActionsOutcome]) -> dict[str, Any]:
    rows = [row for item in outcomes for row in item.worst][:_LISTED]
    return {"worst_rows": build_table(rows)} if rows else {}
