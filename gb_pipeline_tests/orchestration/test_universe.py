"""Sources whose symbols are discovered: before anybody asked, after a delisting, and hundreds of them."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.universe.discovery import refresh

DISCOVERED = {"discover": {"quote": "USDT"}}


def keys(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


@pytest.mark.parametrize("symbols", [[], DISCOVERED], ids=["no list", "nobody asked yet"])
def test_a_source_without_symbols_loads_and_shows_nothing(build_bench, symbols):
    bench = build_bench(symbols=symbols)

    dg.Definitions.validate_loadable(bench.definitions)

    assert keys(bench.definitions) == {"catalog", "ledgers_compaction", "vacuum"}
    assert [item.name for item in bench.definitions.get_repository_def().schedule_defs] == ["vacuum_nightly"]
    assert not bench.simulation.requests
    for name in ("catalog_follows_the_lake", "compaction"):
        with dg.build_sensor_context(bench.instance, definitions=bench.definitions) as context:
            tick = bench.definitions.resolve_sensor_def(name).evaluate_tick(context)
        assert (tick.run_requests, bool(tick.skip_message)) == ([], True)


def test_a_delisted_pair_keeps_its_asset_and_its_days_and_later_days_are_not_listed(build_bench):
    bench = build_bench(symbols=DISCOVERED, start="2024-01-01", resolutions=["1h"])
    bench.simulation.set_now("2024-02-01T12:00Z")
    refresh(bench.store, bench.settings.source("sim"), now=datetime(2024, 2, 1, 12, tzinfo=UTC))
    bench.settings = Settings.load(bench.settings.path)
    bench.definitions = build_definitions(bench.settings)
    asset = "sim/bars_1h/ETH-USDT"
    assert bench.run(asset, partitions="2024-01-02").success

    bench.simulation.plant("delisting", "ETH-USDT", start="2024-02-02T06:00Z")
    bench.simulation.set_now("2024-02-03T12:00Z")
    refresh(bench.store, bench.settings.source("sim"), now=datetime(2024, 2, 3, 12, tzinfo=UTC))
    bench.settings = Settings.load(bench.settings.path)
    bench.definitions = build_definitions(bench.settings)

    assert asset in keys(bench.definitions)
    bench.simulation.set_now("2024-02-05T12:00Z")
    asked = len(bench.simulation.requests)
    done = bench.run("sim/bars_1h/BTC-USDT", asset, partitions="2024-02-03")
    assert done.success
    klines = [str(request) for request in list(bench.simulation.requests)[asked:] if "klines" in str(request)]
    assert klines
    assert not any("ETHUSDT" in request for request in klines)
    assert bench.materialized(asset) == {"2024-01-02", "2024-02-03"}
    assert bench.metadata(asset, "2024-02-03")["status"] == "not listed"
