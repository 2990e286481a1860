"""Names, numbers and questions that nobody should give: kept exactly, or refused with what to do instead."""

from __future__ import annotations

import errno
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, GbError, LakeError, ReadError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import BacktestRun, Results
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline_tests.faults.forked import Forked
from gb_pipeline_tests.research.results.runs import DAY, little, make_run

NAMES = (
    "ünï-\u4e2d", "a%2Fb", "..", ".", "a b", "CON", "x" * 200, "%", "e\u0301", "\U0001f600", "a'b", 'a"b', "a\\b", "null", "=",
    "a*?[", "-x",
)  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results.open(tmp_path / "lake", create=True)


def test_names_are_kept_as_they_are_whatever_they_mean_elsewhere(results: Results, tmp_path: Path) -> None:
    results.save_many(
        [
            little(name, name, name, metrics={name: 1.0}, parameters={name: 1}, tags=[name], artifacts={name: b"x"})
            for name in NAMES
        ]
    )
    for name in NAMES:
        loaded = results.load_backtest_data(f"{name}/{name}/{name}")
        assert (loaded.metrics, loaded.parameters, loaded.tags) == ({name: 1.0}, {name: 1}, [name])
        assert results.load_artifact(f"{name}/{name}/{name}", name) == b"x"
        assert results.count(strategy=name, version=name, tag=name, parameters={name: 1}, metrics={name: (">", 0)}) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"lake"}


@pytest.mark.parametrize(
    "name", ["a/b", "", "a\n", " a", "\ud800", "x" * 201, None, 5, "\u00a0a", "\u2028", "a\u202eb"]
)
def test_what_is_no_name_is_refused(results: Results, name: Any) -> None:
    for field in ("strategy", "version", "run_id"):
        with pytest.raises(ConfigError, match="cannot be"):
            results.save_backtest_data(**{"strategy": "s", "version": "1", "run_id": "1", field: name})
    assert results.count() == 0


def test_numbers_that_are_none_come_back_and_fulfil_no_comparison(results: Results) -> None:
    metrics = {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "zero": -0.0, "least": 5e-324}
    run = little("n", "1", "1", metrics=metrics, parameters={"nan": math.nan, "inf": math.inf})
    assert results.save_backtest_data(run).outcome == "saved"
    assert results.save_backtest_data(run).outcome == "unchanged"
    loaded = results.load_backtest_data("n/1/1")
    assert repr(loaded.metrics) == repr(dict(sorted(metrics.items())))
    assert results.count(metrics="inf > 1e308") == results.count(metrics="minus < -1e308") == 1
    for condition in ("nan > 0", "nan < 0", "nan = 0", "nan != 0"):
        assert results.count(metrics=condition) == 0
    with pytest.raises(ReadError, match="compare it with a number"):
        results.count(metrics="nan = nan")
    results.save_backtest_data(little("n", "1", "2", metrics={"nan": 1.0}))
    assert results.query_metadata(order_by="metrics.nan")["run_id"].to_list() == ["2", "1"]


HOSTILE: list[dict[str, Any]] = [
    {"limit": 10**30}, {"offset": 2**63, "limit": 5}, {"limit": -1}, {"limit": True}, {"strategy": 5}, {"strategy": [None]},
    {"tag": 5}, {"version": 5}, {"run_id": [1]}, {"market": {}}, {"metrics": 5}, {"metrics": [5]}, {"order_by": 5},
    {"order_by": "metrics."}, {"order_by": "shard"}, {"descending": None}, {"retired": "x"}, {"state": "x"}, {"state": []},
    {"start": "2024-13-01"}, {"start": datetime(2024, 1, 1)}, {"metrics": {"a": ("~", 5)}}, {"metrics": "a > b > c"},
    {"parameters": {"a": (">", math.nan)}}, {"parameters": {"a": ("<", Decimal("sNaN"))}},
    {"parameters": {"a": (">", "x")}}, {"parameters": {"a": len}}, {"metrics": {"sharpe": "x"}}, {"colour": "red"},
]  # fmt: skip


@pytest.mark.parametrize("question", HOSTILE, ids=str)
def test_what_is_no_question_is_refused_and_never_an_accident(results: Results, question: dict[str, Any]) -> None:
    results.save_backtest_data(make_run())
    for ask in (results.query_metadata, results.count, results.optimize_query):
        with pytest.raises(GbError):
            ask(**question)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tags": 5}, "a tag cannot be"), ({"markets": 5}, "a market cannot be"), ({"error": 5}, "the error of s/1/1 is a int"),
        ({"metrics": None}, "metrics are a NoneType"), ({"artifacts": [1]}, "artifacts are a list"),
        ({"seeds": 5}, "seeds are a int"), ({"data": None}, "data are a NoneType"), ({"data": [5]}, "data cannot be int"),
        ({"parameters": "x"}, "parameters are a str"),
        ({"parameters": {"x": 10**5000}}, "an integer of 16,610 bits"), ({"seeds": {"x": 10**5000}}, "bits"),
    ],
)  # fmt: skip
def test_what_a_run_cannot_hold_is_refused(results: Results, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        results.save_backtest_data(strategy="s", version="1", run_id="1", **fields)
    assert results.count() == 0


def test_metadata_that_cannot_be_kept_are_refused_and_nothing_is_said(results: Results) -> None:
    results.save_backtest_data(little("s", "1", "a"))
    for wrong in (
        None,
        "x",
        {"a/b": 1},
        {1: 2},
        {"": 1},
        {"x": object()},
        {"x": 10**5000},
        {"x": "\ud800"},
        {"good": 1, "x": {1}},
    ):
        with pytest.raises(ConfigError):
            results.save_metadata("s", "1", wrong, run_id="a")  # type: ignore[arg-type]
    assert results.load_metadata("s", "1", run_id="a") == {}
    nested = {"ünï💥": {"a": [1, {"b": Decimal("1.10")}], "huge": 10**4000}}
    results.save_metadata("s", "1", nested, run_id="a")
    assert results.load_metadata("s", "1", run_id="a") == nested


def test_decimals_beyond_floats_are_found_as_they_are(results: Results) -> None:
    values = [
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("1e400"),
        Decimal("2e400"),
        10**400,
    ]
    for number, value in enumerate(values):
        results.save_backtest_data(little("d", "1", str(number), parameters={"x": value}))
        assert repr(results.load_backtest_data(f"d/1/{number}").parameters["x"]) == repr(value)
    assert results.query_metadata(parameters={"x": Decimal("Infinity")})["run_id"].to_list() == ["0"]
    assert results.query_metadata(parameters={"x": Decimal("1e400")})["run_id"].to_list() == ["4"]
    assert results.query_metadata(parameters={"x": ("<", 0)})["run_id"].to_list() == ["1"]


def test_frames_without_rows_come_back_with_their_types(results: Results) -> None:
    moments = pl.Series("timestamp", [], pl.Datetime("us", "UTC"))
    equity = pl.DataFrame([moments, pl.Series("equity", [], pl.Float64)])
    price = pl.Series("price", [], pl.Decimal(10, 2))
    fills = pl.DataFrame([moments, pl.Series("symbol", [], pl.String), pl.Series("quantity", [], pl.Float64), price])
    results.save_many([little("e", "1", "1", equity=equity), little("e", "1", "2", fills=fills)])
    loaded = results.load_backtest_data("e/1/1")
    assert loaded.equity is not None and loaded.equity.equals(equity) and loaded.equity.schema == equity.schema
    loaded = results.load_backtest_data("e/1/2")
    assert loaded.fills is not None and loaded.fills.equals(fills) and loaded.fills.schema == fills.schema
    assert results.compare("e/1/1", "e/1/1").is_same


def test_a_clock_that_goes_back_hides_no_run(tmp_path: Path) -> None:
    now = [datetime(2024, 6, 1, tzinfo=UTC)]
    store = LakeStore.at(tmp_path, clock=lambda: now[0])
    store.storage.state.mkdir(parents=True)
    results, other = Results(Lake(store)), Results(Lake(LakeStore.at(tmp_path, clock=lambda: now[0])))
    for number in range(5):
        now[0] -= timedelta(days=number)
        saver = (results, other)[number % 2]
        assert (
            saver.save_backtest_data(BacktestRun(strategy="s", version="1", run_id=str(number), environment={})).outcome
            == "saved"
        )
        assert results.count() == other.count() == number + 1
    moments = results.query_metadata(order_by="known_at", descending=False)
    assert moments["run_id"].to_list() == list("01234")
    assert moments["known_at"].is_unique().all()


def test_a_disk_that_is_full_at_an_artifact_leaves_nothing_of_the_run(
    results: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results.save_backtest_data(make_run("before"))
    there = sorted(path for path in (tmp_path / "lake").rglob("*") if path.is_file() and "artifacts" in path.parts)
    reached: list[str] = []
    whole = LocalFiles.put

    def put(self: LocalFiles, name: str, data: bytes, **options: Any) -> None:
        if name.startswith("artifacts/"):
            reached.append(name)
            if len(reached) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, name, data, **options)

    run = make_run("full", artifacts={"a": b"first", "b": b"second"})
    with monkeypatch.context() as patched:
        patched.setattr(LocalFiles, "put", put)
        with pytest.raises(LakeError, match="No space left on device"):
            results.save_backtest_data(run)
    assert len(reached) == 2
    assert results.count() == 1
    assert len(there) == 1
    assert results.save_backtest_data(run).outcome == "saved"
    assert results.load_artifact("momentum/1.0/full", "b") == b"second"


def save_one(connection: Any, root: str, number: int) -> None:
    """A process that saves a run as soon as it is told to, and says what became of it."""
    results = Results.open(root)
    run = make_run("same", metrics={"writer": number}, equity=pl.DataFrame({"timestamp": [DAY], "equity": [number]}))
    connection.send("ready")
    connection.recv()
    [report] = results.save_many([run])
    connection.send(report.outcome.value)


@pytest.mark.long
def test_of_two_processes_that_save_one_name_one_is_kept_as_a_whole(results: Results, tmp_path: Path) -> None:
    root = str(results.lake.store.storage.root)
    savers = [Forked(tmp_path / "log", save_one, root, number) for number in (1, 2)]
    for saver in savers:
        saver.hears("ready")
    for saver in savers:
        saver.connection.send("go")
    outcomes = sorted(saver.connection.recv() for saver in savers)
    assert [saver.wait() for saver in savers] == [0, 0], (tmp_path / "log").read_text()
    assert outcomes == ["refused", "saved"]
    found = results.load_backtest_data("momentum/1.0/same")
    assert found.equity is not None and found.equity["equity"].to_list() == [found.metrics["writer"]]
