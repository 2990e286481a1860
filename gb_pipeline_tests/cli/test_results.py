"""`gb results`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.research.results import Results
from gb_pipeline.research.results.prepared import rows_of
from gb_pipeline.storage.append import append
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.research.results.runs import little, make_run


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    results = Results.open(tmp_path / "lake", create=True)
    results.save_backtest_data(make_run())
    results.save_many([little("mean", "1", str(run), metrics={"sharpe": float(run)}) for run in range(5)])
    return tmp_path / "lake"


def test_strategies_and_runs_are_listed(gb: Gb, lake: Path) -> None:
    told = gb("results", "list", "--lake", lake)
    assert told.code == 0 and "mean" in told.out and "momentum" in told.out
    told = gb(
        "results",
        "list",
        "mean",
        "-w",
        "metrics.sharpe >= 2",
        "--order-by",
        "metrics.sharpe",
        "--limit",
        "2",
        "--lake",
        lake,
    )
    assert told.code == 0 and " 4 " in told.out and "2 of 3 runs" in told.err
    assert all(len(line) <= 80 for line in told.out.splitlines())
    rows = gb("results", "list", "mean", "--json", "--lake", lake).json
    assert {row["run_id"] for row in rows} == set("01234")
    assert "postings" in gb("results", "list", "mean", "--explain", "--lake", lake).err
    told = gb("results", "list", "-w", "parameters.window = 20", "-w", "metrics.sharpe > 0", "--lake", lake)
    heading, row = (next(line for line in told.out.splitlines() if word in line) for word in ("strategy", "momentum"))
    assert {"window", "sharpe"} <= set(heading.split())
    assert "20" in row.split()
    assert gb("results", "list", "-w", "sharpe > 1", "--lake", lake).code == 2
    assert "no run" in gb("results", "list", "nobody", "--lake", lake).err


def test_a_run_is_shown_compared_and_exported(gb: Gb, lake: Path, tmp_path: Path) -> None:
    told = gb("results", "show", "momentum/1.0/a", "--lake", lake)
    assert told.code == 0 and "exit.stop" in told.out and "report.html" in told.out
    shown = gb("results", "show", "momentum/1.0/a", "--json", "--lake", lake).json
    assert shown["metrics"] == {"sharpe": 1.25, "trades": 2, "pnl": "12.5"}
    assert gb("results", "compare", "mean/1/1", "mean/1/1", "--lake", lake).code == 0
    told = gb("results", "compare", "mean/1/1", "mean/1/2", "--lake", lake)
    assert told.code == 1 and "sharpe" in told.out
    place = tmp_path / "out"
    assert gb("results", "export", "momentum/1.0/a", place, "--lake", lake).code == 0
    assert json.loads((place / "run.json").read_text())["metrics"]["pnl"] == {"$decimal": "12.5"}
    assert pl.read_parquet(place / "equity.parquet").equals(make_run().equity)
    assert (place / "artifacts" / "report.html").read_bytes() == b"<p>fine</p>"
    assert gb("results", "export", "momentum/1.0/a", place, "--lake", lake).code == 2
    assert gb("results", "show", "momentum/1.0/b", "--lake", lake).code == 1


def test_runs_are_purged_with_a_reason_and_left_over_rows_are_swept(gb: Gb, lake: Path) -> None:
    told = gb("results", "purge", "mean", "-w", "metrics.sharpe < 2", "--dry-run", "--lake", lake)
    assert told.code == 0 and "2 runs of mean would be removed" in told.err
    assert gb("results", "purge", "mean/1", "--lake", lake).code == 2
    told = gb("results", "purge", "mean", "--reason", "poor", "--lake", lake)
    assert told.code == 2 and "--yes" in told.err
    told = gb("results", "purge", "mean", "-w", "metrics.sharpe < 2", "--reason", "poor", "--yes", "--lake", lake)
    assert told.code == 0 and "2 runs and 2 rows of other tables are removed" in told.err
    assert {row["run_id"] for row in gb("results", "list", "mean", "--json", "--lake", lake).json} == set("234")
    assert gb("results", "purge", "mean/1/1", "--reason", "poor", "--yes", "--lake", lake).code == 1
    assert gb("results", "purge", "mean//1", "--reason", "poor", "--lake", lake).code == 2
    results = Results.open(lake)
    rows = rows_of([results.prepare(make_run("cut off"))], "metrics", [5])
    assert rows is not None
    append(results.lake.store.tables["metrics"], rows)
    assert "3 rows of metrics belong to no run" in gb("verify", "--lake", lake).err
    assert "3 rows of metrics are removed" in gb("results", "sweep", "--lake", lake).err
    assert "every row belongs to a run" in gb("results", "sweep", "--lake", lake).err
    assert "belong" not in gb("verify", "--lake", lake).err
