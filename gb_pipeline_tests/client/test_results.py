"""The law of `RemoteResults`: every method answers as `Results` does, with the same values and the same errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.client import RemoteLake, RemoteResults
from gb_pipeline.errors import ConfigError, GbError, LakeError, PinRefused, ReadError, RunRefused, WindowRefused
from gb_pipeline.lake.fingerprints import combine_series, combine_sessions
from gb_pipeline.research.results import BacktestRun, Results, RunQuery
from gb_pipeline_tests.research.results.runs import DAY, little, make_run
from gb_pipeline_tests.serving import make_token, serving

# Two runs with everything, one with next to nothing, and names that an address would cut.
NAMES = ("momentum/1.0/a", "momentum/1.0/b", "mean ünï/%2F?&/..")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = Results.open(tmp_path_factory.mktemp("served") / "data", create=True)
    lake = results.lake
    days = [DAY + timedelta(days=number) for number in range(3)]
    bars = {name: [1, 2, 3] for name in ("open", "high", "low", "close", "volume")}
    lake.put(pl.DataFrame({"timestamp": days, **bars}), source="mine", resolution="1d", symbol="BTC-USD")
    run = replace(make_run("a"), data=[lake.pin("p", "BTC-USD", "1d")])
    other = replace(run, run_id="b", metrics={"sharpe": float("nan"), "pnl": Decimal("-0.10")}, equity=None)
    results.save_many([run, other, little(*NAMES[2].split("/"), parameters={"name": "it's", "on": True, "none": None})])
    results.save_metadata("momentum", "1.0", {"why": Decimal("1.10")}, run_id="a")
    return results


@pytest.fixture(scope="module")
def far(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteResults]:
    root = Path(str(results.lake.store.storage.root))
    with serving(root, tmp_path_factory.mktemp("server")) as running, RemoteLake(running.url, make_token(root)) as lake:
        yield RemoteResults(lake)


QUESTIONS: list[Callable[[Any], Any]] = [
    lambda results: results.query_metadata(),
    lambda results: results.query_metadata(strategy="momentum", metrics="sharpe > 1", tag="nightly"),
    lambda results: results.query_metadata(
        parameters={"window": 20, "exit.stop": ("<", 0.2), "name": "fast", "long": True}
    ),
    lambda results: results.query_metadata(parameters={"name": "it's", "none": None}),
    lambda results: results.query_metadata(RunQuery(order_by="metrics.pnl", descending=False, limit=2, offset=1)),
    lambda results: results.query_metadata(
        start=DAY, end=DAY + timedelta(days=1), state="succeeded", run_id=["a", "b"]
    ),
    lambda results: results.query_metadata(order_by="sideways"),
    lambda results: results.query_metadata(metrics="sideways"),
    lambda results: results.list_strategies(),
    lambda results: results.manage_versions("momentum"),
    lambda results: results.manage_versions("momentun"),
    *(lambda results, name=name: results.load_backtest_data(name) for name in NAMES),
    lambda results: results.load_backtest_data(NAMES[0], parts=("fills",)),
    lambda results: results.load_backtest_data("momentum/1.0/z"),
    lambda results: results.load_backtest_data("momentum"),
    lambda results: results.load_metadata("momentum", "1.0", run_id="a"),
    lambda results: results.list_artifacts(NAMES[0]),
    lambda results: results.list_artifacts(NAMES[2]),
    lambda results: results.load_artifact(NAMES[0], "report.html"),
    lambda results: results.load_artifact(NAMES[0], "nothing"),
    lambda results: results.compare(NAMES[0], NAMES[1]),
    lambda results: results.lineage(NAMES[0]),
]


def answer(ask: Callable[[Any], Any], results: Any) -> Any:
    """What is answered, or the exception that is raised."""
    try:
        return ask(results)
    except GbError as error:
        return type(error), error.what


def assert_same(there: Any, here: Any) -> None:
    if isinstance(here, pl.DataFrame):
        assert_frame_equal(there, here, check_exact=True)
    elif hasattr(here, "__dataclass_fields__"):
        for item in fields(here):
            assert_same(getattr(there, item.name), getattr(here, item.name))
    elif isinstance(here, datetime):
        assert there == here
    else:
        # NaN is itself here, and a float no integer.
        assert repr(there) == repr(here)


@pytest.mark.parametrize("ask", QUESTIONS, ids=range(len(QUESTIONS)))
def test_remote_results_answer_as_the_results_do(
    results: Results, far: RemoteResults, ask: Callable[[Any], Any]
) -> None:
    assert_same(answer(ask, far), answer(ask, results))


def repeat(run: BacktestRun, data: Any) -> dict[str, Any]:
    closes = data["p"].bars("BTC-USD", "1d")["close"]
    return {"metrics": {"sharpe": run.metrics["sharpe"], "last": closes[-1]}}


def test_a_replay_here_finds_what_a_replay_there_finds(results: Results, far: RemoteResults) -> None:
    there, here = far.replay(NAMES[0], repeat), results.replay(NAMES[0], repeat)
    assert_frame_equal(there.differences, here.differences)
    assert not there.is_same and "last" in there.differences["name"].to_list()
    assert_same(
        answer(lambda asked: asked.replay(NAMES[2], pytest.fail), far), (ConfigError, f"run {NAMES[2]} names no data")
    )


def test_a_replay_on_other_data_is_refused_and_names_the_bars(results: Results, far: RemoteResults) -> None:
    place = Path(str(results.lake.store.storage.root)) / "pins" / "p.json"
    content = place.read_bytes()
    # The lake says that it held another bar then: the pin is of sessions with other fingerprints.
    other = results.lake.replay("p").pin
    sessions = other.sessions.with_columns(
        pl.when(pl.col("session") == DAY.date()).then(pl.lit("f" * 64)).otherwise("fingerprint").alias("fingerprint")
    )
    whole = combine_series(combine_sessions(sessions))
    forged = replace(other, sessions=sessions, fingerprint=whole)
    place.write_text(forged.to_json())
    saved = far.load_backtest_data(NAMES[0])
    try:
        refused = []
        for asked in (far, results):
            with pytest.raises(PinRefused) as error:
                asked.replay(NAMES[0], pytest.fail)
            refused.append(error.value)
        assert refused[0].what == refused[1].what
        assert_frame_equal(refused[0].differences, refused[1].differences)
        # Without a copy of the bars it is told which sessions differ.
        place.write_text(replace(forged, copy="").to_json())
        with pytest.raises(PinRefused, match="1 session differs") as named:
            far.replay(NAMES[0], pytest.fail)
        assert named.value.differences["session"].to_list() == [DAY.date()]
    finally:
        place.write_bytes(content)
    assert saved.data[0].fingerprint == far.lake.replay("p").pin.fingerprint


def test_its_methods_are_named_after_those_of_results(far: RemoteResults) -> None:
    own = {name for name, _ in inspect.getmembers(RemoteResults, inspect.isfunction) if not name.startswith("_")}
    assert own < {name for name, _ in inspect.getmembers(Results, inspect.isfunction)}
    assert isinstance(far.load_backtest_data(NAMES[0]), BacktestRun)


def test_a_condition_that_is_no_text_is_refused_before_anything_is_asked(far: RemoteResults) -> None:
    for wanted in ({"window": [1, 2]}, {"a<b": 1}, {"when": DAY}):
        with pytest.raises(ConfigError, match="cannot be sent"):
            far.query_metadata(parameters=wanted)
    with pytest.raises(ReadError, match="no comparison"):
        far.query_metadata(metrics={"sharpe": ("~", 1)})
    with pytest.raises(LakeError, match="there is no run"):
        far.compare(NAMES[0], "momentum/1.0/z")


def test_runs_are_saved_as_the_results_save_them(far: RemoteResults, tmp_path: Path) -> None:
    here = Results.open(tmp_path, create=True)
    run = make_run("a", strategy="sent")
    changed = replace(run, metrics={"sharpe": 2}, artifacts={"report.html": b"other"})
    saves: list[Callable[[Any], Any]] = [
        lambda results: results.save_many([run, changed, replace(run, run_id="b"), run]),
        lambda results: results.save_backtest_data(run, tags=["other"]),
        lambda results: results.save_backtest_data(
            strategy="sent", version="1", run_id="c", parameters={"day": DAY.date()}
        ),
        lambda results: results.save_backtest_data(strategy="sent", color="red"),
        lambda results: results.save_backtest_data(run, run_id="d", metrics={"sharpe": "high"}),
        lambda results: results.save_many([replace(run, run_id="e"), replace(run, run_id="f", tags=["a/b"])]),
        lambda results: results.save_many([]),
    ]
    for save in saves:
        assert_same(answer(save, far), answer(save, here))
    refused = []
    for results in (far, here):
        with pytest.raises(RunRefused, match=r"sent/1\.0/a is saved already with other metrics, artifacts") as error:
            results.save_backtest_data(changed)
        refused.append(error.value)
    assert refused[0].what == refused[1].what
    assert_frame_equal(refused[0].differences, refused[1].differences)
    for name in ("sent/1.0/a", "sent/1.0/b"):
        assert_same(far.load_backtest_data(name), here.load_backtest_data(name))
    assert far.query_metadata(strategy="sent").height == here.count() == 3
    with pytest.raises(WindowRefused, match="Int128"):
        far.save_backtest_data(
            run, run_id="g", equity=pl.DataFrame({"timestamp": [DAY], "x": pl.Series([1], dtype=pl.Int128)})
        )


def test_a_backtest_is_recorded_from_afar(far: RemoteResults) -> None:
    with far.record("recorded", "1", run_id="a", parameters={"window": 20}, data=far.lake.replay("p")) as run:
        run.log_equity(DAY, equity=1.0)
        run.log_metric("sharpe", 1.5)
    assert run.report is not None and run.report.outcome == "saved"
    with pytest.raises(ZeroDivisionError), far.record("recorded", "1", run_id="b") as run:
        run.log_fill(DAY, "BTC-USD", quantity=1, price=2.0)
        raise ZeroDivisionError("by zero")
    saved, failed = (far.load_backtest_data(f"recorded/1/{name}") for name in "ab")
    assert saved.metrics == {"sharpe": 1.5} and saved.data[0].pin == "p"
    assert saved.environment is not None and "python" in saved.environment
    assert (failed.state, failed.fills.height) == ("failed", 1)  # type: ignore[union-attr]
    assert failed.error == "ZeroDivisionError: by zero; kept: fills (1 rows)"


def test_whoever_may_only_read_saves_nothing(results: Results, far: RemoteResults) -> None:
    token = make_token(Path(str(results.lake.store.storage.root)), "read")
    with RemoteLake(far.lake.transport.url, token) as lake, pytest.raises(ConfigError, match="no scope write"):
        RemoteResults(lake).save_backtest_data(little("secret", "1", "a"))
    assert far.query_metadata(strategy="secret").is_empty()
