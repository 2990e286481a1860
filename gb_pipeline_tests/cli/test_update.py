"""`gb update`: every source, every resolution, one line each, and the exit code of the worst."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gb_pipeline import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb


@pytest.fixture
def several(tmp_path: Path, exchange: Simulation) -> Path:
    """Two sources of one vendor, one of files, and one of nothing."""
    vendor: dict[str, Any] = {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": exchange.url},
        "asset_class": "crypto",
        "start": "2024-01-02",
        "end": "2024-01-04",
        "symbols": ["BTC-USDT", "ETH-USDT"],
        "resolutions": ["1h", "1d"],
        "retries": 0,
    }
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "BTC-USDT.csv").write_text(
        "timestamp,open,high,low,close,volume\n2024-01-02,5,9,1,5,1\n2024-01-03,5,9,1,5,1\n", encoding="utf-8"
    )
    files = vendor | {
        "provider": "csv",
        "options": {"root": str(tmp_path / "own"), "path": "{symbol}.csv"},
        "symbols": ["BTC-USDT"],
        "resolutions": ["1d"],
    }
    down = vendor | {"options": {"exchange": "binance", "base_url": "http://127.0.0.1:9"}, "resolutions": ["1d"]}
    sources = {"down": down, "own": files, "sim": vendor, "empty": vendor | {"symbols": []}}
    (tmp_path / "gb.yaml").write_text(json.dumps({"lake": "data", "sources": sources}), "utf-8")
    return tmp_path


def test_every_source_is_brought_up_to_date_whatever_another_one_does(gb: Gb, several: Path) -> None:
    told = gb("update", "-c", several)
    assert told.code == 3
    assert told.out.splitlines() == [
        "down 1d: 4 sessions asked for: 4 failed; 0 changed",
        "own 1d: 2 sessions asked for: 2 complete; 2 changed",
        "sim 1h: 4 sessions asked for: 4 complete; 4 changed",
        "sim 1d: 4 sessions asked for: 4 complete; 4 changed",
    ]
    assert "cannot be reached" in told.err
    assert "empty: no symbols yet: `gb symbols add empty SYMBOL`" in told.err
    assert Lake.open(several / "data").bars("ETH-USDT", "1h", source="sim").height == 48


def test_names_are_sources_and_series_and_json_says_the_same(gb: Gb, several: Path, exchange: Simulation) -> None:
    told = gb("update", "own", "sim:BTC*", "--json", "-c", several)
    assert told.code == 0
    assert [(row["source"], row["resolution"], row["asked"], row["exit_code"]) for row in told.json] == [
        ("own", "1d", 2, 0), ("sim", "1h", 2, 0), ("sim", "1d", 2, 0),
    ]  # fmt: skip
    exchange.requests.clear()
    again = gb("update", "own", "sim:BTC*", "-c", several)
    assert again.out.splitlines() == ["own 1d: up to date", "sim 1h: up to date", "sim 1d: up to date"]
    assert not exchange.requests


def test_the_newest_sessions_are_asked_for_again_where_the_source_says_so(gb: Gb, several: Path) -> None:
    project = json.loads((several / "gb.yaml").read_text("utf-8"))
    project["sources"]["own"]["refetch_sessions"] = 1
    (several / "gb.yaml").write_text(json.dumps(project), "utf-8")
    gb("update", "own", "-c", several)
    file = several / "own" / "BTC-USDT.csv"
    file.write_text(file.read_text("utf-8").replace(",5,9,1,5,1", ",5,9,1,6,1"), "utf-8")
    told = gb("update", "own", "-c", several)
    assert told.out.splitlines() == ["own 1d: 1 session asked for: 1 complete; 1 changed"]
    # Of two days that the file corrects, the older one is left alone.
    assert Lake.open(several / "data").bars("BTC-USDT", "1d", source="own", as_float=True)["close"].to_list() == [5, 6]


def test_a_source_that_cannot_be_used_is_said_and_the_others_go_on(gb: Gb, several: Path) -> None:
    file = several / "gb.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["sources"]["down"] |= {"provider": "massive", "options": {"key": "${GB_NO_SUCH_KEY}"}}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    told = gb("update", "down", "own", "-c", several)
    assert told.code == 2
    first, second = told.out.splitlines()
    assert first.startswith("down 1d: failed: ")
    assert "GB_NO_SUCH_KEY" in first
    # Its reason once, and what to do about it below.
    assert told.err.splitlines()[0].startswith("  -> ") and first.removeprefix("down 1d: failed: ") not in told.err
    assert second == "own 1d: 2 sessions asked for: 2 complete; 2 changed"


def test_a_name_that_there_is_not_stops_it_before_anything_is_asked(gb: Gb, several: Path) -> None:
    told = gb("update", "sin", "-c", several)
    assert (told.code, told.out) == (2, "")
    assert "did you mean sim" in told.err
    assert not (several / "data").exists()
