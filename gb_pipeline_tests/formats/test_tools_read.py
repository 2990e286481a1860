"""The tools' own libraries read what was exported, and give back the values of the lake."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.environment import peers_python
from gb_pipeline import Lake, Resolution, export_bars
from gb_pipeline_tests.actions import dividend, split
from gb_pipeline_tests.formats.exported import DAYS, MINUTES, put_minutes, put_shares, tell

pytestmark = pytest.mark.long
HERE = Path(__file__).parent


def read(tool: str, folder: Path) -> Any:
    """What the tool's library says, in its own environment."""
    command = [str(peers_python(HERE / "tools.txt")), str(HERE / "read_by_tools.py"), tool, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def shares(lake: Lake) -> Lake:
    """A share with a split and a dividend, and a session without a bar."""
    put_shares(lake)
    tell(lake, split("2024-01-05", "4"), dividend("2024-01-08", "0.24"))
    return lake


def test_zipline_ingests_days_splits_and_dividends(shares: Lake, tmp_path: Path) -> None:
    export_bars(shares, "csvdir", [DAYS], tmp_path / "out")
    told = read("zipline", tmp_path / "out")
    closes = [value if value is None else round(value, 3) for value in told["days"]["close"]]
    assert closes == [185.64, 184.25, None, 45.18, 46.0]
    assert told["days"]["volume"] == [8248870, 5841450, 0, 6230330, 10]
    assert told["splits"] == [["2024-01-05", 0.25]]
    assert told["dividends"] == [["2024-01-08", pytest.approx(1 - 0.24 / 45.18)]]


def test_zipline_has_minutes_at_their_ends(lake: Lake, tmp_path: Path) -> None:
    closes = ["187.15", "187.2", "187.1"]
    put_minutes(lake, "2024-01-02T14:30", closes, source="daily", symbol="AAPL", volume="5", calendar="XNYS")
    export_bars(lake, "csvdir", [("daily", "AAPL", Resolution.MINUTE)], tmp_path / "out")
    assert read("zipline", tmp_path / "out")["minutes"] == pytest.approx([187.15, 187.2, 187.1])


def test_qlib_has_adjusted_prices_and_the_factor_back_to_those_as_traded(shares: Lake, tmp_path: Path) -> None:
    export_bars(shares, "qlib", [DAYS], tmp_path / "out")
    told = read("qlib", tmp_path / "out")
    assert told["calendar"] == told["days"] == ["2024-01-02", "2024-01-03", "2024-01-05", "2024-01-08"]
    assert [row[0] for row in told["values"]] == pytest.approx([46.41, 46.0625, 45.18, 46], rel=1e-7)
    assert [row[2] for row in told["values"]] == [0.25, 0.25, 1, 1]
    assert [row[3] for row in told["values"]] == pytest.approx([185.64, 184.25, 45.18, 46], rel=1e-7)


def test_nautilus_has_every_digit_and_bars_at_their_close(shares: Lake, tmp_path: Path) -> None:
    put_minutes(shares)
    export_bars(shares, "nautilus", [DAYS, MINUTES], tmp_path / "out")
    bars = read("nautilus", tmp_path / "out")["bars"]
    days = [bar for bar in bars if bar[0] == "AAPL.DAILY-1-DAY-LAST-EXTERNAL"]
    assert days[0][1:6] == ["187.150", "188.440", "183.885", "185.640", "8248870"]
    assert datetime.fromtimestamp(days[0][6] / 1e9, UTC) == datetime(2024, 1, 2, 21, tzinfo=UTC)
    minutes = [bar[4] for bar in bars if bar[0] == "BTC-USDT.SIM-1-MINUTE-LAST-EXTERNAL"]
    assert minutes == ["42000.120000", "42001.000000", "41999.000001", "42000.000000"]
