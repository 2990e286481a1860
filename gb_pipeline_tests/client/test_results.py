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
from gb_pipeline.errors import ConfigError, GbError, LakeError, ReadError
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
