"""The group `health`: one asset per standing check, so that its numbers are plotted over time, each with one asset check.

What is looked at is said in `gb_pipeline.health` and in `checks`; here it gets names, descriptions and metadata. A check that fails
fails no run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import CHECKS, examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult, State
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.fixed_times import schedule_assets
from gb_pipeline.orchestration.health.checks import DAGSTER_CHECKS, examine_dagster
from gb_pipeline.orchestration.resources import LakeResource

GROUP = "health"
CHECK = "healthy"
DAILY, HOURLY = "health_daily", "health_hourly"
MEANINGS: Mapping[str, str] = {
    **{name: check.meaning for name, check in CHECKS.items()},
    **{name: check.meaning for name, check in DAGSTER_CHECKS.items()},
}
# Five minutes past a half hour, when few schedules of others tick.
_HOURLY_CRON = "35 * * * *"


def key_of(name: str) -> dg.AssetKey:
    """`["health", "missing_sessions"]`."""
    return dg.AssetKey([GROUP, name])


def build_health_assets(settings: Settings) -> dg.AssetsDefinition:
    """All standing checks, any of which can be run alone."""

    @dg.multi_asset(
        name=GROUP,
        group_name=GROUP,
        specs=[
            dg.AssetSpec(key_of(name), group_name=GROUP, description=meaning, skippable=True)
            for name, meaning in MEANINGS.items()
        ],
        check_specs=[dg.AssetCheckSpec(CHECK, asset=key_of(name), description=text) for name, text in MEANINGS.items()],
        can_subset=True,
    )
    def health(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult[None]]:
        wanted = [name for name in MEANINGS if key_of(name) in context.selected_asset_keys]
        state = ProjectState(settings, lake.open_store())
        if own := [name for name in wanted if name in CHECKS]:
            for result in examine(state, own):
                yield _report(result)
        if dagster := [name for name in wanted if name in DAGSTER_CHECKS]:
            for result in examine_dagster(state, dagster, context.instance):
                yield _report(result)

    return health


def build_health_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """All checks once a day, before people begin to work, and the cheap ones every hour."""
    hour, minute = settings.health.at.split(":")
    cheap = [name for name, check in CHECKS.items() if check.cheap]
    return [
        _schedule(DAILY, list(MEANINGS), f"{int(minute)} {int(hour)} * * *", settings.health.zone, "every morning"),
        _schedule(HOURLY, cheap, _HOURLY_CRON, "UTC", "every hour"),
    ]


def _schedule(name: str, checks: list[str], cron: str, zone: str, when: str) -> dg.ScheduleDefinition:
    return schedule_assets(
        name,
        map(key_of, checks),
        cron,
        does=f"Standing checks of the lake: {', '.join(checks)}.",
        description=f"Looks {when} whether the lake is well; `gb health` does the same.",
        zone=zone,
    )


def _report(result: HealthResult) -> dg.MaterializeResult[None]:
    metadata = build_metadata(result)
    check = dg.AssetCheckResult(
        asset_key=key_of(result.name),
        check_name=CHECK,
        passed=result.healthy,
        severity=dg.AssetCheckSeverity.ERROR if result.state is State.FAIL else dg.AssetCheckSeverity.WARN,
        description=describe(result),
        metadata=metadata,
    )
    return dg.MaterializeResult(asset_key=key_of(result.name), metadata=metadata, check_results=[check])


def describe(result: HealthResult) -> str:
    """The sentence, and the command that repairs it."""
    return f"{result.sentence} -> {result.what_to_do}" if result.what_to_do else result.sentence


def build_metadata(result: HealthResult) -> dict[str, Any]:
    """What the page shows: the state, numbers, what to do, and a table of the worst."""
    metadata: dict[str, Any] = {"state": result.state.value, "finding": result.sentence, "count": result.count}
    # Plain text: of Markdown a check's page shows a link only.
    metadata |= {"repair": result.repair} if result.repair else {}
    metadata |= {"advice": result.advice} if result.advice else {}
    metadata |= result.counts
    rows = [{name: _cell(value) for name, value in row.items()} for row in result.sample.iter_rows(named=True)]
    return metadata | ({"sample": build_table(rows)} if rows else {})


def _cell(value: object) -> object:
    """What a table of Dagster's can hold."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value if value is None or isinstance(value, str | int) else str(value)
