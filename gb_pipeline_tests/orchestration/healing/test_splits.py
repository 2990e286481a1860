"""A split that could not be settled blocks newer sessions and leaves older ones stale; healing makes both right."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline import Lake
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake import ledger
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.healing.sensor import find_group_work
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.orchestration.conftest import Bench, open_instance

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
AAPL, KO = "yahoo/bars_1d/AAPL", "yahoo/bars_1d/KO"
SENSOR = "yahoo_bars_1d_healing"
WEEK, MONDAY = ("2024-06-03", "2024-06-07"), "2024-06-10"


@pytest.fixture
def clock() -> SetClock:
    return SetClock(at("2024-06-07T22:00"))


@pytest.fixture
def bench(tmp_path: Path, empty_instance: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Two equities of a vendor that divides its history by each split, one of which is due on Monday."""
    shutil.copytree(empty_instance, tmp_path, dirs_exist_ok=True)
    open_store = LakeResource.open_store

    def open_at_the_clock(resource):
        store = open_store(resource)
        store.clock = clock
        return store

    monkeypatch.setattr(LakeResource, "open_store", open_at_the_clock)
    with Simulation(seed=11, stocks=["AAPL", "KO"]) as simulation, open_instance(tmp_path) as instance:
        simulation.plant("split", "AAPL", ex_date=MONDAY, to="4", from_="1")
        simulation.set_now(clock.now)
        source = {
            "provider": "yahoo", "options": {"base_url": simulation.url}, "asset_class": "equity", "calendar": "XNYS",
            "alignment": "session", "start": WEEK[0], "end": "2024-06-20", "symbols": ["AAPL", "KO"], "resolutions": ["1d"],
            "retries": 0, "gap_policy": "no_trade", "grain": "day", "settle_minutes": 15,
        }  # fmt: skip
        raw = {"lake": "data", "sources": {"yahoo": source}}
        (tmp_path / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        settings = Settings.load(tmp_path)
        yield Bench(settings, build_definitions(settings), instance, simulation)


def move(bench: Bench, clock: SetClock, moment: datetime) -> None:
    clock.now = moment
    bench.simulation.set_now(moment)


def tick(bench: Bench) -> tuple[list[dg.RunRequest], str]:
    sensor = bench.definitions.resolve_sensor_def(SENSOR)
    with dg.build_sensor_context(bench.instance, definitions=bench.definitions) as context:
        data = sensor.evaluate_tick(context)
    return list(data.run_requests), data.skip_message or ""


def open_work(bench: Bench, clock: SetClock):
    group, store = SeriesGroup.of(bench.settings, "yahoo", "1d"), bench.store
    store.clock = clock
    return find_group_work(bench.instance, store, group, bench.settings.healing).items


def test_sessions_that_an_unsettled_split_blocks_and_those_it_made_stale_become_green(bench, clock):
    assert bench.run(AAPL, KO, partitions=WEEK).success
    raw = Lake.open(bench.settings.lake).bars("AAPL", "1d")["close"].to_list()

    # The question about splits is answered, the history is not.
    move(bench, clock, at("2024-06-10T22:00"))
    fault = bench.simulation.faults.add(match="chart/AAPL", status=503, skip=1)
    assert not bench.run(AAPL, KO, partitions=MONDAY).success
    assert fault.hits
    assert MONDAY not in bench.materialized(AAPL) and MONDAY in bench.materialized(KO)

    items = open_work(bench, clock)
    assert items.select("symbol", "why").unique(maintain_order=True).rows() == [
        ("AAPL", "of before a split"),
        ("AAPL", "failed before"),
    ]
    assert items.height == 6
    blocked = items.row(-1, named=True)
    assert (str(blocked["session"]), blocked["attempts"], blocked["state"]) == (MONDAY, 1, "waiting")
    assert "5 sessions from 2024-06-03 on are of before a split" in blocked["message"]
    assert tick(bench)[0] == []

    move(bench, clock, clock.now + timedelta(hours=1, minutes=1))
    [request], _ = tick(bench)
    assert [key.path[-1] for key in request.asset_selection or ()] == ["AAPL"]
    assert request.tags["dagster/asset_partition_range_start"] == WEEK[0]
    assert request.tags["dagster/asset_partition_range_end"] == MONDAY
    job = bench.definitions.resolve_job_def(SENSOR)
    healed = job.execute_in_process(
        instance=bench.instance, asset_selection=list(request.asset_selection or ()), tags=dict(request.tags)
    )

    assert healed.success
    assert {*WEEK, MONDAY} <= bench.materialized(AAPL)
    assert set(ledger.current(bench.store.tables)["status"]) == {"closed", "complete"}
    assert open_work(bench, clock).is_empty() and tick(bench)[1] == "nothing is open"
    lake = Lake.open(bench.settings.lake)
    closes = lake.bars("AAPL", "1d", end=MONDAY)["close"]
    assert all(abs(new - old / 4) <= Decimal("0.01") for new, old in zip(closes, raw, strict=True))
    assert lake.bars("AAPL", "1d").height == 6
