"""`gb plan`, and how `gb fetch` ends when the calls of a vendor's day do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

RANGE = ("--start", "2024-01-02", "--end", "2024-03-02")


@pytest.fixture
def limited(tmp_path: Path, exchange: Simulation) -> Path:
    """A project whose vendor grants three calls a day."""
    source = {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": exchange.url},
        "asset_class": "crypto",
        "start": "2024-01-01",
        "symbols": ["BTC-USDT", "ETH-USDT", "SOL-USDT"],
        "resolutions": ["1d"],
        "daily_quota": {"calls": 3, "zone": "Asia/Tokyo"},
        "max_concurrency": 1,
    }
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"sim": source}}), encoding="utf-8")
    return tmp_path


def test_a_plan_is_calls_rows_time_and_the_day_it_ends(gb: Gb, limited: Path, exchange: Simulation) -> None:
    exchange.requests.clear()
    told = gb("plan", "sim", *RANGE, "-c", limited)
    assert told.code == 0
    assert len(exchange.requests) == 0
    assert not (limited / "data" / "sessions").exists()
    lines = {line.split()[0]: " ".join(line.split()) for line in told.out.splitlines() if line.strip()}
    # One of each symbol, and the markets.
    assert lines["calls"].startswith("calls 4 3 symbols of 1d")
    assert lines["bars"].startswith("bars 180 ")
    assert lines["sessions"] == "sessions 180 180 never fetched"
    assert lines["dates"].startswith("dates 2024-01-02 to 2024-03-01 ")
    assert lines["download"] == "download about 14.4 kB 80 bytes a bar (assumed)"
    assert "0.50 s a call (assumed)" in lines["time"]
    assert lines["quota"] == "quota 3 a day today in Asia/Tokyo: 0 used and 3 left"
    assert lines["ends"].startswith("ends on 20")


def test_json_is_the_plan(gb: Gb, limited: Path) -> None:
    body = gb("plan", "sim", "BTC-USDT", *RANGE, "--json", "-c", limited).json
    assert (body["source"], body["resolution"], body["symbols"], body["windows"]) == ("sim", "1d", 1, 1)
    assert (body["calls"], body["rows"], body["rate"]) == (2, 60, None)
    assert body["budget"] | {"ends": ""} == {
        "calls": 3, "zone": "Asia/Tokyo", "left": 3, "known": True, "used": 0, "ends": "",
    }  # fmt: skip


def test_fetch_stops_cleanly_says_until_when_and_ends_with_three(gb: Gb, limited: Path) -> None:
    told = gb("fetch", "sim", "--start", "2024-01-02", "--end", "2024-01-12", "--config", limited)
    assert told.code == 3
    what, fix = told.err.splitlines()[-2:]
    assert what.startswith("10 sessions are deferred until 20")
    assert "3 of 3 calls used" in what
    assert fix.startswith("  -> it goes on after 20")
    assert "deferred" in told.out
    known = ledger.current(LakeStore.at(limited / "data").tables)
    assert known["symbol"].unique().sort().to_list() == ["BTC-USDT", "ETH-USDT"]
    assert known["status"].unique().to_list() == ["complete"]

    again = gb(
        "fetch", "sim", "SOL-USDT", "--start", "2024-01-02", "--end", "2024-01-03", "--json", "--config", limited
    )
    assert again.code == 3
    (row,) = again.json["symbols"]
    assert (row["status"], row["error"], row["rows"]) == ("deferred", None, 0)
    assert row["deferred_until"].endswith("15:00:00Z")  # midnight in Tokyo

    plan = gb("plan", "sim", *RANGE, "--json", "-c", limited).json
    assert (plan["budget"]["used"], plan["budget"]["left"]) == (3, 0)
    assert plan["measured"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nope",), "nothing that is called 'nope'"),
        (("sim", "--start", "2024-01-02", "--end", "2024-01-02"), "is not after"),
        (("sim", "../etc"), "nothing that is called 'sim:../etc'"),
    ],
)
def test_unusable_arguments_end_with_two(gb: Gb, limited: Path, arguments: tuple[str, ...], says: str) -> None:
    told = gb("plan", *arguments, "--config", limited)
    assert (told.code, told.out) == (2, "")
    assert says in told.err
