"""Assets that read a lake in a bucket."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import yaml

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.config.settings import Settings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.lake_io_manager import LakeIOManager
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store


def test_an_asset_gets_the_bars_of_its_partition_and_no_credential_is_in_its_resource(
    server: Store, bucket: Bucket, machine: Machine, tmp_path: Path
) -> None:
    machine("a").write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 1440))
    source = {"provider": "ccxt", "asset_class": "crypto", "start": "2024-01-02", "symbols": ["BTC-USD"]}
    config = {"lake": str(bucket), "s3": server.access, "sources": {"sim": source}}
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    settings = Settings.load(tmp_path)
    group = SeriesGroup.of(settings, "sim", "1m")

    @dg.asset(
        partitions_def=group.partitions,
        ins={"bars": dg.AssetIn(dg.AssetKey(["sim", "bars_1m", "BTC-USD"]), input_manager_key="bars_io")},
    )
    def height(bars: pl.DataFrame) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"bars": bars.height})

    io = LakeIOManager.of(settings)
    series = [dg.AssetSpec(key, partitions_def=group.partitions) for key in group.symbols]
    result = dg.materialize([*series, height], resources={"bars_io": io}, partition_key="2024-01-02")
    assert result.asset_materializations_for_node("height")[0].metadata["bars"].value == 1440
    assert server.secret not in repr(io)
