"""Sources whose symbols are discovered: before anybody asked, after a delisting, and hundreds of them."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.config.symbols import discovered
from gb_pipeline.dagster_runtime.reload import PAGE
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.universe.discovery import refresh

DISCOVERED = {"discover": {"quote": "USDT"}}


def keys(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


@pytest.mark.parametrize("symbols", [[], DISCOVERED], ids=["no list", "nobody asked yet"])
def test_a_source_without_symbols_loads_and_shows_nothing(build_bench, symbols):
    bench = build_bench(symbols=symbols)

    dg.Definitions.validate_loadable(bench.definitions)

    asking = ({"sim/universe"}, {"sim_universe_daily"}) if symbols else (set(), set())
    assert {key for key in keys(bench.definitions) if key.startswith("sim")} == asking[0]
    schedules = {item.name for item in bench.definitions.get_repository_def().schedule_defs}
    assert {name for name in schedules if name.startswith("sim")} == asking[1]
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


def test_the_universe_is_refreshed_by_a_run_which_says_what_joined_and_how_it_is_shown(build_bench, monkeypatch):
    monkeypatch.delenv(PAGE, raising=False)
    bench = build_bench(symbols=DISCOVERED)

    assert bench.run("sim/universe").success
    shown = bench.metadata("sim/universe")
    assert (shown["status"], shown["chosen"], shown["known"]) == ("2 joined", 2, 2)
    assert "reload the code location" in shown["definitions"]
    assert {record.data["symbol"] for record in shown["changes"].records} == {"BTC-USDT", "ETH-USDT"}
    again = Settings.load(bench.settings.path)
    assert {symbol.code for symbol in again.source("sim").instruments} == {"BTC-USDT", "ETH-USDT"}

    assert bench.run("sim/universe").success
    assert bench.metadata("sim/universe")["status"] == "nothing changed"
    assert "definitions" not in bench.metadata("sim/universe")


def test_a_list_that_cannot_be_true_fails_the_run_with_the_reason_and_is_believed_on_request(build_bench):
    bench = build_bench(symbols=DISCOVERED)
    assert bench.run("sim/universe").success
    path = discovered.universe_file(discovered.universe_home(bench.settings.lake, bench.settings.path.parent), "sim")
    known = path.read_bytes()
    for code in ("BTC-USDT", "ETH-USDT"):
        bench.simulation.plant("delisting", code, start="2024-01-01T00:00Z")

    result = bench.run("sim/universe")

    assert not result.success
    assert path.read_bytes() == known
    told = [event.dagster_event.step_failure_data for event in bench.instance.all_logs(result.run_id)
            if event.dagster_event and event.dagster_event.event_type_value == "STEP_FAILURE"]  # fmt: skip
    assert "only 0 of 2 symbols of sim would still be chosen" in str(told[0].error)
