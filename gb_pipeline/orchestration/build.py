"""All of Dagster's definitions out of one Settings object.

Belongs here: putting the parts together. Does not belong here: the parts, and reading gb.yaml.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import date

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.assets.actions import actions_asset, actions_key
from gb_pipeline.orchestration.assets.backtest import backtest_asset, follows_bars
from gb_pipeline.orchestration.assets.bars import bars_asset
from gb_pipeline.orchestration.assets.catalog import catalog_asset, catalog_resource
from gb_pipeline.orchestration.assets.compaction import compaction_asset, ledgers_compaction_asset
from gb_pipeline.orchestration.assets.vacuum import vacuum_asset, vacuum_schedule
from gb_pipeline.orchestration.dataset import Dataset, datasets
from gb_pipeline.orchestration.deferred import deferred_sensor
from gb_pipeline.orchestration.partitions import warn_if_many
from gb_pipeline.orchestration.resources import LakeResource, vendor_resources
from gb_pipeline.orchestration.schedules import actions_job, actions_schedule, daily_job, daily_schedule
from gb_pipeline.orchestration.sensors import catalog_sensor, compaction_sensor
from gb_pipeline.providers.registry import daily_quota, has_actions


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything that gb.yaml asks for.

    Raises:
        ConfigError: something in gb.yaml cannot work; the message says what.
    """
    # A source whose symbols nobody has asked for yet has nothing to show.
    parts = [dataset for dataset in datasets(settings) if dataset.symbols]
    for dataset in parts:
        warn_if_many(dataset.name, dataset.partitioning, len(dataset.symbols), date.today())
    with warnings.catch_warnings():
        # Backfill policies, partitions of checks and lenient mappings are young. Dagster is pinned to a patch, and an
        # end-to-end test uses all three.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings, parts)


def _definitions(settings: Settings, parts: Sequence[Dataset]) -> dg.Definitions:
    lake = LakeResource.of(settings)
    wish = settings.moving_average
    backtests = [backtest_asset(tested, wish)] if wish and (tested := _tested(settings)).symbols else []
    firsts = {dataset.source.name: dataset for dataset in reversed(parts)}
    acting = [dataset for dataset in parts if dataset is firsts[dataset.source.name] and _has_actions(dataset)]
    return dg.Definitions(
        assets=[
            *(bars_asset(dataset) for dataset in parts),
            *(actions_asset(dataset) for dataset in acting),
            *(compaction_asset(dataset) for dataset in parts),
            ledgers_compaction_asset(parts),
            catalog_asset(settings),
            vacuum_asset(settings),
            *backtests,
        ],
        schedules=[
            *(daily_schedule(dataset, daily_job(dataset)) for dataset in parts),
            *(
                actions_schedule(dataset, actions_job(dataset, actions_key(dataset)), running=not _has_quota(dataset))
                for dataset in acting
            ),
            vacuum_schedule(),
        ],
        sensors=[
            catalog_sensor(lake, parts),
            compaction_sensor(lake, parts),
            *(deferred_sensor(dataset) for dataset in parts if _has_quota(dataset)),
            *map(follows_bars, backtests),
        ],
        resources={
            "lake": lake,
            "duckdb": catalog_resource(settings),
            **vendor_resources(settings),
        },
        # Every run is one step: a process per step would only import everything once more (3 s).
        executor=dg.in_process_executor,
    )


def _has_actions(dataset: Dataset) -> bool:
    try:
        return has_actions(dataset.source)
    except ConfigError:
        return False


def _has_quota(dataset: Dataset) -> bool:
    try:
        return daily_quota(dataset.source) is not None
    except ConfigError:
        # A provider that is not installed fails its own runs, not the page of all others.
        return dataset.source.daily_quota is not None


def _tested(settings: Settings) -> Dataset:
    assert settings.moving_average is not None, "asked for"
    wanted = Dataset(settings.source(settings.moving_average.source), settings.moving_average.resolution)
    if wanted.resolution not in wanted.source.resolutions:
        raise ConfigError(
            f"moving_average wants {wanted.resolution} bars, source {wanted.source.name} has"
            f" {', '.join(wanted.source.resolutions)}",
            fix="choose one of them in gb.yaml, or add it to the source's resolutions",
        )
    return wanted
