"""The `definitions.py` that the guides show, as Dagster loads and runs them: beside a gb.yaml, and in a project of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.assets.catalog import build_catalog_resource
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.orchestration.conftest import Bench, open_instance

DOCS = Path(__file__).resolve().parents[2] / "docs"
DAY = "2024-01-02"
SYMBOLS = ["BTC-USD", "ETH-USD"]
BARS = [f"coinbase/bars_1m/{symbol}" for symbol in SYMBOLS]


def read_block(page: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    [shown] = re.findall(r"^```python [^\n]+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return shown


@pytest.fixture
def coinbase(tmp_path: Path, empty_instance: Path) -> Iterator[tuple[Path, dg.DagsterInstance, Simulation]]:
    """The folder `market` of a project with two symbols, an instance, and the exchange."""
    shutil.copytree(empty_instance, tmp_path / "home")
    project = tmp_path / "market"
    project.mkdir()
    with Simulation(seed=5, symbols=SYMBOLS) as simulation, open_instance(tmp_path / "home") as instance:
        source = {
            "provider": "ccxt", "options": {"base_url": simulation.url}, "asset_class": "crypto", "start": "2024-01-01",
            "end": "2024-01-04", "gap_policy": "no_trade", "symbols": SYMBOLS,
        }  # fmt: skip
        (project / "gb.yaml").write_text(yaml.safe_dump({"sources": {"coinbase": source}}), encoding="utf-8")
        yield project, instance, simulation


def load(page: str) -> dg.Definitions:
    module: dict[str, Any] = {"__name__": "definitions"}
    exec(compile(read_block(page), "definitions.py", "exec", dont_inherit=True), module)
    defs: dg.Definitions = module["defs"]
    dg.Definitions.validate_loadable(defs)
    return defs


def test_the_definitions_of_the_guide_run(coinbase, monkeypatch: pytest.MonkeyPatch) -> None:
    project, instance, simulation = coinbase
    monkeypatch.setenv("GB_CONFIG", str(project))
    bench = Bench(Settings.load(project), load("operating.md"), instance, simulation)

    assert bench.run(*BARS, partitions=DAY).success
    result = bench.run("turnover", partitions=DAY)
    assert result.success
    assert bench.materialized("turnover") == {DAY}
    said = "\n".join(event.user_message for event in instance.all_logs(result.run_id))
    stored = Lake.open(bench.settings.lake).bars(SYMBOLS, "1m", as_float=True)
    assert stored["timestamp"].dt.date().cast(str).unique().to_list() == [DAY]
    assert all(symbol in said for symbol in SYMBOLS)


def test_a_project_of_its_own_reads_the_lake(coinbase, monkeypatch: pytest.MonkeyPatch) -> None:
    project, instance, simulation = coinbase
    settings = Settings.load(project)
    market = Bench(settings, build_definitions(settings), instance, simulation)
    assert market.run(*BARS, partitions=DAY).success
    assert market.run("catalog").success
    monkeypatch.delenv("GB_CONFIG", raising=False)
    monkeypatch.chdir(project.parent)

    mine = Bench(settings, load("downstream.md"), instance, simulation)
    assert mine.run("range_of_the_day", partitions=DAY).success
    assert mine.run("most_traded").success

    bars = Lake.open(settings.lake).bars(SYMBOLS, "1m", as_float=True)
    bitcoin = bars.filter(pl.col("symbol") == "BTC-USD")
    shown = mine.metadata("range_of_the_day", DAY)
    assert (shown["bars"], shown["range"]) == (bitcoin.height, bitcoin["high"].max() - bitcoin["low"].min())
    turnover = bars.group_by("symbol").agg(pl.col("close").dot(pl.col("volume"))).sort("close", descending=True)
    first = mine.metadata("most_traded")
    assert (first["symbol"], first["turnover"]) == (turnover["symbol"][0], pytest.approx(turnover["close"][0]))

    # What is not stored is no quiet day, and the next refresh of the catalog is seen by the next connection.
    assert not mine.run("range_of_the_day", partitions="2024-01-03").success
    assert market.run(*BARS, partitions="2024-01-03").success
    assert mine.run("range_of_the_day", partitions="2024-01-03").success
    assert market.run("catalog").success
    assert mine.run("most_traded").success
    assert mine.metadata("most_traded")["turnover"] > first["turnover"]


def test_a_statement_that_would_change_the_catalog_is_refused(coinbase) -> None:
    project, instance, simulation = coinbase
    settings = Settings.load(project)
    market = Bench(settings, build_definitions(settings), instance, simulation)
    assert market.run(*BARS, partitions=DAY).success
    assert market.run("catalog").success

    with build_catalog_resource(settings).get_connection() as connection, pytest.raises(Exception, match="read-only"):
        connection.execute("create table mine as select 1")
