"""With `iceberg: true` Iceberg tables follow the lake with the catalog."""

from __future__ import annotations

from dataclasses import replace

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline_tests.iceberg.engines import by_lake, by_pyiceberg
from gb_pipeline_tests.orchestration.test_by_itself import tick

BTC = "sim/bars_1m/BTC-USDT"


def test_iceberg_tables_follow_the_lake_with_the_catalog_where_it_is_set(build_bench):
    bench = build_bench()
    assert not bench.settings.iceberg
    bench.run(BTC, partitions="2024-01-01")
    refresh_catalog(bench.store, bench.settings.sources)
    assert tick(bench, "catalog_follows_the_lake") == []

    settings = bench.settings.model_copy(update={"iceberg": True})
    bench = replace(bench, settings=settings, definitions=build_definitions(settings))
    # The catalog is as new as the lake, and there is no table yet.
    assert len(tick(bench, "catalog_follows_the_lake")) == 1
    assert bench.run("catalog").success
    assert tick(bench, "catalog_follows_the_lake") == []
    assert by_pyiceberg(bench.store, "bars_1m").equals(by_lake(bench.store, "1m"))
    [row] = bench.metadata("catalog")["iceberg"].records
    assert row.data == {"table": "bars_1m", "bars": 1440, "files": 1, "added": 1, "removed": 0}

    bench.run(BTC, partitions="2024-01-02")
    assert bench.run("vacuum").success
    assert by_pyiceberg(bench.store, "bars_1m").height == 2880
    assert by_pyiceberg(bench.store, "bars_1m").equals(by_lake(bench.store, "1m"))
