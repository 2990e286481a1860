"""Open work is requested again by itself: few runs, each attempt once, and never what is being fetched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.healing.asking import HEALING_TAG
from gb_pipeline_tests.orchestration.conftest import Bench

BTC, ETH = "sim/bars_1h/BTC-USDT", "sim/bars_1h/ETH-USDT"
DAYS = ("2024-01-01", "2024-01-03")
SENSOR = "sim_bars_1h_healing"
# Waits that are over at once, and one that is not within a test.
SOON = {"after": ["1s", "1s", "1s", "3d"]}


@pytest.fixture
def bench(build_bench: Callable[..., Bench]) -> Bench:
    return build_bench(resolutions=["1h"], settings={"healing": SOON})


def tick(bench: Bench, cursor: str | None = None) -> tuple[list[dg.RunRequest], str, str | None]:
    """Evaluate the sensor once, as the next attempt may be due: requests, reason, cursor."""
    sensor = bench.definitions.resolve_sensor_def(SENSOR)
    with dg.build_sensor_context(bench.instance, definitions=bench.definitions, cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    return list(data.run_requests), data.skip_message or "", data.cursor


def wait_for_requests(bench: Bench, series: int = 1) -> list[dg.RunRequest]:
    """Wait until so many series are due: each waits from its own last answer."""
    end = time.monotonic() + 30
    while True:
        requests = tick(bench)[0]
        if sum(len(request.asset_selection or ()) for request in requests) >= series:
            return requests
        assert time.monotonic() < end, f"{series} series did not become due"
        time.sleep(0.1)


def launch(bench: Bench, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """What the daemon does with a request."""
    job = bench.definitions.resolve_job_def(SENSOR)
    return job.execute_in_process(
        instance=bench.instance,
        asset_selection=list(request.asset_selection or ()),
        tags={str(key): str(value) for key, value in request.tags.items()},
        raise_on_error=False,
    )


def fail(bench: Bench, code: str, **fault: Any) -> None:
    bench.simulation.faults.add(match=f"symbol={code.replace('-', '')}", times=-1, **({"status": 503} | fault))


def test_nothing_is_requested_of_what_nobody_fetched_and_of_what_is_stored(bench):
    assert tick(bench)[:2] == ([], "nothing is open")
    bench.run(BTC, ETH, partitions=DAYS)
    requests, reason, cursor = tick(bench)
    assert (requests, reason) == ([], "nothing is open")
    assert tick(bench, cursor)[1] == "the lake has not changed, and nothing is due"


def test_failed_days_and_a_gap_become_green_by_themselves(bench):
    fail(bench, "ETH-USDT")
    gap = bench.simulation.plant("gap", "BTC-USDT", start="2024-01-02T05:00Z", end="2024-01-02T08:00Z")
    assert not bench.run(BTC, ETH, partitions=DAYS).success
    assert bench.materialized(ETH) == set()

    requests = wait_for_requests(bench, series=2)
    assert [
        (
            item.tags["dagster/asset_partition_range_start"],
            item.tags["dagster/asset_partition_range_end"],
            item.asset_selection,
        )
        for item in requests
    ] == [
        ("2024-01-01", "2024-01-03", [dg.AssetKey(ETH.split("/"))]),
        ("2024-01-02", "2024-01-02", [dg.AssetKey(BTC.split("/"))]),
    ]
    assert {(item.tags[HEALING_TAG], item.tags["dagster/priority"]) for item in requests} == {("sim_bars_1h", "5")}

    assert gap is not None
    bench.simulation.reset()
    assert all(launch(bench, request).success for request in requests)
    assert bench.materialized(ETH) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    assert set(ledger.current(bench.store.tables)["status"]) == {"complete"}
    assert tick(bench)[:2] == ([], "nothing is open")


def test_the_same_attempt_has_the_same_key_whoever_looks_and_the_next_one_another(bench):
    fail(bench, "ETH-USDT")
    bench.run(ETH, partitions=DAYS)
    [first] = wait_for_requests(bench)
    # The cursor was lost, or another daemon looks.
    assert [item.run_key for item in tick(bench)[0]] == [first.run_key]
    assert not launch(bench, first).success
    assert wait_for_requests(bench)[0].run_key != first.run_key


def test_a_symbol_that_fails_for_ever_is_given_up_and_stays_listed(bench):
    fail(bench, "ETH-USDT")
    bench.run(ETH, partitions="2024-01-01")
    for _ in range(3):
        [request] = wait_for_requests(bench)
        assert not launch(bench, request).success
    requests, reason, _ = tick(bench)
    assert requests == []
    assert reason.startswith("1 waiting; the next is due at ")
    # The first run, and each wait that is over.
    assert fetches.read(bench.store.tables).height == 4


def test_a_run_that_dies_before_it_asks_is_an_attempt_too(bench):
    fail(bench, "ETH-USDT")
    bench.run(ETH, partitions="2024-01-01")
    keys = []
    for _ in range(3):
        [request] = wait_for_requests(bench)
        keys.append(request.run_key)
        job = bench.definitions.resolve_job_def(SENSOR)
        run = bench.instance.create_run_for_job(
            job, tags=dict(request.tags), asset_selection=frozenset(request.asset_selection or ())
        )
        bench.instance.report_run_failed(run)
    assert len(set(keys)) == 3
    assert tick(bench)[1].startswith("1 waiting")
    assert fetches.read(bench.store.tables).height == 1


def test_what_a_killed_run_never_came_to_is_requested(bench):
    job = bench.definitions.resolve_job_def("sim_bars_1h_daily")
    run = bench.instance.create_run_for_job(job, tags={"dagster/partition": "2024-01-05"})
    bench.instance.report_run_failed(run)
    [request] = wait_for_requests(bench, series=2)
    assert request.tags["dagster/asset_partition_range_start"] == "2024-01-05"
    assert [key.path[-1] for key in request.asset_selection or ()] == ["BTC-USDT", "ETH-USDT"]
    assert launch(bench, request).success
    assert tick(bench)[1] == "nothing is open"


def test_series_that_are_being_fetched_are_left_alone_and_one_healing_runs_at_a_time(bench):
    fail(bench, "ETH-USDT")
    fail(bench, "BTC-USDT")
    bench.run(BTC, ETH, partitions="2024-01-01")
    [both] = wait_for_requests(bench, series=2)
    assert len(both.asset_selection or ()) == 2
    job = bench.definitions.resolve_implicit_global_asset_job_def()
    fetching = bench.instance.create_run_for_job(job, asset_selection=frozenset([dg.AssetKey(ETH.split("/"))]))
    assert [key.path[-1] for key in tick(bench)[0][0].asset_selection or ()] == ["BTC-USDT"]
    bench.instance.report_run_canceled(fetching)

    healing = bench.instance.create_run_for_job(
        bench.definitions.resolve_job_def(SENSOR), tags=dict(both.tags), asset_selection=frozenset(both.asset_selection)
    )
    assert tick(bench)[:2] == ([], "sim_bars_1h is being healed")
    bench.instance.report_run_canceled(healing)


def test_an_unusable_cursor_is_no_cursor(bench):
    fail(bench, "ETH-USDT")
    bench.run(ETH, partitions="2024-01-01")
    wait_for_requests(bench)
    ahead = json.dumps({"versions": bench.versions(), "looked": time.time() + 1e6, "until": time.time() + 2e6})
    for cursor in ("", "{", "[]", '{"looked": 1}', ahead):
        assert len(tick(bench, cursor)[0]) == 1, cursor


def test_it_looks_at_a_lake_that_somebody_else_changed(bench):
    _, _, cursor = tick(bench)
    fail(bench, "ETH-USDT")
    bench.run(ETH, partitions="2024-01-01")
    assert isinstance(bench.store, LakeStore)
    end = time.monotonic() + 30
    while "waiting" not in (reason := tick(bench, cursor)[1]) and not tick(bench, cursor)[0]:
        assert time.monotonic() < end, reason
        time.sleep(0.1)


def test_it_is_stopped_where_gb_yaml_says_so(build_bench):
    off = build_bench(resolutions=["1h"], settings={"healing": {"enabled": False}})
    sensor = off.definitions.resolve_sensor_def(SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
