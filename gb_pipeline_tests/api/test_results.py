"""Backtests over HTTP: the same tables as `Results` returns."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from gb_pipeline import Lake
from gb_pipeline.research.results import Results
from gb_pipeline_tests.api.conftest import Ask
from gb_pipeline_tests.api.test_guard import problem
from gb_pipeline_tests.api.test_tables import read

RUNS = ("momentum/1.0/a", "momentum/1.1/b")


def save(lake: Lake) -> Results:
    results = Results(lake)
    for number, name in enumerate(RUNS):
        strategy, version, run_id = name.split("/")
        moments = pl.Series([datetime(2024, 1, day, tzinfo=UTC) for day in (2, 3)])
        results.save_backtest_data(
            strategy=strategy, version=version, run_id=run_id, parameters={"window": 20 + number},
            metrics={"sharpe": Decimal(number + 1)}, equity=pl.DataFrame({"timestamp": moments, "equity": [1.0, 1.0 + number]}),
        )  # fmt: skip
    return results


def test_runs_versions_and_comparisons_are_those_of_the_store(ask: Ask, lake: Lake) -> None:
    results, client = save(lake), ask()

    def table(path: str, **question: Any) -> pl.DataFrame:
        response = client.post(path, json={**question, "format": "arrow"})
        assert response.status_code == 200, response.text
        return read(response.content, "arrow")

    found = table("/v1/runs", metrics=["sharpe >= 1.5"])
    assert found["run_id"].to_list() == ["b"]
    assert_frame_equal(table("/v1/runs"), results.query_metadata())
    assert_frame_equal(table("/v1/strategies"), results.list_strategies())
    assert_frame_equal(table("/v1/versions", strategy="momentum"), results.manage_versions("momentum"))
    compared = results.compare(*RUNS)
    for part in ("parameters", "metrics", "equity", "data", "environment"):
        told = table("/v1/comparison", left=RUNS[0], right=RUNS[1], part=part)
        assert_frame_equal(told, getattr(compared, part))
    equity = results.load_backtest_data(RUNS[1]).equity
    assert equity is not None
    assert_frame_equal(table("/v1/run", run=RUNS[1]), equity)


def test_a_run_that_there_is_not_is_not_found(ask: Ask, lake: Lake) -> None:
    save(lake)
    problem(ask().get("/v1/run?run=momentum/1.0/z"), 404, "LakeError")
    problem(ask().get("/v1/runs?order_by=sideways"), 400, "ReadError")
    problem(ask().get("/v1/runs?metrics=sideways"), 400, "ReadError")
