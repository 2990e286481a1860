"""`gb actions`: what a person fetches, sees and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

PROJECT = """
lake: data
sources:
  massive:
    provider: massive
    options: {{key: a-simulated-key, base_url: "{url}"}}
    asset_class: equity
    calendar: XNYS
    start: 2024-06-03
    symbols: [AAPL, KO]
    resolutions: [1d]
    retries: 0
  coins:
    provider: ccxt
    options: {{exchange: binance, base_url: "{url}"}}
    asset_class: crypto
    start: 2024-06-03
    symbols: [BTC-USDT]
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=["BTC-USDT"], stocks=["AAPL", "KO"]) as running:
        running.set_now("2024-06-14T22:00Z")
        running.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
        running.plant("dividend", "AAPL", ex_date="2024-06-05", amount="0.25")
        yield running


@pytest.fixture
def project(tmp_path: Path, sim: Simulation) -> Path:
    (tmp_path / "gb.yaml").write_text(PROJECT.format(url=sim.url), encoding="utf-8")
    return tmp_path


def test_actions_are_fetched_shown_and_in_the_catalog(gb: Gb, project: Path) -> None:
    told = gb("actions", "fetch", "massive", "-c", project)
    assert (told.code, told.err) == (0, "")
    assert "stored" in told.out
    assert not catalog_is_stale(LakeStore.at(project / "data"))
    shown = gb("actions", "show", "massive:aapl", "-c", project)
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines() if "AAPL" in line]
    assert [line[2:4] for line in lines] == [["2024-06-10", "split"], ["2024-06-05", "cash_dividend"]]
    assert "2 actions" in shown.err


def test_json_is_exact_and_complete(gb: Gb, project: Path) -> None:
    told = gb("actions", "fetch", "massive", "AAPL", "--json", "-c", project).json
    (row,) = told["symbols"]
    assert (row["new"], row["unchanged"], row["status"], row["start"]) == (2, 0, "stored", "2024-06-03")
    rows = gb("actions", "show", "AAPL", "--kind", "split", "--json", "-c", project).json
    assert [(row["split_to"], row["split_from"], row["ratio"], row["withdrawn"]) for row in rows] == [
        ("4", "1", "4", False)
    ]


def test_a_past_view_and_a_range(gb: Gb, project: Path) -> None:
    gb("actions", "fetch", "massive", "-c", project)
    assert gb("actions", "show", "--as-of", "2020-01-01", "--json", "-c", project).json == []
    found = gb("actions", "show", "--start", "2024-06-06", "--end", "2024-06-11", "--json", "-c", project).json
    assert [row["kind"] for row in found] == ["split"]


def test_bars_are_shown_as_traded_or_adjusted(gb: Gb, project: Path) -> None:
    gb("fetch", "massive", "AAPL", "--start", "2024-06-03", "--end", "2024-06-15", "-c", project)
    refused = gb("show", "massive:AAPL", "--adjustment", "split", "-c", project)
    assert (refused.code, "gb actions fetch massive AAPL" in refused.err) == (1, True)
    gb("actions", "fetch", "massive", "-c", project)
    raw = gb("show", "massive:AAPL", "--json", "-c", project).json
    split = gb("show", "massive:AAPL", "--adjustment", "split", "--json", "-c", project).json
    assert float(split[0]["close"]) == pytest.approx(float(raw[0]["close"]) / 4)
    assert split[-1] == raw[-1]
    wrong = gb("show", "massive:AAPL", "--adjustment", "dividends", "-c", project)
    assert (wrong.code, "use none, splits, splits+dividends" in wrong.err) == (2, True)


def test_a_source_whose_actions_were_asked_for_and_are_none_is_no_mistake(gb: Gb, project: Path) -> None:
    gb("actions", "fetch", "massive", "KO", "--start", "2024-06-04", "--end", "2024-06-05", "-c", project)
    for name in ("massive", "KO", "massive:*"):
        told = gb("actions", "show", name, "-c", project)
        assert (told.code, told.out, told.err.strip()) == (0, "", "0 actions")


def test_mistakes_are_two_lines(gb: Gb, project: Path, sim: Simulation) -> None:
    gb("actions", "fetch", "massive", "-c", project)
    for arguments, code, word in (
        (("fetch", "coins"), 2, "no corporate actions"),
        (("fetch", "nowhere"), 2, "nowhere"),
        (("fetch", "massive", "--start", "2024-06-10", "--end", "2024-06-10"), 2, "empty"),
        (("show", "TSLA"), 1, "the lake has nothing that is called 'TSLA'"),
        (("show", "coins"), 1, "corporate actions of coins were never fetched"),
        (("show", "--kind", "spinoff"), 2, "not a kind"),
        (("show", "--as-of", "soon"), 2, "soon"),
    ):
        told = gb("actions", *arguments, "-c", project)
        assert (told.code, told.out) == (code, "")
        assert word in told.err
        assert len(told.err.strip().splitlines()) <= 2
    sim.faults.add(match="ticker=KO", status=500)
    failed = gb("actions", "fetch", "massive", "--json", "-c", project)
    assert failed.code == 3
    assert {row["symbol"]: row["status"] for row in failed.json["symbols"]} == {"AAPL": "stored", "KO": "failed"}
