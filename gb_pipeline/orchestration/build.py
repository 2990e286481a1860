"""This module puts all of Dagster's definitions together, out of one Settings object and what a project adds to it.

The parts are built elsewhere, and gb.yaml is read elsewhere. For the concept, see
https://docs.dagster.io/getting-started/concepts#definitions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.private import AssetJob
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.alerts.sensor import build_alert_sensor
from gb_pipeline.orchestration.asset_facts import AssetFacts
from gb_pipeline.orchestration.assets.actions import build_actions_asset
from gb_pipeline.orchestration.assets.bars import build_bars_asset
from gb_pipeline.orchestration.assets.catalog import build_catalog_asset, build_catalog_resource
from gb_pipeline.orchestration.assets.compaction import build_compaction_asset, build_ledgers_compaction_asset
from gb_pipeline.orchestration.assets.dataset import build_dataset_check, build_dataset_spec
from gb_pipeline.orchestration.assets.factors import build_factors_asset
from gb_pipeline.orchestration.assets.fundamentals import (
    build_fundamentals_asset,
    build_fundamentals_schedule,
    build_listings_asset,
)
from gb_pipeline.orchestration.assets.instruments import build_instruments_asset
from gb_pipeline.orchestration.assets.universe import build_universe_asset, build_universe_schedule, is_discovered
from gb_pipeline.orchestration.assets.vacuum import build_vacuum_asset, build_vacuum_schedule
from gb_pipeline.orchestration.deferred import build_deferred_sensor
from gb_pipeline.orchestration.factor_sensor import build_factors_sensor
from gb_pipeline.orchestration.healing.sensor import build_healing_sensor
from gb_pipeline.orchestration.health.assets import build_health_assets, build_health_schedules
from gb_pipeline.orchestration.lake_io_manager import LakeIOManager
from gb_pipeline.orchestration.maintenance.backup import (
    build_backup_asset,
    build_backup_schedules,
    build_restore_test_asset,
)
from gb_pipeline.orchestration.maintenance.history import build_prune_events_asset, build_prune_events_schedule
from gb_pipeline.orchestration.maintenance.verify import build_verify_asset, build_verify_schedule
from gb_pipeline.orchestration.partitions import warn_if_many
from gb_pipeline.orchestration.resources import LakeResource, build_vendor_resources
from gb_pipeline.orchestration.schedules import build_actions_schedule, build_daily_schedule
from gb_pipeline.orchestration.sensors import build_catalog_sensor, build_compaction_sensor
from gb_pipeline.orchestration.series_group import SeriesGroup, list_series_groups
from gb_pipeline.orchestration.streams.checks import build_stream_checks, build_streams_schedule
from gb_pipeline.orchestration.streams.feeds import Feed, build_feed_spec, has_trades, list_feeds
from gb_pipeline.orchestration.streams.healing import build_healing_asset, build_stream_healing_sensor
from gb_pipeline.orchestration.streams.sensor import build_streams_sensor
from gb_pipeline.orchestration.streams.tie_out import build_tie_out, build_tie_out_schedule, find_tie_outs
from gb_pipeline.providers.registry import daily_quota, has_actions, has_fundamentals, has_instruments, has_listings


def build_definitions(
    settings: Settings,
    *,
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec] = (),
    asset_checks: Iterable[dg.AssetChecksDefinition] = (),
    jobs: Iterable[dg.JobDefinition | AssetJob] = (),
    schedules: Iterable[dg.ScheduleDefinition] = (),
    sensors: Iterable[dg.SensorDefinition] = (),
    resources: Mapping[str, Any] | None = None,
    executor: dg.ExecutorDefinition = dg.in_process_executor,
) -> dg.Definitions:
    """Everything that gb.yaml asks for, and what a project adds.

    Args:
        settings: what gb.yaml says.
        assets, asset_checks, jobs, schedules, sensors: the project's own, beside those of the package.
        resources: by name; one of the package's names (`lake`, `bars_io`, `duckdb`, `<source>_credentials`) takes the place of the
            package's resource.
        executor: of every job that names none. By default a run is one process: the package's runs are one step, and a
            process per step would only import everything once more (3 s).

    Returns:
        For the module-level `defs` of a project's `definitions.py`.

    Raises:
        ConfigError: something in gb.yaml cannot work; the message says what.

    Example:
        >>> @dg.asset(deps=[dg.AssetKey(["coinbase", "bars_1d", "BTC-USD"])])
        ... def weekly_report(lake: LakeResource) -> None:
        ...     print(lake.reader.bars("BTC-USD", "1w").tail(4))
        >>> defs = build_definitions(Settings.load(), assets=[weekly_report])
    """
    # A source whose symbols nobody has asked for yet has nothing to show.
    every = list(list_series_groups(settings))
    groups, discovered = [group for group in every if group.symbols], _first_of_sources(every, is_discovered)
    for group in groups:
        warn_if_many(group.name, group.partitioning, len(group.symbols), date.today())
    lake = LakeResource.of(settings)
    feeds = list_feeds(settings, date.today())
    stream_checks = [build_stream_checks(settings, feeds)] if feeds else []
    tie_outs = [build_tie_out(found)] if (found := find_tie_outs(settings, feeds)) else []
    healed = [build_healing_asset(settings, feeds)] if has_trades(feeds) else []
    with warnings.catch_warnings():
        # Backfill policies and partitions of checks are young. Dagster is pinned to a patch, and an end-to-end test uses
        # both.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Definitions(
            assets=[
                *_build_assets(settings, groups, discovered),
                *(build_feed_spec(settings, feed) for feed in feeds),
                *healed,
                *assets,
            ],
            asset_checks=[*(build_dataset_check(group) for group in groups), *stream_checks, *tie_outs, *asset_checks],
            jobs=list(jobs),
            schedules=[
                *_build_schedules(settings, groups, discovered),
                *map(build_streams_schedule, stream_checks),
                *map(build_tie_out_schedule, tie_outs),
                *schedules,
            ],
            sensors=[*_build_sensors(settings, lake, groups, feeds), *sensors],
            resources={
                "lake": lake,
                "bars_io": LakeIOManager.of(settings),
                "duckdb": build_catalog_resource(settings),
                **build_vendor_resources(settings),
                **(resources or {}),
            },
            executor=executor,
        )


def _build_assets(
    settings: Settings, groups: Sequence[SeriesGroup], discovered: Sequence[SeriesGroup]
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    return [
        *(build_bars_asset(group, AssetFacts.of(settings, group)) for group in groups),
        *(build_dataset_spec(group, AssetFacts.of(settings, group)) for group in groups),
        *(build_actions_asset(group) for group in _list_acting(groups)),
        *(build_instruments_asset(group) for group in _list_acting(groups) if has_instruments(group.source)),
        *(build_fundamentals_asset(group) for group in _list_reporting(groups)),
        *(build_listings_asset(group) for group in _list_reporting(groups) if has_listings(group.source)),
        *(build_universe_asset(settings, group) for group in discovered),
        *(build_factors_asset(settings, name) for name in settings.factors),
        *(build_compaction_asset(group) for group in groups),
        build_ledgers_compaction_asset(groups),
        build_catalog_asset(settings),
        build_vacuum_asset(settings),
        build_verify_asset(),
        build_backup_asset(settings),
        build_restore_test_asset(settings),
        build_prune_events_asset(settings),
        build_health_assets(settings),
    ]


def _build_schedules(
    settings: Settings, groups: Sequence[SeriesGroup], discovered: Sequence[SeriesGroup]
) -> list[dg.ScheduleDefinition]:
    today = date.today()
    return [
        *(build_daily_schedule(group, today) for group in groups),
        *(build_actions_schedule(group, today, running=not _has_quota(group)) for group in _list_acting(groups)),
        *(build_fundamentals_schedule(group, running=not _has_quota(group)) for group in _list_reporting(groups)),
        *(build_universe_schedule(group, running=not _has_quota(group)) for group in discovered),
        build_vacuum_schedule(),
        build_verify_schedule(),
        *build_backup_schedules(settings),
        build_prune_events_schedule(settings),
        *build_health_schedules(settings),
    ]


def _build_sensors(
    settings: Settings, lake: LakeResource, groups: Sequence[SeriesGroup], feeds: Sequence[Feed]
) -> list[dg.SensorDefinition]:
    alerts = settings.alerts
    return [
        *([build_streams_sensor(settings, lake, feeds)] if feeds else []),
        *([build_stream_healing_sensor(lake, feeds)] if has_trades(feeds) else []),
        *([build_alert_sensor(settings, groups, feeds)] if alerts.to or alerts.heartbeat else []),
        build_catalog_sensor(lake, groups, iceberg=settings.iceberg),
        build_compaction_sensor(lake, groups),
        *(build_deferred_sensor(group) for group in groups if _has_quota(group)),
        *(build_healing_sensor(lake, group, settings.healing) for group in groups),
        *([build_factors_sensor(settings, lake)] if settings.factors else []),
    ]


def _list_acting(groups: Sequence[SeriesGroup]) -> list[SeriesGroup]:
    """The first group of each source whose vendor knows corporate actions."""
    return _first_of_sources(groups, _has_actions)


def _list_reporting(groups: Sequence[SeriesGroup]) -> list[SeriesGroup]:
    """The first group of each source whose vendor is asked about companies."""
    return _first_of_sources(groups, _has_fundamentals)


def _first_of_sources(groups: Sequence[SeriesGroup], wanted: Callable[[SeriesGroup], bool]) -> list[SeriesGroup]:
    first_of_source = {group.source.name: group for group in reversed(groups)}
    return [group for group in groups if group is first_of_source[group.source.name] and wanted(group)]


def _has_actions(group: SeriesGroup) -> bool:
    try:
        return has_actions(group.source)
    except ConfigError:
        return False


def _has_fundamentals(group: SeriesGroup) -> bool:
    try:
        return has_fundamentals(group.source)
    except ConfigError:
        return False


def _has_quota(group: SeriesGroup) -> bool:
    try:
        return daily_quota(group.source) is not None
    except ConfigError:
        # A provider that is not installed fails its own runs, not the page of all others.
        return group.source.daily_quota is not None
