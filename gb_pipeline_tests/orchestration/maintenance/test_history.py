"""The weekly pruning of Dagster's history: what it is run for, and who decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from gb_pipeline_tests.orchestration.conftest import Bench

BTC = "sim/bars_1h/BTC-USDT"
DAY = "2024-01-01"


def store_twice_and_wait(bench: Bench, days: int) -> None:
    """Two runs store a day, so many days ago."""
    for _ in range(2):
        assert bench.run(BTC, partitions=DAY).success
    moment = datetime.now(UTC) - timedelta(days=days)
    with bench.instance.event_log_storage.index_transaction() as connection:
        connection.exec_driver_sql("update event_logs set timestamp = ?", (f"{moment:%Y-%m-%d %H:%M:%S}.000000",))
    with bench.instance.run_storage.connect() as connection:
        connection.exec_driver_sql("update runs set update_timestamp = ?", (f"{moment:%Y-%m-%d %H:%M:%S}",))


def test_what_is_superseded_goes_after_the_days_of_gb_yaml(build_bench):
    bench = build_bench(resolutions=["1h"], settings={"history_days": 30})
    store_twice_and_wait(bench, 29)
    assert bench.run("prune_events").success
    assert bench.metadata("prune_events")["events"] == 0
    store_twice_and_wait(bench, 31)
    shown = bench.metadata(BTC, DAY)

    assert bench.run("prune_events").success

    told = bench.metadata("prune_events")
    assert told["events"] > 3
    assert told["run_logs"] >= 3
    assert told["finding"].startswith(f"{told['events']} events and {told['run_logs']} logs of runs of before ")
    assert bench.materialized(BTC) == {DAY}
    assert bench.metadata(BTC, DAY) == shown
    # The run that prunes is under way while it does.
    assert bench.run("prune_events").success


@pytest.mark.parametrize(("days", "running"), [(90, True), (None, False)])
def test_it_is_scheduled_unless_everything_is_kept(build_bench, days, running):
    bench = build_bench(resolutions=["1h"], settings={"history_days": days})
    schedule = bench.definitions.resolve_schedule_def("prune_events_weekly")
    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) is running
    assert bench.run("prune_events").success
    assert ("gb.yaml keeps all of it" in bench.metadata("prune_events")["finding"]) is not running
