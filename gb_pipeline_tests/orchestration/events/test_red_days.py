"""Why a day is red is said in the same words wherever somebody looks, until the day is stored."""

from __future__ import annotations

import dagster as dg
import pytest

BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"
DAYS = ("2024-01-01", "2024-01-03")
BAD = "2024-01-02"


@pytest.fixture
def bench(build_bench):
    """Twenty bad rows of one symbol and day, which are too many."""
    bench = build_bench()
    for minute in range(20):
        bench.simulation.plant("bad", "ETH-USDT", start=f"{BAD}T10:{minute:02d}:00Z", values={"high": "1.00"})
    return bench


def observation(bench, path: str, partition: str) -> dg.AssetObservation:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(path.split("/")), asset_partitions=[partition])
    [record] = bench.instance.fetch_observations(wanted, limit=1).records
    assert record.asset_observation is not None
    return record.asset_observation


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    failure = result.failure_data_for_node("sim_bars_1m")
    return str(failure.error.cause or failure.error)


def test_the_day_the_series_and_the_run_say_what_where_and_what_to_do_in_the_same_words(bench):
    result = bench.run(BTC, ETH, partitions=DAYS)

    why = observation(bench, ETH, BAD).description
    assert why.startswith("ETH-USDT 2024-01-02 is not stored: 20 of 1,440 rows are bad (high_not_highest 20, ")
    assert "To do: `gb quarantine list ETH-USDT` shows the rows" in why
    assert observation(bench, ETH, BAD).metadata["not_stored"].value == why
    # The newest event of the series, which is the one that its page shows.
    assert bench.metadata(ETH)["not_stored"] == why
    assert why in failure_of(result)
    assert "not_stored" not in bench.metadata(BTC)
    assert "not_stored" not in bench.metadata(ETH, "2024-01-01")


def test_a_vendors_failure_has_its_own_reason_and_remedy_in_these_places(build_bench):
    bench = build_bench()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=503, times=-1)
    result = bench.run(BTC, ETH, partitions=DAYS)

    why = observation(bench, ETH, BAD).description
    assert why.startswith("ETH-USDT 2024-01-02 is not stored: ") and "503" in why and ". To do: " in why
    assert why.replace(BAD, "2024-01-01") in failure_of(result)


def test_a_red_day_says_how_many_rows_were_refused_restated_and_missing(bench):
    bench.run(ETH, partitions=DAYS)

    shown = {name: value.value for name, value in observation(bench, ETH, BAD).metadata.items()}
    assert (shown["received"], shown["quarantined"], shown["restated"], shown["missing"]) == (1440, 1440, 0, 1440)
    assert shown["fix"].startswith("`gb quarantine list")
    assert len(observation(bench, ETH, BAD).metadata["worst_rows"].records) == 5


def test_a_later_good_day_does_not_make_the_series_look_whole(bench):
    bench.run(ETH, partitions=BAD)
    bench.run(BTC, ETH, partitions="2024-01-03")

    assert bench.metadata(ETH)["not_stored"] == observation(bench, ETH, BAD).description
    assert "not_stored" not in bench.metadata(BTC)


def test_of_many_red_days_the_series_names_the_number_and_the_newest(build_bench):
    bench = build_bench()
    bench.simulation.faults.add(match="symbol=ETHUSDT", status=503, times=-1)
    bench.run(ETH, partitions=DAYS)
    bench.simulation.reset()
    bench.run(ETH, partitions="2024-01-04")

    newest = observation(bench, ETH, "2024-01-03").description
    assert bench.metadata(ETH)["not_stored"] == f"3 partitions are not stored; the newest: {newest}"


def test_a_day_that_was_repaired_is_spoken_of_no_more(bench):
    bench.run(ETH, partitions=DAYS)
    bench.simulation.reset()
    bench.run(ETH, partitions=BAD)

    assert "not_stored" not in bench.metadata(ETH)
    assert bench.execute_check().passed


def test_the_check_executed_from_the_page_counts_what_failed_however_long_ago(bench):
    bench.run(ETH, partitions=BAD)
    bench.run(ETH, partitions="2024-02-25")

    check = bench.execute_check()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "1 of 1 partitions are valid and complete, 1 not stored by earlier runs"
    assert check.metadata["worst"].records[0].data["partition"] == BAD


def test_what_an_earlier_run_deferred_is_a_warning_of_the_check_until_it_is_stored(build_bench):
    bench = build_bench(resolutions=["1h"], daily_quota={"calls": 2, "zone": "America/New_York"}, max_concurrency=1)
    hourly = [path.replace("1m", "1h") for path in (BTC, ETH)]
    bench.run(*hourly, partitions=DAYS)

    check = bench.execute_check("sim/bars_1h")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "3 of 3 partitions are valid and complete, 3 deferred by earlier runs"
    next(bench.settings.lake.rglob("*.quota.sqlite")).unlink()
    bench.run(hourly[1], partitions=DAYS)
    assert bench.execute_check("sim/bars_1h").passed
