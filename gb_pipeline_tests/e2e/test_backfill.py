"""A backfill and a refresh through the real webserver and daemon: what a user finds after pressing the button."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline.catalog.connection import open_catalog
from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.dagster_runtime.home import find_page
from gb_pipeline.dagster_runtime.instance import find_free_port
from gb_pipeline.dagster_runtime.reload import BY_HAND, request_reload
from gb_pipeline.lake import fetches
from gb_pipeline.orchestration.events.dataset_check import CHECK
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.processes import CODE_SERVER, DAEMON, DEFINITIONS, WEBSERVER, find_processes

SYMBOLS = ["BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "XRP-USDT", "ADA-USDT"]
DAYS = [f"2024-01-{day:02d}" for day in range(1, 31)]
BAD, ODD, GAP = ("SOL-USDT", "2024-01-12"), ("ETH-USDT", "2024-01-09"), ("XRP-USDT", "2024-01-20")


def test_six_symbols_and_thirty_days_are_two_runs(first):
    ranges = [
        (run["tags"]["dagster/asset_partition_range_start"], run["tags"]["dagster/asset_partition_range_end"])
        for run in first.runs
    ]

    assert sorted(ranges) == [("2024-01-01", "2024-01-15"), ("2024-01-16", "2024-01-30")]
    assert sorted(run["status"] for run in first.runs) == ["FAILURE", "SUCCESS"]  # the bad day's run says so
    assert (first.status, first.targeted, first.materialized, first.failed) == ("COMPLETED_FAILED", 180, 179, 1)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_planted_bad_day_is_the_only_red_one(project, first, symbol):
    statuses = project.stack.client.partition_statuses(["sim", "bars_1m", symbol])

    red = {BAD[1]} if symbol == BAD[0] else set()
    assert statuses == {day: "FAILED" if day in red else "MATERIALIZED" for day in DAYS}


def test_each_run_says_what_it_found_of_the_dataset(project, first):
    results = project.stack.client.check_results(["sim", "bars_1m"], CHECK)
    found = {run["status"]: results[run["runId"]] for run in first.runs}

    assert (found["FAILURE"]["passed"], found["FAILURE"]["severity"]) == (False, "ERROR")
    counts = found["FAILURE"]["metadata"]
    # 20 of 1,440 rows are more than one in a hundred: the whole day is refused. One bad row of another is kept apart.
    assert (counts["partitions"], counts["not_stored"], counts["quarantined"]) == (90, 1, 1440 + 1)
    # Whichever run comes second knows of the day that the other one left unstored.
    assert not found["SUCCESS"]["passed"]
    holes = found["SUCCESS"]["metadata"]
    assert (holes["partitions"], holes.get("not_stored", 0), holes["quarantined"]) == (90, 0, 0)
    assert holes["unexplained"] > 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_lake_holds_what_the_exchange_served_digit_by_digit(project, market, first, symbol):
    stored = Lake.open(project.folder / "data").bars(symbol, "1m", source="sim").sort("timestamp")

    served = [row for day in DAYS if (symbol, day) != BAD for row in market.klines(symbol, day)]
    if symbol == ODD[0]:
        served = [row for row in served if row[3] != "99999.00000000"]
    assert stored["timestamp"].dt.epoch("ms").to_list() == [row[0] for row in served]
    for position, name in enumerate(["open", "high", "low", "close", "volume"], 1):
        assert stored[name].to_list() == [Decimal(row[position]) for row in served], name
    assert stored["trade_count"].to_list() == [row[8] for row in served]


def test_sessions_around_a_holiday_are_one_run_on_the_exchanges_own_calendar(project, stocks):
    assert (stocks.status, stocks.materialized, stocks.failed) == ("COMPLETED_SUCCESS", 6, 0)
    tags = stocks.runs[0]["tags"]
    assert len(stocks.runs) == 1
    assert tags["dagster/asset_partition_range_start"] == "2024-01-12"
    assert tags["dagster/asset_partition_range_end"] == "2024-01-17"
    bars = Lake.open(project.folder / "data").bars(["AAPL", "MSFT"], "1h", source="stocks")
    assert bars.height == 2 * 3 * 7
    [result] = project.stack.client.check_results(["stocks", "bars_1h"], CHECK).values()
    assert (result["passed"], result["metadata"]["partitions"]) == (True, 6)


def test_rows_that_were_refused_are_kept_apart_as_they_came(project, first):
    refused = Lake.open(project.folder / "data").quarantine()

    counts = dict(refused.group_by("symbol").len().iter_rows())
    assert counts[ODD[0]] == 1
    # The whole refused session is there, good rows included.
    assert counts[BAD[0]] >= 20
    assert set(counts) == {ODD[0], BAD[0]}


def test_the_catalog_was_refreshed_without_being_asked(settled):
    runs = [run for run in settled.runs() if run["jobName"] == "catalog_refresh"]

    # The exchange's bars, the files and what the backtests keep may be stored one after the other.
    assert {run["status"] for run in runs} == {"SUCCESS"} and len(runs) <= 3
    with open_catalog(settled.store.storage.catalog) as catalog:
        found = dict(catalog.execute("select symbol, record_count from symbol_data where source = 'sim'").fetchall())
    expected = dict.fromkeys(SYMBOLS, 30 * 1440)
    expected[BAD[0]] -= 1440
    expected[ODD[0]] -= 1
    expected[GAP[0]] -= 7
    assert found == expected


def test_the_newest_days_backtests_ran_without_being_asked(settled):
    stats = settled.stack.client.partition_stats([["sim", "moving_average", symbol] for symbol in SYMBOLS])

    assert all(item["materialized"] == 1 and item["failed"] == 0 for item in stats.values())
    assert set(settled.stack.client.partition_statuses(["sim", "moving_average", "BTC-USDT"])) == {"2024-01-30"}


def test_the_same_backfill_again_commits_nothing(second):
    assert (second.again.materialized, second.again.failed) == (179, 1)
    assert len(second.again.runs) == 2
    assert second.after == second.before


def test_every_call_to_the_vendor_left_its_row_in_the_ledger(project, second):
    rows = fetches.read(project.store.tables).filter(pl.col("source") == "sim")
    assert rows.height == 2 * len(SYMBOLS) * 2  # both backfills: two runs, one window per symbol each


def test_everything_is_killed_in_the_middle_of_a_backfill_and_nothing_is_lost_or_doubled(project, second):
    """A run's process, and with it who would notice: code server, daemon and webserver."""
    assert set(second.killed) == {"worker", DEFINITIONS, CODE_SERVER, DAEMON, WEBSERVER}
    assert not set(second.killed.values()) & set(find_processes(project.stack.home))
    assert (second.doomed.status, second.doomed.materialized, second.doomed.failed) == ("COMPLETED_SUCCESS", 40, 0)
    statuses = [run["status"] for run in project.runs() if run["tags"].get("dagster/backfill") == second.doomed.id]
    # The other run of the two may just have been launched.
    assert (set(statuses), statuses.count("SUCCESS")) == ({"FAILURE", "SUCCESS"}, 2)
    assert statuses.count("FAILURE") <= 2

    bars = Lake.open(project.folder / "data").bars(["LTC-USD", "BCH-USD"], "1m", source="doomed")
    counts = bars.group_by("symbol").agg(pl.len(), pl.col("timestamp").n_unique().alias("unique")).sort("symbol")
    assert counts.rows() == [("BCH-USD", 20 * 1440, 20 * 1440), ("LTC-USD", 20 * 1440, 20 * 1440)]


def test_the_catalog_follows_again(project, second):
    client = project.stack.client
    client.wait(lambda: catalog_is_stale(project.store), lambda stale: not stale, "the catalog", 120)


# New listings: a run asks the exchange, and the page shows their series without anybody starting anything again.
def test_symbols_that_joined_are_series_of_the_page_once_the_run_has_ended(project, not_yet_listed, first):
    """The run itself asks the page to load the definitions anew, and goes on to its end."""
    client = project.stack.client
    run = client.launch_run([["listed", "universe"]])
    statuses = client.wait_runs([run], timeout=120)

    assert not_yet_listed == set()
    assert statuses[run] == "SUCCESS"
    client.wait(lambda: project.series("listed"), lambda found: found == {"BTC-USDT", "ETH-USDT"}, "the new series", 60)


def test_whoever_changes_the_symbols_finds_the_running_page_and_has_it_reloaded(project, tmp_path):
    assert find_page(project.folder) == project.stack.url
    assert request_reload(project.stack.url) == "the definitions are loaded anew"

    assert find_page(tmp_path) is None
    nobody = request_reload(f"http://127.0.0.1:{find_free_port()}")
    assert "does not answer" in nobody and nobody.endswith(BY_HAND)
