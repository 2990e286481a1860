"""`gb fundamentals`: what a person fetches, sees and pipes."""

from __future__ import annotations

import json
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
  av:
    provider: alpha_vantage
    options: {{key: {key}, base_url: "{url}"}}
    asset_class: equity
    calendar: XNYS
    start: 2024-06-03
    symbols: [AAPL, KO, SPY]
    resolutions: [1d]
    retries: 0
    daily_quota: {{calls: 500}}
    fundamentals: {{statements: [income_statement, earnings], refresh_days: 6}}
  coins:
    provider: ccxt
    options: {{exchange: binance, base_url: "{url}"}}
    asset_class: crypto
    start: 2024-06-03
    symbols: [BTC-USDT]
"""


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=["BTC-USDT"], stocks=["AAPL", "KO", "SPY"]) as running:
        yield running


@pytest.fixture
def sim(vendor: Simulation) -> Simulation:
    vendor.reset()
    vendor.set_now("2024-06-14T22:00Z")
    for code in ("AAPL", "KO"):
        vendor.plant("listing", code, start="2022-06-01T00:00:00Z")
    return vendor


@pytest.fixture
def project(tmp_path: Path, sim: Simulation) -> Path:
    (tmp_path / "gb.yaml").write_text(PROJECT.format(url=sim.url, key="a-simulated-key"), encoding="utf-8")
    return tmp_path


def test_companies_are_fetched_shown_and_in_sql(gb: Gb, project: Path) -> None:
    told = gb("fundamentals", "fetch", "av", "AAPL", "-c", project)
    assert (told.code, told.err) == (0, "")
    assert "stored" in told.out
    assert not catalog_is_stale(LakeStore.at(project / "data"))
    shown = gb("fundamentals", "show", "aapl", "--item", "total_revenue", "--kind", "quarterly", "-c", project)
    lines = [line.split() for line in shown.out.splitlines() if "AAPL" in line]
    assert [line[4] for line in lines][:2] == ["2024-03-31", "2023-12-31"]
    assert shown.code == 0
    question = "select item, value from fundamentals where item = 'total_revenue' and kind = 'annual'"
    assert "total_revenue" in gb("sql", question, "-c", project).out
    year = gb("fundamentals", "show", "AAPL", "--item", "total_revenue", "--ttm", "--json", "-c", project)
    quarters = gb(
        "fundamentals", "show", "AAPL", "--item", "total_revenue", "--kind", "quarterly", "--json", "-c", project
    )
    newest = [float(row["value"]) for row in json.loads(quarters.out)[:4]]
    assert float(json.loads(year.out)[0]["value"]) == sum(newest)


def test_without_symbols_those_that_are_due_are_asked_and_nobody_twice(gb: Gb, project: Path, sim: Simulation) -> None:
    gb("fundamentals", "fetch", "av", "KO", "-c", project)
    told = json.loads(gb("fundamentals", "fetch", "av", "--json", "-c", project).out)
    assert [row["symbol"] for row in told["symbols"]] == ["AAPL", "SPY"]
    assert told["symbols"][1]["nothing"] == ["income_statement", "earnings"]
    again = gb("fundamentals", "fetch", "av", "-c", project)
    assert (again.code, again.out) == (0, "")
    assert "no company is due" in again.err


def test_a_quota_that_is_used_up_ends_with_3_and_shows_no_key(gb: Gb, project: Path, sim: Simulation) -> None:
    (project / "gb.yaml").write_text(PROJECT.format(url=sim.url, key="limited-key-123"), encoding="utf-8")
    told = gb("fundamentals", "fetch", "av", "AAPL", "-c", project)
    assert told.code == 3
    assert "limited-key-123" not in told.out + told.err


def test_rows_that_are_refused_are_told_and_kept(gb: Gb, project: Path, sim: Simulation) -> None:
    sim.plant("restated_report", "AAPL", period="2024-03-31", function="INCOME_STATEMENT", item="ebit", value="lots")
    told = gb("fundamentals", "fetch", "av", "AAPL", "-c", project)
    assert told.code == 1
    assert "1 row refused: value_unreadable_number" in told.err
    [row] = json.loads(gb("quarantine", "list", "--json", "-c", project).out)
    assert "lots" in row["row"]
    shown = gb("quarantine", "show", row["row_id"], "-c", project)
    assert (shown.code, "not released" in shown.out) == (0, True)
    released = gb("quarantine", "release", row["row_id"], "--reason", "why not", "--close", "1", "-c", project)
    assert (released.code, "only bars are released" in released.err) == (2, True)


def test_kept_answers_are_compared_with_what_is_stored(gb: Gb, project: Path) -> None:
    assert "no answer" in gb("fundamentals", "replay", "av", "-c", project).err
    gb("fundamentals", "fetch", "av", "KO", "-c", project)
    unkept = gb("fundamentals", "replay", "av", "-c", project)
    assert (unkept.code, "keep_raw" in unkept.err) == (1, True)
    text = (
        (project / "gb.yaml")
        .read_text(encoding="utf-8")
        .replace("retries: 0\n    daily", "retries: 0\n    keep_raw: true\n    daily")
    )
    (project / "gb.yaml").write_text(text, encoding="utf-8")
    gb("fundamentals", "fetch", "av", "KO", "-c", project)
    told = gb("fundamentals", "replay", "av", "--json", "-c", project)
    row = json.loads(told.out)["symbols"][0]
    assert (told.code, row["received"] == row["unchanged"] > 0, row["problem"]) == (0, True, None)


def test_listings_are_fetched_and_shown(gb: Gb, project: Path, sim: Simulation) -> None:
    told = gb("fundamentals", "fetch", "av", "--listings", "--json", "-c", project)
    assert (told.code, json.loads(told.out)["new"]) == (0, 3)
    shown = gb("fundamentals", "listings", "--on", "2010-01-04", "-c", project)
    assert "SPY" in shown.out
    assert "KO" not in shown.out
    assert "1 listing" in shown.err
    wrong = gb("fundamentals", "fetch", "av", "KO", "--listings", "-c", project)
    assert (wrong.code, wrong.out) == (2, "")


def test_a_vendor_without_companies_says_so(gb: Gb, project: Path) -> None:
    for arguments in (["BTC-USDT"], ["--listings"]):
        told = gb("fundamentals", "fetch", "coins", *arguments, "-c", project)
        assert told.code != 0
        assert "from a source that does" in told.err
