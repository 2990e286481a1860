"""Recordings end as runs, however the backtest ends; replays refuse other data; lineage leads to the bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, LakeError, PinRefused
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.research.results import BacktestRun, PinnedData, Results, RunState
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.research.results.runs import DAY, DAYS, little


def bars(closes: list[str]) -> pl.DataFrame:
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    return pl.DataFrame({"timestamp": DAYS[: len(closes)], **prices, "volume": ["1"] * len(closes)})


@pytest.fixture
def results(tmp_path: Path) -> Results:
    lake = Lake.open(tmp_path, create=True)
    lake.put(bars(["1.5", "2.5", "4"]), source="mine", resolution="1d", symbol="BTC-USD")
    return Results.open(lake)


def backtest(run: BacktestRun, data: Any) -> dict[str, Any]:
    closes = data["first"].bars("BTC-USD", "1d")["close"]
    return {"metrics": {"sum": Decimal(str(closes.sum())) * run.parameters["times"]}}


def recorded(results: Results, run_id: str = "a") -> None:
    pin = results.lake.pin("first", "BTC-USD", "1d")
    with results.record("sum", "1", run_id=run_id, parameters={"times": 2}, data=pin, seeds={"x": 1}) as run:
        run.log_metrics({"sum": Decimal(16)})


def test_what_is_logged_is_saved_when_the_block_ends(results: Results) -> None:
    with results.record("s", "1", parameters={"x": 1}, markets="crypto", tags="t") as run:
        for number, day in enumerate(DAYS):
            run.log_equity(day, equity=float(number))
        run.log_fill(DAYS[0], "BTC-USD", Decimal("0.5"), 1.5, side="buy")
        run.log_position(DAYS[0], "BTC-USD", 1, value=1.5)
        run.log_metric("sharpe", 1.5)
        run.add_artifact("log.txt", "fine")
        run.add_tag("later")
    assert run.report is not None and run.report.outcome == "saved"
    loaded = results.load_backtest_data(run.name)
    assert loaded.equity is not None and loaded.equity["equity"].to_list() == [0.0, 1.0, 2.0, 3.0]
    assert loaded.fills is not None and loaded.fills["quantity"].to_list() == [Decimal("0.5")]
    assert loaded.positions is not None and loaded.positions.height == 1
    assert (loaded.metrics, loaded.tags, loaded.markets) == ({"sharpe": 1.5}, ["later", "t"], ["crypto"])
    assert {"python", "gb_pipeline", "lock_sha256"} <= set(loaded.environment or {})
    assert loaded.timings["total"] >= 0


def test_an_exception_makes_a_failed_run_with_what_was_logged(results: Results) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="token"),
        results.record("s", "1", run_id="a") as run,
    ):
        run.log_equity(DAYS[0], equity=1.0)
        raise ZeroDivisionError("no price, token=abc123 https://u:pw@example.com/x?apikey=zzz\nand more")
    loaded = results.load_backtest_data("s/1/a")
    assert loaded.state is RunState.FAILED
    assert loaded.error == "ZeroDivisionError: no price, token=*** https://example.com/x; kept: equity (1 rows)"
    assert loaded.equity is not None and loaded.equity.height == 1
    assert results.query_metadata(state="failed").height == 1


def test_of_a_failed_run_that_it_failed_is_kept_even_where_its_rows_cannot_be(results: Results) -> None:
    with pytest.raises(KeyboardInterrupt), results.record("s", "1", run_id="a") as run:
        run.log_equity(datetime(2024, 1, 1), equity=1.0)
        raise KeyboardInterrupt
    loaded = results.load_backtest_data("s/1/a")
    assert loaded.error is not None and "not kept: equity of s/1/a has timestamps without a zone" in loaded.error


def test_what_cannot_be_recorded_is_said_before_anything_runs(results: Results) -> None:
    with pytest.raises(ConfigError, match=r"parameters\.x"):
        results.record("s", "1", parameters={"x": object()})
    with pytest.raises(ConfigError, match="data cannot be str"):
        results.record("s", "1", data="first")


def test_a_replay_on_the_same_data_gives_the_same(results: Results) -> None:
    recorded(results)
    again = results.replay("sum/1/a", backtest)
    assert again.is_same
    other = results.replay("sum/1/a", lambda run, data: {"metrics": {"sum": 17}})
    assert other.differences.select("part", "name", "given").rows() == [("metrics", "sum", "17")]
    # What is restated later does not reach the pin.
    results.lake.put(bars(["1.5", "2.5", "5"]), source="mine", resolution="1d", symbol="BTC-USD")
    assert results.replay("sum/1/a", backtest).is_same
    with pytest.raises(ConfigError, match="cannot return 'colour'"):
        results.replay("sum/1/a", lambda run, data: {"colour": 1})


def test_a_replay_on_other_data_is_refused_and_names_the_bars(results: Results, tmp_path: Path) -> None:
    recorded(results)
    run = results.load_backtest_data("sum/1/a")
    results.lake.unpin("first")
    with pytest.raises(ConfigError, match="first"):
        results.replay("sum/1/a", pytest.fail)
    results.lake.put(bars(["1.5", "2.5", "5"]), source="mine", resolution="1d", symbol="BTC-USD")
    made_anew = results.lake.pin("first", "BTC-USD", "1d")
    assert PinnedData.of(made_anew).fingerprint != run.data[0].fingerprint
    with pytest.raises(PinRefused, match="pin 'first' has changed, in mine:BTC-USD") as refused:
        results.replay("sum/1/a", pytest.fail)
    assert refused.value.differences["series"].to_list() == ["mine:BTC-USD"]
    assert results.lineage("sum/1/a").pins["state"].to_list() == ["made anew"]
    results.save_backtest_data(little("s", "1", "a"))
    with pytest.raises(ConfigError, match="names no data"):
        results.replay("s/1/a", pytest.fail)


def test_a_replay_with_another_lake_in_its_place_names_the_bar(results: Results, tmp_path: Path) -> None:
    recorded(results)
    pin, run = results.lake.replay("first").pin, results.load_backtest_data("sum/1/a")
    other = Lake.open(tmp_path / "other", create=True)
    other.put(bars(["1.5", "2.5", "7"]), source="mine", resolution="1d", symbol="BTC-USD")
    (tmp_path / "other" / "pins").mkdir()
    (tmp_path / "other" / "pins" / "first.json").write_text(
        replace(pin, as_of=other.store.clock() + timedelta(days=1)).to_json()
    )
    for file in (tmp_path / "pins").glob("*.parquet"):
        (tmp_path / "other" / "pins" / file.name).write_bytes(file.read_bytes())
    elsewhere = Results.open(other)
    elsewhere.save_backtest_data(replace(run, artifacts={}))
    with pytest.raises(PinRefused, match=r"open was 4.* then, is 7") as refused:
        elsewhere.replay("sum/1/a", pytest.fail)
    assert refused.value.differences["now_close"].to_list() == [Decimal(7)]


def test_lineage_leads_from_a_result_to_bars_fetches_and_responses(results: Results) -> None:
    store = results.lake.store
    body = RawStore(store.storage).put(b'{"candles":[]}')
    fetch = {
        "source": "mine",
        "symbol": "BTC-USD",
        "resolution": "1d",
        "window_start": DAY,
        "window_end": DAY + timedelta(days=3),
    }
    moment = datetime(2024, 2, 1, tzinfo=UTC)
    store.record_fetches(
        [
            FetchRecord(**fetch, fetched_at=moment, outcome=FetchOutcome.OK, received=3, raw=(body,)),
            FetchRecord(**fetch, fetched_at=moment, outcome=FetchOutcome.ERROR),
            FetchRecord(**(fetch | {"resolution": "1m"}), fetched_at=moment, outcome=FetchOutcome.OK),
        ]
    )
    pin = results.lake.pin("first", "BTC-USD", "1d", date(2024, 1, 2), date(2024, 1, 4))
    with results.record("sum", "1", run_id="a", data=pin):
        pass
    lineage = results.lineage("sum/1/a")
    assert lineage.pins.select("pin", "state").rows() == [("first", "as recorded")]
    assert lineage.files.select("table", "symbol", "rows").rows() == [("bars_1d", "BTC-USD", 3)]
    assert (Path(str(store.storage.root)) / "lake" / "bars_1d" / lineage.files["path"][0]).is_file()
    assert lineage.fetches.select("symbol", "received").rows() == [("BTC-USD", 3)]
    assert lineage.responses.select("sha256", "state").rows() == [(body, "intact")]


def test_versions_are_tagged_retired_and_restored_and_nothing_is_deleted(results: Results) -> None:
    results.save_many([little("s", version, str(run), metrics={"x": run}) for version in "12" for run in range(3)])
    results.manage_versions("s", "1", tag="live")
    listed = results.manage_versions("s", "1", retire="looks ahead")
    assert listed.select("version", "runs", "tags", "retired").rows() == [
        ("1", 3, ["live"], "looks ahead"),
        ("2", 3, [], None),
    ]
    assert results.count(strategy="s") == 3 and results.count(strategy="s", retired=True) == 6
    assert results.load_backtest_data("s/1/0").metrics == {"x": 0}
    results.manage_versions("s", "2", run_id="1", retire="a bug")
    assert sorted(results.query_metadata(strategy="s")["run_id"]) == ["0", "2"]
    listed = results.manage_versions("s", "1", restore="was a mistake", untag="live")
    assert listed["tags"].to_list() == [[], []] and results.count(strategy="s") == 5
    assert results.notes.all().height == 5
    for wrong, kind in (
        ({"version": "3", "tag": "x"}, LakeError), ({"tag": "x"}, ConfigError), ({"version": "1", "retire": " "}, ConfigError),
        ({"version": "1", "retire": "x", "restore": "y"}, ConfigError), ({"version": "1", "run_id": "9", "tag": "x"}, LakeError),
    ):  # fmt: skip
        with pytest.raises(kind):
            results.manage_versions("s", **wrong)  # type: ignore[arg-type]


def test_of_metadata_the_newest_value_counts(results: Results) -> None:
    results.save_backtest_data(little("s", "1", "a"))
    results.save_metadata("s", "1", {"author": "Ada", "reviewed": None})
    results.save_metadata("s", "1", {"author": "Grace"})
    results.save_metadata("s", "1", {"note": Decimal("0.1")}, run_id="a")
    assert results.load_metadata("s", "1") == {"author": "Grace", "reviewed": None}
    assert results.load_metadata("s", "1", run_id="a") == {"note": Decimal("0.1")}
    assert results.notes.all().filter(pl.col("name") == "author").height == 2
    with pytest.raises(LakeError, match="no version"):
        results.save_metadata("s", "2", {"x": 1})


def test_two_runs_are_laid_side_by_side(results: Results) -> None:
    pin = results.lake.pin("first", "BTC-USD", "1d")
    results.lake.put(bars(["1.5", "2.5", "5"]), source="mine", resolution="1d", symbol="BTC-USD")
    later = results.lake.pin("second", "BTC-USD", "1d")
    for version, data, last in (("1", pin, 2.0), ("2", later, 3.0)):
        with results.record("s", version, run_id="a", parameters={"x": version, "y": 1}, data=data) as run:
            run.add_equity(pl.DataFrame({"timestamp": DAYS[:3], "equity": [1.0, 1.5, last]}))
            run.log_metric("sharpe", last)
    compared = results.compare("s/1", "s/2")
    assert compared.parameters.filter(~pl.col("same"))["name"].to_list() == ["x"]
    assert compared.metrics.select("name", "change").rows() == [("sharpe", 1.0)]
    assert compared.data.select("series", "kind").rows() == [("mine:BTC-USD 1d", "changed")]
    assert compared.first_difference == DAYS[2]
    assert not compared.is_same and results.compare("s/1", "s/1/a").is_same
