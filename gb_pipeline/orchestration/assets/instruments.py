"""The instruments of a source are one asset: under which symbols its shares stood, as its vendor tells.

Here is what Dagster must know about it, and what its page shows; `ingest` asks and stores. It has no partitions: a vendor is asked
for everything each time, and is refreshed together with the corporate actions.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from gb_pipeline.ingest.instruments import InstrumentsOutcome, ingest_instruments
from gb_pipeline.lake import instruments
from gb_pipeline.market.instrument_schema import INSTRUMENTS
from gb_pipeline.orchestration.asset_facts import describe_columns
from gb_pipeline.orchestration.events.outcome import build_table, describe_deferral
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup

UNAMBIGUOUS = "unambiguous"
_LISTED = 20


def build_instruments_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """One unpartitioned asset per source.

    Args:
        group: any of the source's groups.
    """
    key, source = group.instruments_key, group.source

    @dg.multi_asset(
        name=f"{source.name}_{instruments.TABLE}",
        specs=[_build_spec(group)],
        check_specs=[
            dg.AssetCheckSpec(
                UNAMBIGUOUS,
                asset=key,
                description="No symbol that the vendor told would be two instruments on one day, and the vendor answered for"
                " every share.",
            )
        ],
        can_subset=True,
        pool=group.pool,
        required_resource_keys=list_required_resources(source),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        lake: LakeResource = context.resources.lake
        outcome = ingest_instruments(lake.store, with_run_credentials(context, source), run_id=context.run.run_id)
        if outcome.report is None:
            if outcome.deferred is None:
                reasons = [error.what for error in outcome.errors.values()] or ["the vendor lists none of its symbols"]
                raise dg.Failure(f"no instrument of {source.name} could be had: {reasons[0]}", allow_retries=False)
            # Neither materialised nor failed: nothing was asked.
            context.log_event(dg.AssetObservation(key, description=describe_deferral(outcome.deferred)))
            return
        held = instruments.read(lake.store.tables, source.name).height
        yield dg.MaterializeResult(
            asset_key=key, metadata=_build_metadata(outcome, held), check_results=[_check(key, outcome)]
        )

    return materialise


def _build_spec(group: SeriesGroup) -> dg.AssetSpec:
    source = group.source
    return dg.AssetSpec(
        group.instruments_key,
        skippable=True,
        group_name=source.name,
        kinds={"delta", "polars"},
        tags={"vendor": group.vendor},
        description=f"Under which symbols the shares of `{source.name}` ({group.vendor}) stood, and since when, as the vendor"
        " tells it, with every correction kept.",
        metadata={
            "dagster/column_schema": describe_columns(INSTRUMENTS),
            "dagster/table_name": f"{instruments.TABLE} (source={source.name})",
            "dagster/storage_kind": "deltalake",
        },
    )


def _build_metadata(outcome: InstrumentsOutcome, held: int) -> dict[str, Any]:
    report = outcome.report
    assert report is not None, "somebody answered"
    names = ("received", "new", "changed", "ended", "unchanged")
    metadata: dict[str, Any] = {"symbols": len(outcome.asked), **{name: getattr(report, name) for name in names}}
    metadata |= {"refused": len(report.refused), "failed": len(outcome.errors), "dagster/row_count": held}
    if report.version is not None:
        metadata["table_version"] = report.version
    return metadata


def _check(key: dg.AssetKey, outcome: InstrumentsOutcome) -> dg.AssetCheckResult:
    report = outcome.report
    assert report is not None, "somebody answered"
    metadata: dict[str, Any] = {"refused": len(report.refused), "failed": len(outcome.errors)}
    if report.refused:
        metadata["clashes"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in report.refused[:_LISTED]))
    if outcome.errors:
        rows = [{"symbol": code, "reason": error.what} for code, error in list(outcome.errors.items())[:_LISTED]]
        metadata["not_stored"] = build_table(rows)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=UNAMBIGUOUS,
        passed=not report.refused and not outcome.errors,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )
