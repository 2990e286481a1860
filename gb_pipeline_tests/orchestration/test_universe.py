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
def test_a_source_without_symbols_loads_and_shows_nothing(bench, symbols):
    made = bench(symbols=symbols)

    dg.Definitions.validate_loadable(made.definitions)

    assert keys(made.definitions) == {"catalog", "ledgers_compaction", "vacuum"}
    assert [item.name for item in made.definitions.get_repository_def().schedule_defs] == ["vacuum_nightly"]
    assert not made.simulation.requests
    for name in ("catalog_follows_the_lake", "compaction"):
        with dg.build_sensor_context(made.instance, definitions=made.definitions) as context:
            tick = made.definitions.resolve_sensor_def(name).evaluate_tick(context)
        assert (tick.run_requests, bool(tick.skip_message)) == ([], True)


def test_a_delisted_pair_keeps_its_asset_and_its_days_and_later_days_are_not_listed(bench):
    made = bench(symbols=DISCOVERED, start="2024-01-01", resolutions=["1h"])
    made.simulation.set_now("2024-02-01T12:00Z")
    refresh(made.store, made.settings.source("sim"), now=datetime(2024, 2, 1, 12, tzinfo=UTC))
    made.settings = Settings.load(made.settings.path)
    made.definitions = build_definitions(made.settings)
    asset = "sim/bars_1h/ETH-USDT"
    assert made.run(asset, partitions="2024-01-02").success

    made.simulation.plant("delisting", "ETH-USDT", start="2024-02-02T06:00Z")
    made.simulation.set_now("2024-02-03T12:00Z")
    refresh(made.store, made.settings.source("sim"), now=datetime(2024, 2, 3, 12, tzinfo=UTC))
    made.settings = Settings.load(made.settings.path)
    made.definitions = build_definitions(made.settings)

    assert asset in keys(made.definitions)
    made.simulation.set_now("2024-02-05T12:00Z")
    asked = len(made.simulation.requests)
    done = made.run("sim/bars_1h/BTC-USDT", asset, partitions="2024-02-03")
    assert done.success
    klines = [str(request) for request in list(made.simulation.requests)[asked:] if "klines" in str(request)]
    assert klines
    assert not any("ETHUSDT" in request for request in klines)
    assert made.materialized(asset) == {"2024-01-02", "2024-02-03"}
    assert made.metadata(asset, "2024-02-03")["status"] == "not listed"
