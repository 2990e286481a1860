"""The checks of feeds: committed in time, and covered by evidence. They are evaluated every hour, from the page, and as a commit is
told: of an asset that has got rows since, Dagster's page calls its checks "not evaluated".

What they look at is measured in `health.stream_facts`, as the standing checks of the whole project are.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.health import streams
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE
from gb_pipeline.health.stream_facts import (
    count_coverage,
    describe_coverage,
    format_seconds,
    uncovered_of_last_day,
    watermark_ages,
    watermark_limit,
)
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.streams.feeds import Feed

FRESH, CONTINUOUS = "fresh", "continuous"
HOURLY = "streams_hourly"
# After most collectors have committed their hour.
_CRON = "20 * * * *"
_MEANINGS = {
    FRESH: "What is heard is committed within `flush.every` and `watermark_minutes`.",
    CONTINUOUS: "Evidence covers the last day of every instrument, up to `uncovered_budget`; its numbers are gaps per million"
    " messages, and seconds that nothing covers.",
}


def check_keys(feeds: Sequence[Feed]) -> list[dg.AssetCheckKey]:
    """Every check of some feeds; snapshots have none of their own, since they come with updates."""
    return [dg.AssetCheckKey(feed.key, name) for feed in feeds if feed.has_evidence for name in _MEANINGS]


def build_stream_checks(settings: Settings, feeds: Sequence[Feed]) -> dg.AssetChecksDefinition:
    """All checks of all feeds: one look at the lake answers them."""

    @dg.multi_asset_check(
        name="stream_checks",
        specs=[
            dg.AssetCheckSpec(key.name, asset=key.asset_key, description=_MEANINGS[key.name])
            for key in check_keys(feeds)
        ],
        can_subset=True,
    )
    def stream_checks(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        selected = context.selected_asset_check_keys
        for found in evaluate_feeds(settings, lake.open_store(), feeds):
            if found.asset_check_key in selected:
                yield dg.AssetCheckResult(
                    asset_key=found.asset_key,
                    check_name=found.check_name,
                    passed=found.passed,
                    severity=found.severity,
                    description=found.description,
                    metadata=found.metadata,
                )

    return stream_checks


def evaluate_feeds(settings: Settings, store: LakeStore, feeds: Sequence[Feed]) -> Iterator[dg.AssetCheckEvaluation]:
    """Every check of some feeds, by one look at the lake."""
    state = ProjectState(settings, store)
    ages, limit, covered = watermark_ages(state), watermark_limit(state), uncovered_of_last_day(state)
    for feed in feeds:
        if feed.has_evidence:
            of = (pl.col("source") == feed.source) & (pl.col("dataset") == feed.dataset.value)
            yield _evaluate_freshness(feed, ages.filter(of), limit)
            yield _evaluate_continuity(feed, covered.filter(of), settings.health.uncovered_budget)


def build_streams_schedule(checks: dg.AssetChecksDefinition) -> dg.ScheduleDefinition:
    """All checks of feeds, every hour."""
    return dg.ScheduleDefinition(
        name=HOURLY,
        job=dg.define_asset_job(
            HOURLY,
            selection=dg.AssetSelection.checks(checks),
            description="Checks of what collectors keep: committed in time, and covered.",
        ),
        cron_schedule=_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks every hour whether what collectors hear is committed and covered.",
    )


def _evaluate_freshness(feed: Feed, ages: pl.DataFrame, limit: float) -> dg.AssetCheckEvaluation:
    late = streams.find_late(ages, limit)
    behind = ages["behind_seconds"].item()
    through = ages["through_time"].item()
    return dg.AssetCheckEvaluation(
        asset_key=feed.key,
        check_name=FRESH,
        passed=late.is_empty(),
        # What was never committed has nothing that could be late.
        severity=dg.AssetCheckSeverity.WARN if behind is None else dg.AssetCheckSeverity.ERROR,
        description=streams.describe_lateness(ages),
        metadata={"limit": format_seconds(limit)}
        | (
            {} if behind is None else {"behind_seconds": behind, "watermark": dg.MetadataValue.timestamp(through / 1e9)}
        ),
    )


def _evaluate_continuity(feed: Feed, covered: pl.DataFrame, budget: float) -> dg.AssetCheckEvaluation:
    bad = streams.find_above_budget(covered, budget)
    worst = covered.sort("uncovered_share", descending=True).head(SAMPLE)
    failed = bad.height > 0 and streams.is_failure(bad)
    return dg.AssetCheckEvaluation(
        asset_key=feed.key,
        check_name=CONTINUOUS,
        passed=bad.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description=streams.describe_worst_hole(bad) if bad.height else describe_coverage(covered),
        metadata={
            **count_coverage(covered),
            **({"streams_by_hole": build_table(worst.to_dicts())} if worst.height else {}),
        },
    )
