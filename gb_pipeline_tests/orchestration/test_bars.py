"""Series assets: a day is materialised if and only if its rows are committed, and everything else says why not."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest

from gb_pipeline.dagster_runtime.event_log import KeptEventLog
from gb_pipeline.dagster_runtime.runs import LEFT_OUT_TAG
from gb_pipeline.lake import fetches
from gb_pipeline.orchestration.events.series_events import count_series_rows
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import list_series_groups
from gb_pipeline.reading.lake import Lake

BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"
DAYS = ("2024-01-01", "2024-01-03")


@pytest.mark.parametrize("precision", ["standard", "wide"])
def test_a_range_of_days_is_one_materialisation_each_with_what_a_person_wants_to_know(build_bench, precision):
    bench = build_bench(precision=precision)
    result = bench.run(BTC, ETH, partitions=DAYS)

    assert result.success
    assert bench.materialized(BTC) == bench.materialized(ETH) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    shown = bench.metadata(BTC, "2024-01-02")
    assert shown["status"] == "1,440 of 1,440 bars"
    assert (shown["rows"], shown["expected"], shown["missing"], shown["quarantined"]) == (1440, 1440, 0, 0)
    assert (shown["first_bar"], shown["last_bar"]) == ("2024-01-02 00:00:00Z", "2024-01-02 23:59:00Z")
    assert (shown["dagster/partition_row_count"], shown["dagster/row_count"]) == (1440, 3 * 1440)
    assert re.fullmatch("[0-9a-f]{16}", shown["fingerprint"])
    assert shown["vendor_bytes"] > 0


def test_each_day_has_its_own_share_of_the_vendors_bytes_not_those_of_the_run(build_bench):
    bench = build_bench()
    bench.simulation.plant("gap", "BTC-USDT", start="2024-01-02T00:00:00Z", end="2024-01-02T12:00:00Z")
    bench.run(BTC, partitions=DAYS)

    whole, half, other = (bench.metadata(BTC, f"2024-01-0{day}")["vendor_bytes"] for day in (1, 2, 3))
    assert whole == pytest.approx(other, abs=1) and half == pytest.approx(whole / 2, abs=1)
    recorded = fetches.read(bench.store.tables)
    assert whole + half + other == recorded["bytes"].sum()


def test_a_day_whose_session_is_not_over_is_left_out_and_its_page_says_when_it_closes(build_bench, monkeypatch):
    bench, open_store = build_bench(), LakeResource.open_store

    def open_at_noon(resource):
        store = open_store(resource)
        store.clock = lambda: datetime(2024, 1, 3, 12, tzinfo=UTC)
        return store

    monkeypatch.setattr(LakeResource, "open_store", open_at_noon)
    result = bench.run(BTC, ETH, partitions=DAYS)

    assert result.success
    assert bench.materialized(BTC) == bench.materialized(ETH) == {"2024-01-01", "2024-01-02"}
    wanted = dg.AssetRecordsFilter(dg.AssetKey(ETH.split("/")), asset_partitions=["2024-01-03"])
    (seen,) = bench.instance.fetch_observations(wanted, limit=5).records
    assert (
        seen.asset_observation.description
        == "the session is not over before 2024-01-04 00:00Z; the schedule fetches it then"
        == seen.asset_observation.metadata["status"].value
    )
    tags = bench.instance.get_run_by_id(result.run_id).tags
    assert tags[LEFT_OUT_TAG].startswith("2024-01-03: the session is not over before 2024-01-04 00:00Z")
    assert Lake.open(bench.settings.lake).coverage("sim", "ETH-USDT", "1m").height == 2


def test_every_materialisation_is_counted_once(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions=DAYS)

    wanted = dg.AssetRecordsFilter(dg.AssetKey(BTC.split("/")))
    assert len(bench.instance.fetch_materializations(wanted, limit=100).records) == 3


@pytest.mark.parametrize("precision", ["standard", "wide"])
def test_the_same_range_again_commits_nothing_but_the_ledger_of_calls(build_bench, precision):
    bench = build_bench(precision=precision)
    bench.simulation.plant("bad", "ETH-USDT", start="2024-01-02T10:00:00Z", values={"high": "1.00"})
    bench.run(BTC, ETH, partitions=DAYS)
    before = bench.versions()

    result = bench.run(BTC, ETH, partitions=DAYS)

    after = bench.versions()
    assert result.success
    assert after.pop("fetches") > before.pop("fetches")
    assert after == before
    shown = bench.metadata(BTC, "2024-01-02")
    assert (shown["stored"], shown["unchanged"]) == (0, 1440)


def test_a_day_with_too_many_bad_rows_is_the_only_one_that_is_not_materialised(build_bench):
    bench = build_bench()
    for minute in range(20):
        bench.simulation.plant("bad", "ETH-USDT", start=f"2024-01-02T10:{minute:02d}:00Z", values={"high": "1.00"})

    result = bench.run(BTC, ETH, partitions=DAYS)

    assert not result.success
    assert bench.materialized(BTC) == {"2024-01-01", "2024-01-02", "2024-01-03"}
    assert bench.materialized(ETH) == {"2024-01-01", "2024-01-03"}
    check = bench.check(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "5 of 6 partitions are valid and complete, 1 not stored"
    worst = check.metadata["worst"].records[0].data
    assert (worst["symbol"], worst["partition"]) == ("ETH-USDT", "2024-01-02")
    assert worst["why"].startswith("20 of 1,440 rows are bad")
    failure = result.failure_data_for_node("sim_bars_1m")
    assert "1 of 6 partitions are not stored" in str(failure.error.cause or failure.error)
    assert "20 of 1,440 rows are bad (high_not_highest 20" in str(failure.error.cause or failure.error)


def test_one_bad_row_is_kept_apart_and_warned_about(build_bench):
    bench = build_bench()
    bench.simulation.plant("bad", "ETH-USDT", start="2024-01-02T10:00:00Z", values={"high": "1.00"})

    result = bench.run(ETH, partitions=DAYS)

    assert result.success
    check = bench.check(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["quarantined"].value == 1
    shown = bench.metadata(ETH, "2024-01-02")
    assert (shown["rows"], shown["refused_because"]) == (1439, "high_not_highest: 1, low_not_lowest: 1")


@pytest.mark.parametrize(("policy", "passed"), [("open", False), ("no_trade", True)])
def test_a_hole_is_a_warning_unless_the_vendors_habits_explain_it(build_bench, policy, passed):
    bench = build_bench(gap_policy=policy)
    bench.simulation.plant("gap", "ETH-USDT", start="2024-01-02T10:00:00Z", end="2024-01-02T10:05:00Z")

    result = bench.run(ETH, partitions=DAYS)

    assert result.success
    check = bench.check(result)
    assert check.passed is passed
    unexplained = 0 if passed else 5
    assert (check.metadata["missing"].value, check.metadata["unexplained"].value) == (5, unexplained)
    [record] = bench.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(ETH.split("/")), asset_partitions=["2024-01-02"]), limit=1
    ).records
    gap = record.asset_materialization.metadata["largest_gaps"].records[0].data
    assert (gap["from"], gap["bars"]) == ("2024-01-02 10:00:00Z", 5)
    assert bench.metadata(ETH, "2024-01-02")["unexplained"] == unexplained


def test_a_good_run_elsewhere_hides_no_day_that_is_not_stored(build_bench):
    bench = build_bench()
    for minute in range(20):
        bench.simulation.plant("bad", "ETH-USDT", start=f"2024-01-02T10:{minute:02d}:00Z", values={"high": "1.00"})
    bench.run(ETH, partitions="2024-01-02")
    check = bench.check(bench.run(BTC, ETH, partitions="2024-01-03"))
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "2 of 2 partitions are valid and complete, 1 not stored by earlier runs"
    assert check.metadata["worst"].records[0].data["partition"] == "2024-01-02"


def test_a_run_says_what_the_dataset_holds_by_then(build_bench):
    bench = build_bench()
    bench.run(BTC, ETH, partitions=DAYS)

    shown = bench.metadata("sim/bars_1m")
    assert (shown["series"], shown["dagster/row_count"]) == (2, 2 * 3 * 1440)
    assert shown["dagster/uri"].endswith("lake/bars_1m")
    assert shown["coverage"].startswith("![coverage](data:image/png;base64,")
    assert "BTC-USDT (top) to ETH-USDT, 2024-01-01 (left) to 2024-01-03" in shown["coverage"]
    card = {row.data["measure"]: row.data["value"] for row in shown["scorecard"].records}
    assert (card["series"], card["sessions"], card["complete"]) == ("2", "6", "1")
    assert card["calls"] == str(fetches.read(bench.store.tables)["calls"].sum())


def test_a_dataset_says_which_of_its_newest_sessions_another_source_has_otherwise(build_bench):
    bench = build_bench(resolutions=["1h"])
    hourly = [path.replace("1m", "1h") for path in (BTC, ETH)]
    bench.run(*hourly, partitions=DAYS)
    assert "disagreement" not in bench.metadata("sim/bars_1h"), "there is nothing to compare with"

    lake = Lake(bench.store)
    bars = lake.bars("BTC-USDT", "1h").select("timestamp", "open", "high", "low", "close", pl.col("volume") * 2)
    lake.put(bars, source="other", symbol="BTC-USDT", resolution="1h")
    bench.run(*hourly, partitions="2024-01-03")

    shown = bench.metadata("sim/bars_1h")
    [row] = [record.data for record in shown["disagreement"].records]
    assert (row["with"], row["days"], row["sessions"], row["differ"]) == ("other 1h", 30, 3, 3)
    assert row["newest"] == "BTC-USDT 2024-01-03: volume +100.00%"
    assert shown["differing_sessions"] == 3


@pytest.mark.parametrize("hole", [False, True])
def test_the_check_can_be_executed_from_the_page_and_looks_at_the_lake(build_bench, hole):
    bench = build_bench()
    if hole:
        bench.simulation.plant("gap", "ETH-USDT", start="2024-01-02T10:00:00Z", end="2024-01-02T10:05:00Z")
    empty = bench.execute_check()
    assert (empty.passed, empty.description) == (False, "nothing is stored yet")
    bench.run(BTC, ETH, partitions=DAYS)
    check = bench.execute_check()
    assert (check.passed, check.metadata["partitions"].value) == (not hole, 6)
    if hole:
        assert [record.data["unexplained"] for record in check.metadata["worst"].records] == [5]


def test_a_run_over_many_days_leaves_what_the_pages_show_of_them_in_dagsters_cache(build_bench):
    bench = build_bench()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-06"))

    def cached(path: str) -> int:
        [record] = bench.instance.get_asset_records([dg.AssetKey(path.split("/"))])
        group = next(iter(list_series_groups(bench.settings)))
        status = record.asset_entry.cached_status
        return len(status.deserialize_materialized_partition_subsets(group.partitions)) if status else 0

    assert (cached(BTC), cached(ETH)) == (6, 0)


def test_events_of_many_partitions_are_few_transactions(build_bench, monkeypatch):
    bench = build_bench()
    begun = []
    together = KeptEventLog.together
    monkeypatch.setattr(KeptEventLog, "together", lambda log, run_id: begun.append(run_id) or together(log, run_id))
    bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-31"))
    assert len(bench.materialized(BTC)) == len(bench.materialized(ETH)) == 31
    assert len(begun) < 20


def test_a_vendor_that_is_down_leaves_the_days_red_and_the_other_symbol_green(build_bench):
    bench = build_bench()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=503, times=-1)

    result = bench.run(BTC, ETH, partitions=DAYS)

    assert not result.success
    assert len(bench.materialized(BTC)) == 3
    assert bench.materialized(ETH) == set()
    check = bench.check(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["not_stored"].value == 3
    assert {record.data["symbol"] for record in check.metadata["worst"].records} == {"ETH-USDT"}


def test_days_before_the_listing_are_materialised_without_rows(build_bench):
    bench = build_bench(symbols=["BTC-USDT", {"code": "ETH-USDT", "listed_from": "2024-01-03"}])

    result = bench.run(ETH, partitions=DAYS)

    assert result.success
    assert len(bench.materialized(ETH)) == 3
    assert bench.metadata(ETH, "2024-01-01")["status"] == "not listed"
    assert bench.metadata(ETH, "2024-01-01")["rows"] == 0
    assert bench.check(result).passed


def test_daily_bars_come_in_months_whose_fingerprint_holds_every_day(build_bench):
    bench = build_bench(resolutions=["1d"], start="2024-01-15")
    key = "sim/bars_1d/BTC-USDT"

    result = bench.run(key, partitions=("2024-01", "2024-02"))

    assert result.success
    assert bench.metadata(key, "2024-01")["rows"] == 17
    assert bench.metadata(key, "2024-02")["rows"] == 29
    assert bench.metadata(key, "2024-02")["dagster/row_count"] == 46
    months = [bench.metadata(key, month)["fingerprint"] for month in ("2024-01", "2024-02")]
    assert all(re.fullmatch("[0-9a-f]{64}", fingerprint) for fingerprint in months)
    assert months[0] != months[1]


def test_a_restated_bar_is_counted_on_its_day(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions=DAYS)
    bench.simulation.plant("restatement", "BTC-USDT", start="2024-01-02T10:00:00Z", values={"volume": "7.5"})

    bench.run(BTC, partitions=DAYS)

    assert bench.metadata(BTC, "2024-01-02")["restated"] == 1
    assert bench.metadata(BTC, "2024-01-03")["restated"] == 0


def test_bars_that_the_vendor_returns_no_more_are_counted_on_their_day_from_then_on(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions=DAYS)
    assert bench.metadata(BTC, "2024-01-02")["withdrawn"] == 0
    bench.simulation.plant("gap", "BTC-USDT", start="2024-01-02T10:00:00Z", end="2024-01-02T10:05:00Z")

    for _ in range(2):
        bench.run(BTC, partitions=DAYS)

        assert bench.metadata(BTC, "2024-01-02")["withdrawn"] == 5
        assert bench.metadata(BTC, "2024-01-02")["rows"] == 1440
        assert bench.metadata(BTC, "2024-01-03")["withdrawn"] == 0


def test_wide_bars_take_the_place_of_standard_ones_in_the_count_of_a_series(build_bench):
    narrow = build_bench()
    narrow.run(BTC, ETH, partitions=DAYS)
    wide = build_bench(precision="wide")

    wide.run(BTC, partitions=("2024-01-03", "2024-01-04"))

    assert wide.metadata(BTC, "2024-01-04")["dagster/row_count"] == 4 * 1440
    assert count_series_rows(wide.store, next(list_series_groups(wide.settings))) == {
        "BTC-USDT": 4 * 1440,
        "ETH-USDT": 3 * 1440,
    }


def test_scattered_days_are_fetched_and_nothing_between_them(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions="2024-01-02")
    bench.run(BTC, partitions="2024-02-05")

    assert bench.materialized(BTC) == {"2024-01-02", "2024-02-05"}
    assert bench.metadata(BTC, "2024-02-05")["dagster/row_count"] == 2 * 1440


def test_locks_and_limits_lie_where_gb_yaml_says(build_bench, monkeypatch):
    monkeypatch.setenv("GB_STATE", "machine")
    bench = build_bench()

    assert bench.run(BTC, partitions="2024-01-01").success
    assert bench.run("catalog").success
    assert bench.run("ledgers_compaction").success

    assert (bench.settings.path.parent / "machine" / "locks" / "bars_1m.lock").exists()
    assert (bench.settings.path.parent / "machine" / "rate_limits").is_dir()
    assert not (bench.settings.lake / "state").exists()
