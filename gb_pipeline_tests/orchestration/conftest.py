"""A project with a simulated exchange, and runs of its definitions in this process on a real SQLite instance."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.catalog.projection import table_versions
from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.event_log import event_log_settings
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.events.dataset_check import CHECK
from gb_pipeline.simulation import Simulation

SYMBOLS = ["BTC-USDT", "ETH-USDT"]


@dataclass
class Bench:
    """Definitions, an instance to run them on, and the exchange that they ask."""

    settings: Settings
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    simulation: Simulation

    @property
    def store(self) -> LakeStore:
        return LakeStore.at(self.settings.lake, state=self.settings.state)

    def versions(self) -> dict[str, int]:
        return table_versions(self.store)

    def run(
        self, *paths: str, partitions: tuple[str, str] | str | None = None, config: dict[str, object] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets (`a/b/c`) in one run, over one partition or a range."""
        tags, key = {}, None
        if isinstance(partitions, tuple):
            tags = dict(
                zip(
                    ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"),
                    partitions,
                    strict=True,
                )
            )
        else:
            key = partitions
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(path.split("/")) for path in paths],
            tags=tags,
            run_config=config,
            partition_key=key,
            raise_on_error=False,
        )

    def materialized(self, path: str) -> set[str]:
        return set(self.instance.get_materialized_partitions(dg.AssetKey(path.split("/"))))

    def metadata(self, path: str, partition: str | None = None) -> dict[str, object]:
        """Of the newest materialisation."""
        wanted = dg.AssetRecordsFilter(
            dg.AssetKey(path.split("/")), asset_partitions=[partition] if partition else None
        )
        record = self.instance.fetch_materializations(wanted, limit=1).records[0]
        found = record.asset_materialization
        assert found is not None
        return {name: value.value for name, value in found.metadata.items()}

    def checks(self, result: dg.ExecuteInProcessResult) -> dict[tuple[str, str, str], dg.AssetCheckEvaluation]:
        """Evaluations by symbol, partition and name of the check."""
        # From the instance: a failed run's result in memory lacks what its step had logged.
        events = self.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        found = [event.dagster_event.asset_check_evaluation_data for event in events]
        return {(item.asset_key.path[-1], str(item.partition), item.check_name): item for item in found}

    def execute_check(self, path: str = "sim/bars_1m") -> dg.AssetCheckEvaluation:
        """What the check of a dataset finds when it is executed from the page."""
        key = dg.AssetKey(path.split("/"))
        job = self.definitions.resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection=set(), asset_check_selection={dg.AssetCheckKey(key, CHECK)})
        return self.check(subset.execute_in_process(instance=self.instance), key.path[-1])

    def check(self, result: dg.ExecuteInProcessResult, table: str = "bars_1m") -> dg.AssetCheckEvaluation:
        """What a run found of a dataset."""
        return self.checks(result)[table, "None", CHECK]


def open_instance(folder: Path) -> dg.DagsterInstance:
    """With the event log that a project's instance has."""
    overrides = {"telemetry": {"enabled": False}, "event_log_storage": event_log_settings(folder)}
    return dg.DagsterInstance.local_temp(str(folder), overrides=overrides)


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The databases of an instance without a run. To make them takes longer than many a test; to copy them takes nothing."""
    folder = tmp_path_factory.mktemp("instance")
    with open_instance(folder) as instance:
        assert not instance.get_runs(limit=1)
        assert not instance.all_asset_keys()
    return folder


@pytest.fixture
def build_bench(tmp_path: Path, empty_instance: Path) -> Iterator[Callable[..., Bench]]:
    """`build_bench(grain="month")`: a source `sim` with these settings besides the usual ones.

    `settings` are gb.yaml's own, `also` other sources.
    """
    shutil.copytree(empty_instance, tmp_path, dirs_exist_ok=True)
    with Simulation(seed=5, symbols=SYMBOLS) as simulation, open_instance(tmp_path) as instance:

        def build(*, settings: dict | None = None, also: dict | None = None, **source) -> Bench:
            body = {
                "provider": "ccxt",
                "options": {"exchange": "binance", "base_url": simulation.url},
                "asset_class": "crypto",
                "start": "2024-01-01",
                "end": "2024-03-01",
                "symbols": SYMBOLS,
                "rate_limit": {"calls": 1000},
                "retries": 0,
            }
            raw: dict = {"lake": "data", "sources": {"sim": body | source} | (also or {})} | (settings or {})
            (tmp_path / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
            loaded = Settings.load(tmp_path)
            return Bench(loaded, build_definitions(loaded), instance, simulation)

        yield build
