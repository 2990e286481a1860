"""`gb status`, `gaps`, `sql` and `show`: what is stored, as a person and as a program sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.cli.console import Gb


def test_status_counts_what_is_there_and_what_is_missing(gb: Gb, stored: Path) -> None:
    rows = {row["symbol"]: row for row in gb("status", "--json", "--config", stored).json if row["resolution"] == "1m"}
    eth, btc = rows["ETH-USDT"], rows["BTC-USDT"]
    assert (eth["expected"], eth["actual"], eth["missing"]) == (4320, 4308, 12)
    assert (btc["quarantined"], btc["missing"]) == (1, 1)
    assert (btc["first"], btc["last"]) == ("2024-01-02T00:00:00Z", "2024-01-04T23:59:00Z")
    assert btc["bytes"] > 0
    table = gb("status", "sim", "--config", stored)
    assert "sim:ETH-USDT" in table.out
    assert "4,308" in table.out


def test_gaps_have_reasons(gb: Gb, stored: Path) -> None:
    [gap] = gb("gaps", "sim:ETH-USDT", "--json", "--config", stored).json
    assert (gap["start"], gap["end"]) == ("2024-01-02T10:00:00Z", "2024-01-02T10:12:00Z")
    assert (gap["missing"], gap["reason"]) == (12, "unknown")
    shown = gb("gaps", "--config", stored)
    assert "13 bars in 2 runs are unknown" in shown.err
    assert "nothing is missing" in gb("gaps", "sim:BTC-USDT", "--reason", "no_trade", "--config", stored).err


def test_sql_answers_in_exact_digits(gb: Gb, stored: Path) -> None:
    query = "select timestamp, close from bars_1m where symbol = 'BTC-USDT' order by timestamp limit 3"
    answer = gb("sql", query, "--json", "--config", stored)
    bars = Lake.open(stored / "data").bars("BTC-USDT", "1m")
    assert [Decimal(row["close"]) for row in answer.json] == bars["close"].head(3).to_list()
    assert answer.json[0]["timestamp"] == "2024-01-02T00:00:00Z"
    limited = gb("sql", "select * from bars_1m", "--limit", "2", "--config", stored)
    assert "not shown" in limited.err


def test_sql_that_is_wrong_or_writes_is_refused_in_two_lines(gb: Gb, stored: Path) -> None:
    for query in ("select nope from bars_1m", "drop table symbol_data", "copy bars_1m to '/tmp/never.csv'", "select"):
        told = gb("sql", query, "--config", stored)
        assert (told.code, told.out) == (1, "")
        assert len(told.err.splitlines()) <= 2


def test_show_prints_the_newest_bars_or_a_range(gb: Gb, stored: Path) -> None:
    newest = gb("show", "sim:BTC-USDT", "--limit", "3", "--config", stored)
    assert "2024-01-04 23:59" in newest.out
    day = ("--start", "2024-01-02", "--end", "2024-01-03")
    bars = gb("show", "sim:btc-usdt", *day, "--json", "--config", stored).json
    assert len(bars) == 1440
    assert bars[0]["timestamp"] == "2024-01-02T00:00:00Z"
    assert isinstance(bars[0]["close"], str)


@pytest.mark.parametrize("style", [(), ("--candles",)])
def test_show_draws_a_picture(gb: Gb, stored: Path, tmp_path: Path, style: tuple[str, ...]) -> None:
    picture = tmp_path / "bars.png"
    assert gb("show", "sim:ETH-USDT", "--plot", picture, *style, "--config", stored).code == 0
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (1600, 900)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "sim:BTC-USD"), 1, "sim:BTC-USDT"),
        (("show", "sim:BTC-USDT", "-r", "1d"), 1, "there is 1m"),
        (("show", "sim:BTC-USDT", "--start", "2030-01-01", "--end", "2030-01-02"), 1, "2024-01-04"),
        (("show", "sim:BTC-USDT", "--start", "2030-01-01"), 1, "there are bars from 2024"),
        (("show", "sim:BTC-USDT", "--start=-7d"), 1, "there are bars from 2024"),
        (("show", "sim"), 2, "sim:BTC-USDT, sim:ETH-USDT"),
        (("show", "sim:BTC-USDT", "--start", "2024-01-02T10:00"), 2, "time zone"),
        (("show", "sim:BTC-USDT", "--candles"), 2, "--plot"),
        (("show", "sim:BTC-USDT", "--plot", "/nope/a.png"), 2, "/nope/a.png"),
        (("show", "sim:BTC-USDT", "--start", "2024-01-02", "--plot", "a.png", "--candles"), 2, "do not fit"),
        (("gaps", "nope"), 1, "its sources are sim"),
        (("gaps", "sim:BTC-USD"), 1, "BTC-USDT"),
        (("gaps", "sim:BTC-USDT", "sim:X*"), 1, "'sim:X*'"),
        (("status", "nope"), 1, "its sources are sim"),
        (("status", "sin"), 1, "did you mean sim"),
        (("status", "sim:BTC-USD", "--json"), 1, "BTC-USDT"),
        (("gaps", "--reason", "boredom"), 2, "no_trade"),
    ],
)
def test_questions_without_an_answer_say_what_there_is(
    gb: Gb, stored: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    told = gb(*arguments, "--config", stored)
    assert told.code == code
    assert says in told.err


def test_a_lake_can_be_read_without_a_project_and_without_its_variables(
    gb: Gb, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(gb("status", "--json", "--lake", stored / "data").json) == 2
    monkeypatch.setenv("GB_LAKE", str(stored / "data"))
    assert len(gb("status", "--json").json) == 2
    monkeypatch.delenv("GB_LAKE")
    assert gb("status").code == 2
    monkeypatch.delenv("GB_SIM_URL")
    assert gb("status", "--config", stored).code == 0
    assert gb("status", "--lake", tmp_path / "nowhere").code == 2


def test_json_is_alone_on_stdout_and_a_closed_pipe_is_no_error(stored: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gb_pipeline.cli",
        "sql",
        "select * from bars_1m",
        "--json",
        "--lake",
        str(stored / "data"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as err:
        assert out.read(10).startswith(b"[")
        out.close()
        assert err.read() == b""
    assert process.wait() == 0
    whole = subprocess.run(command, capture_output=True, check=True)
    assert len(json.loads(whole.stdout)) == 4320 + 4307
