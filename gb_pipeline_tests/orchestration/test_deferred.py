"""What Dagster shows of a vendor's used-up day, and how the rest comes by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from gb_pipeline.lake import fetches, ledger
from gb_pipeline.orchestration.events import unstored
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG, UNTIL_FORMAT, UNTIL_TAG
from gb_pipeline.orchestration.series_group import SeriesGroup

BTC, ETH = "sim/bars_1h/BTC-USDT", "sim/bars_1h/ETH-USDT"
DAYS = ("2024-01-01", "2024-01-03")
# The markets and one symbol.
TWO = {"calls": 2, "zone": "America/New_York"}
SENSOR = "sim_bars_1h_deferred"


@pytest.fixture
def bench(build_bench):
    return build_bench(resolutions=["1h"], daily_quota=TWO, max_concurrency=1)


def tick(bench, cursor: str | None = None) -> tuple[list[dg.RunRequest], str, str]:
    """Evaluate the sensor once: requests, reason, cursor."""
    sensor = bench.definitions.resolve_sensor_def(SENSOR)
    with dg.build_sensor_context(bench.instance, definitions=bench.definitions, cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    assert data.cursor is not None
    return list(data.run_requests), data.skip_message or "", data.cursor


def midnight_passes(bench) -> None:
    """The vendor's next day: the file holds nothing but the count, and the runs say that they wait until a past moment."""
    next(bench.settings.lake.rglob("*.quota.sqlite")).unlink()
    past = datetime.now(UTC) - timedelta(minutes=1)
    for run in bench.instance.get_runs(dg.RunsFilter(tags={DEFERRED_TAG: "sim_bars_1h"})):
        bench.instance.add_run_tags(run.run_id, {UNTIL_TAG: past.strftime(UNTIL_FORMAT)})


def test_a_used_up_day_fails_nothing_claims_nothing_and_says_until_when(bench):
    result = bench.run(BTC, ETH, partitions=DAYS)

    assert result.success
    assert bench.materialized(BTC) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    assert bench.materialized(ETH) == set()
    check = bench.check(result, "bars_1h")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "3 of 6 partitions are valid and complete, 3 deferred"
    assert ledger.current(bench.store.tables)["symbol"].unique().to_list() == ["BTC-USDT"]

    # Each deferred day says until when, and why.
    records = bench.instance.fetch_observations(dg.AssetKey(ETH.split("/")), limit=10).records
    assert sorted(record.partition_key for record in records) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    seen = records[0].asset_observation
    until = seen.metadata["until"].value
    assert seen.description.startswith(f"deferred until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}Z: ")
    assert "2 of 2 calls used" in seen.description
    assert seen.metadata["status"].value == "deferred"
    tags = bench.instance.get_run_by_id(result.run_id).tags
    assert tags[DEFERRED_TAG] == "sim_bars_1h"
    assert tags[UNTIL_TAG] == f"{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%MZ}"


def test_later_runs_of_a_backfill_send_nothing_and_succeed(bench):
    bench.run(BTC, ETH, partitions=DAYS)
    sent = len(bench.simulation.requests)
    for first, last in [("2024-01-04", "2024-01-06"), ("2024-01-07", "2024-01-09")]:
        assert bench.run(BTC, ETH, partitions=(first, last)).success

    assert len(bench.simulation.requests) == sent == 2
    outcomes = fetches.read(bench.store.tables)["outcome"].to_list()
    assert outcomes.count("deferred") == 3  # one row a run


def test_what_was_stored_before_stays_green_when_its_repeat_is_deferred(bench):
    bench.run(BTC, partitions=DAYS)
    assert bench.run(BTC, partitions=DAYS).success

    assert bench.materialized(BTC) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    assert ledger.current(bench.store.tables)["status"].to_list() == ["complete"] * 3


def test_a_failure_beside_it_still_fails_the_run(bench):
    bench.simulation.faults.add(match="symbol=BTCUSDT", status=404, times=-1)
    result = bench.run(BTC, ETH, partitions="2024-01-01")

    assert not result.success
    assert bench.check(result, "bars_1h").passed is False
    assert len(bench.instance.fetch_observations(dg.AssetKey(ETH.split("/")), limit=10).records) == 1


def test_deferred_days_are_requested_once_the_next_day_has_begun(bench):
    bench.run(BTC, ETH, partitions=DAYS)
    requests, reason, cursor = tick(bench)
    assert requests == []
    assert "1 runs are deferred until" in reason
    # What it has seen stays in its cursor.
    [(run_id, until)] = json.loads(cursor)["waiting"].items()
    assert datetime.strptime(until, UNTIL_FORMAT).replace(tzinfo=UTC) > datetime.now(UTC)
    assert tick(bench, cursor)[0] == []
    assert len(tick(bench, json.dumps(json.loads(cursor) | {"waiting": {run_id: "2024-01-01T05:00Z"}}))[0]) == 1

    midnight_passes(bench)
    [request], _, cursor = tick(bench)  # as if the sensor had first looked now
    assert request.asset_selection == [dg.AssetKey(ETH.split("/"))]
    assert request.tags["dagster/asset_partition_range_start"] == "2024-01-01"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-01-03"
    assert tick(bench, cursor)[0] == []

    assert bench.run(ETH, partitions=DAYS).success
    assert bench.materialized(ETH) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    assert tick(bench, cursor)[1] == "nothing of sim_bars_1h is deferred"


def test_what_came_meanwhile_is_not_fetched_again(bench):
    bench.run(BTC, ETH, partitions=DAYS)
    midnight_passes(bench)
    assert bench.run(ETH, partitions="2024-01-02").success

    requests, _, _ = tick(bench)
    ranges = [
        (item.tags["dagster/asset_partition_range_start"], item.tags["dagster/asset_partition_range_end"])
        for item in requests
    ]
    assert ranges == [("2024-01-01", "2024-01-01"), ("2024-01-03", "2024-01-03")]


def test_a_deferral_of_a_deferral_waits_for_the_day_after_and_does_not_storm(bench):
    bench.run(BTC, ETH, partitions=DAYS)
    midnight_passes(bench)
    [first], _, cursor = tick(bench)
    bench.run(BTC, partitions="2024-02-01")  # somebody else uses the new day up
    assert bench.run(ETH, partitions=DAYS).success

    requests, reason, cursor = tick(bench, cursor)
    assert requests == []
    assert "deferred until" in reason
    midnight_passes(bench)
    state = json.loads(cursor) | {"seen": {}, "waiting": {}}
    [again], *_ = tick(bench, json.dumps(state))
    assert again.asset_selection == first.asset_selection


def test_a_series_that_is_no_longer_wanted_is_not_requested(build_bench):
    old = build_bench(resolutions=["1h"], daily_quota={"calls": 1}, max_concurrency=1)
    old.run(BTC, ETH, partitions=("2024-01-01", "2024-01-04"))
    midnight_passes(old)
    bench = build_bench(resolutions=["1h"], daily_quota={"calls": 1}, symbols=["BTC-USDT"], start="2024-01-03")

    [request], _, _ = tick(bench)
    assert [key.path[-1] for key in request.asset_selection] == ["BTC-USDT"]
    assert request.tags["dagster/asset_partition_range_start"] == "2024-01-03"


def test_nothing_is_requested_while_the_group_is_fetched(bench):
    bench.run(BTC, ETH, partitions=DAYS)
    midnight_passes(bench)
    job = bench.definitions.resolve_implicit_global_asset_job_def()
    running = bench.instance.create_run_for_job(
        job, asset_selection=frozenset({dg.AssetKey(BTC.split("/"))}), status=dg.DagsterRunStatus.STARTED
    )
    requests, reason, cursor = tick(bench)
    assert requests == []
    assert "is being fetched" in reason
    bench.instance.report_run_canceled(running)
    assert len(tick(bench, cursor)[0]) == 1


def test_long_deferrals_are_runs_of_the_usual_size_without_gaps(build_bench):
    bench = build_bench(resolutions=["1h"], daily_quota={"calls": 1}, max_concurrency=1, partitions_per_run=4)
    bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-10"))
    midnight_passes(bench)

    requests, _, _ = tick(bench)
    starts = [item.tags["dagster/asset_partition_range_start"] for item in requests]
    assert starts == ["2024-01-01", "2024-01-05", "2024-01-09"]
    assert all(len(item.asset_selection) == 2 for item in requests)
    assert len({item.run_key for item in requests}) == 3


def find_looking(bench, monkeypatch) -> tuple[set[tuple[str, str]], int]:
    """Deferred partitions, and at how many runs was looked for them."""
    looked, look = [], unstored.find_missing

    def count(instance, group, run_id):
        looked.append(run_id)
        return look(instance, group, run_id)

    with monkeypatch.context() as patched:
        patched.setattr(unstored, "find_missing", count)
        found = unstored.find_deferred(bench.instance, bench.store, SeriesGroup.of(bench.settings, "sim", "1h"))
    return set(found.select("symbol", "key").iter_rows()), len(looked)


def age(bench) -> None:
    """All runs so far have ended long ago."""
    with bench.instance.run_storage.connect() as connection:
        connection.exec_driver_sql("update runs set update_timestamp = datetime(update_timestamp, '-1 day')")


def test_runs_of_which_everything_is_stored_are_looked_at_once(bench, monkeypatch):
    for day in range(1, 6):
        assert bench.run(BTC, ETH, partitions=f"2024-01-0{day}").success
        age(bench)
    left = {("ETH-USDT", f"2024-01-0{day}") for day in range(1, 6)}
    left |= {("BTC-USDT", f"2024-01-0{day}") for day in range(2, 6)}
    assert find_looking(bench, monkeypatch) == (left, 5)
    next(bench.settings.lake.rglob("*.quota.sqlite")).unlink()
    assert bench.run(BTC, partitions=("2024-01-02", "2024-01-05")).success
    assert find_looking(bench, monkeypatch) == ({item for item in left if item[0] == "ETH-USDT"}, 5)
    next(bench.settings.lake.rglob("*.quota.sqlite")).unlink()
    assert bench.run(ETH, partitions=("2024-01-01", "2024-01-04")).success
    age(bench)

    # The look that finds four of them stored is their last one.
    assert find_looking(bench, monkeypatch) == ({("ETH-USDT", "2024-01-05")}, 1)
    assert find_looking(bench, monkeypatch) == ({("ETH-USDT", "2024-01-05")}, 1)
    # What was remembered is only a help.
    bench.instance.daemon_cursor_storage.set_cursor_values({"gb/deferred/sim_bars_1h": "{}"})
    assert find_looking(bench, monkeypatch) == ({("ETH-USDT", "2024-01-05")}, 5)


def test_a_run_that_goes_on_deferring_is_looked_at_again(bench, monkeypatch):
    assert bench.run(BTC, ETH, partitions="2024-01-01").success
    age(bench)
    job = bench.definitions.resolve_implicit_global_asset_job_def()
    run = bench.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={DEFERRED_TAG: "sim_bars_1h"})
    assert find_looking(bench, monkeypatch)[1] == 2
    age(bench)
    assert find_looking(bench, monkeypatch) == ({("ETH-USDT", "2024-01-01")}, 2)
    bench.instance.report_run_canceled(run)
    age(bench)
    assert find_looking(bench, monkeypatch)[1] == 2
    assert find_looking(bench, monkeypatch)[1] == 1


def test_a_vendor_without_a_quota_needs_no_such_sensor(build_bench):
    names = {item.name for item in build_bench().definitions.get_repository_def().sensor_defs}
    assert not any("deferred" in name for name in names)
