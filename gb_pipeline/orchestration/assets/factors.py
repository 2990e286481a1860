"""A factor set of gb.yaml is one asset with a partition for each month: its values in the lake, computed from the bars there.

Here is what Dagster must know about it, and what its page shows; `research.factors.sets` computes and stores.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.lake.factors import TABLE
from gb_pipeline.market.factor_schema import FACTORS
from gb_pipeline.orchestration.asset_facts import describe_columns
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.providers.registry import has_actions
from gb_pipeline.research.factors.sets import FactorSet, StoredMonth, next_month

GROUP = "factors"
COMPLETE, NUMBERS, REPRODUCIBLE = "complete", "numbers", "reproducible"
# A run opens the lake once, and rows of two years are computed together anyway.
MONTHS_PER_RUN = 24
_LISTED = 20
_COUNTS = ("new", "restated", "unchanged", "withdrawn", "late")


def factors_key(name: str) -> dg.AssetKey:
    """`["factors", "momentum"]`."""
    return dg.AssetKey([GROUP, name])


def build_factors_asset(settings: Settings, name: str) -> dg.AssetsDefinition:
    """One asset per set of gb.yaml.

    Args:
        settings: of the project.
        name: of the set. What is wrong with its expressions fails its runs, and stands in its description.
    """
    key = factors_key(name)

    @dg.multi_asset(
        name=f"{GROUP}_{name}",
        specs=[_build_spec(settings, name)],
        check_specs=[
            dg.AssetCheckSpec(
                COMPLETE,
                asset=key,
                description="Each symbol of the universe has a number in each session; of sets without a screen.",
            ),
            dg.AssetCheckSpec(
                NUMBERS,
                asset=key,
                description=f"Of no factor more than {settings.factors[name].most_nulls:.0%} of a month's values are missing.",
            ),
            dg.AssetCheckSpec(
                REPRODUCIBLE,
                asset=key,
                description="The newest month of the run, computed again from what was known at the same moment, has the same"
                " values as are stored, to the last bit.",
            ),
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(MONTHS_PER_RUN),
        required_resource_keys={"lake"},
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        lake: LakeResource = context.resources.lake
        stored: list[StoredMonth] = []
        try:
            chosen = FactorSet.of(settings, name)
            months = [chosen.month(each) for each in context.partition_keys]
            for item in chosen.store(lake.reader, months, run_id=context.run.run_id):
                stored.append(item)
                context.log_event(dg.AssetMaterialization(key, partition=item.month.key, metadata=build_metadata(item)))
            differences = chosen.differences(lake.reader, [stored[-1].month])
        except GbError as error:
            raise dg.Failure(error.what, metadata={"fix": error.fix or ""}, allow_retries=False) from error
        for evaluation in _evaluate(settings, chosen, stored, differences):
            context.log_event(evaluation)
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return compute


def build_metadata(stored: StoredMonth) -> dict[str, Any]:
    """What a materialisation shows; numbers are plotted over the partitions."""
    rows = stored.rows
    metadata: dict[str, Any] = {
        "status": f"{rows.height:,} rows of {rows['session'].n_unique():,} sessions",
        "symbols": rows["symbol"].n_unique(),
        "nulls": stored.nulls,
        **{name: getattr(stored.report, name) for name in _COUNTS},
        "data_as_of": dg.MetadataValue.timestamp(stored.data_as_of.timestamp()),
        "data_fingerprint": stored.fingerprint,
        "dagster/partition_row_count": rows.height,
    }
    if stored.report.version is not None:
        metadata["table_version"] = stored.report.version
    return metadata


def _build_spec(settings: Settings, name: str) -> dg.AssetSpec:
    own = settings.factors[name]
    source = settings.sources.get(own.source)
    end = None if source is None else source.end
    return dg.AssetSpec(
        factors_key(name),
        deps=list(_find_inputs(settings, name)),
        skippable=True,
        group_name=GROUP,
        partitions_def=dg.MonthlyPartitionsDefinition(
            start_date=own.start.strftime("%Y-%m"),
            # The session behind the last bars of a source that has an end sees them all.
            end_date=None if end is None else next_month(end).strftime("%Y-%m"),
            fmt="%Y-%m",
            end_offset=1,
            timezone="UTC",
        ),
        kinds={"delta", "polars"},
        owners=settings.owners,
        description=_describe(settings, name),
        metadata={
            "dagster/column_schema": describe_columns(FACTORS),
            "dagster/table_name": f"{TABLE} (factor_set={name})",
            "dagster/storage_kind": "deltalake",
        },
    )


def _describe(settings: Settings, name: str) -> str:
    own = settings.factors[name]
    try:
        columns = list(FactorSet.of(settings, name).pipeline.columns)
    except GbError as error:
        return f"**Nothing can be computed: {error.what}; {error.fix}.**"
    listed = ", ".join(columns[:_LISTED]) + (", ..." if len(columns) > _LISTED else "")
    return (
        f"{len(columns):,} factors of the bars of `{own.source}`: {listed}. A partition is a month of sessions, each value computed"
        " from what was known before its session opened; corrected bars restate it."
    )


def _find_inputs(settings: Settings, name: str) -> Iterator[dg.AssetKey]:
    """The bars and the corporate actions that Dagster makes."""
    own = settings.factors[name]
    source = settings.sources.get(own.source)
    if source is None or own.resolution not in source.resolutions:
        return
    group = SeriesGroup.of(settings, own.source, own.resolution)
    if not group.symbols:
        return
    yield group.dataset_key
    try:
        acting = has_actions(source)
    except ConfigError:
        return
    if acting:
        yield group.actions_key


def _evaluate(
    settings: Settings, chosen: FactorSet, stored: Sequence[StoredMonth], differences: pl.DataFrame
) -> Iterator[dg.AssetCheckEvaluation]:
    missing = _find_missing(settings, chosen, stored)
    shares = _find_null_shares(stored).filter(pl.col("share") > chosen.settings.most_nulls)
    month = stored[-1].month.key
    for name, bad, severity, sentence in (
        (COMPLETE, missing, dg.AssetCheckSeverity.WARN, "rows of symbols in the universe have no number"),
        (NUMBERS, shares, dg.AssetCheckSeverity.WARN, "factors and months have too few numbers"),
        (REPRODUCIBLE, differences, dg.AssetCheckSeverity.ERROR, f"values of {month} come out otherwise"),
    ):
        metadata: dict[str, Any] = {"count": bad.height}
        if bad.height:
            sample = bad.head(_LISTED).with_columns(pl.col(pl.Date).cast(pl.String))
            metadata["first"] = build_table(sample.to_dicts())
        yield dg.AssetCheckEvaluation(
            asset_key=factors_key(chosen.name),
            check_name=name,
            passed=bad.is_empty(),
            severity=severity,
            description=f"{bad.height:,} {sentence}" if bad.height else None,
            metadata=metadata,
        )


def _find_missing(settings: Settings, chosen: FactorSet, stored: Sequence[StoredMonth]) -> pl.DataFrame:
    """`session, symbol` of the universe without a number; none where a screen leaves rows out."""
    kinds = {"session": pl.Date(), "symbol": pl.String()}
    if chosen.pipeline.screen is not None:
        return pl.DataFrame(schema=kinds)
    source = settings.source(chosen.settings.source)
    expected: list[tuple[date, str]] = []
    for item in stored:
        for session in item.rows["session"].unique().sort():
            members = chosen.settings.universe or [symbol.code for symbol in source.members(session)]
            expected += [(session, code) for code in members]
    wanted = pl.DataFrame(expected, schema=kinds, orient="row")
    has_numbers = pl.any_horizontal(pl.exclude("session", "symbol").is_not_null())
    there = [item.rows.filter(has_numbers).select("session", "symbol") for item in stored]
    return wanted.join(pl.concat(there), on=["session", "symbol"], how="anti", maintain_order="left")


def _find_null_shares(stored: Sequence[StoredMonth]) -> pl.DataFrame:
    """`month, factor, share` of values that are null."""
    kinds = {"month": pl.String(), "factor": pl.String(), "share": pl.Float64()}
    rows = [
        (item.month.key, name, item.rows[name].null_count() / item.rows.height)
        for item in stored
        if item.rows.height
        for name in item.rows.columns[2:]
    ]
    return pl.DataFrame(rows, schema=kinds, orient="row")
