"""`gb import` and `gb export` of trades, quotes and books: what a person and a script read of them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gb_pipeline.cli.app import run
from gb_pipeline_tests.cli.console import Gb, Result

MOMENT = 1_704_067_200_000


@pytest.fixture
def gb(capsys, monkeypatch, tmp_path) -> Gb:
    """Run a command in this process, in a folder without a project."""
    for name in ("GB_CONFIG", "GB_LAKE", "GB_STATE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return call


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "BTCUSDT-trades-2024-01-01.zip", "w") as archive:
        lines = [f"{n},42000.1,{0 if n == 3 else 0.5},1,{MOMENT + n},True,True" for n in (1, 2, 3, 4, 6)]
        archive.writestr("BTCUSDT-trades-2024-01-01.csv", "\n".join([*lines, "half,a,line", ""]))
    return tmp_path / "BTCUSDT-trades-2024-01-01.zip"


def test_a_dry_run_says_what_would_be_stored_and_the_import_stores_it(gb, zipped, tmp_path):
    preview = gb("import", "binance-public", zipped, "--source", "binance", "--lake", "data", "--dry-run")
    assert preview.code == 0 and not (tmp_path / "data/trades").exists()
    assert re.search(r"BTC-USDT trades +6 +4 +2 ", preview.out) and preview.err.endswith("nothing was stored\n")
    assert "2 quarantined: 1 x size_not_positive, 1 x broken_line" in preview.err
    assert "these intervals: 1 covered, 1 gap; 1 number missing" in preview.err
    stored = gb("import", "binance-public", zipped, "--source", "binance", "--lake", "data", "--json")
    assert stored.code == 0 and stored.json["total"]["stored"] == 4 and stored.json["missing"] == 1
    assert gb("verify", "--lake", "data").code == 0
    listed = gb("quarantine", "list", "--lake", "data")
    assert listed.code == 0 and "size_not_positive" in listed.out
    again = gb("import", "binance-public", zipped, "--source", "binance", "--lake", "data")
    assert again.code == 0 and re.search(r"BTC-USDT trades +6 +0 +4 +2", again.out)


def test_options_of_bars_are_refused_and_names_can_be_said(gb, zipped):
    wrong = gb("import", "binance-public", zipped, "--source", "b", "--lake", "data", "--calendar", "XNYS")
    assert wrong.code == 2 and "--calendar cannot go with trades" in wrong.err
    assert gb("import", "binance-public", zipped, "--source", "b", "--lake", "data", "--name", "BTCUSDT").code == 2
    named = gb(
        "import", "binance-public", zipped, "--source", "b", "--lake", "data", "--name", "BTCUSDT=XBT-USDT", "--json"
    )
    assert [stream["symbol"] for stream in named.json["streams"]] == ["XBT-USDT"]
    assert {"tardis", "dbn-ticks", "recordings"} <= {item["format"] for item in gb("import", "--json").json}


def test_events_are_written_and_what_is_not_there_is_named(gb, zipped, tmp_path):
    gb("import", "binance-public", zipped, "--source", "binance", "--lake", "data")
    done = gb("export", "hftbacktest", "binance:BTC-USDT", "out", "--lake", "data")
    assert done.code == 0 and "wrote 1 file" in done.err and re.search(r"binance:BTC-USDT +file +4 +4 ", done.out)
    assert len(np.load(tmp_path / "out/btc-usdt_20240101.npz")["data"]) == 4
    assert (
        gb("export", "nautilus-ticks", "binance", "out2", "--lake", "data", "--dry-run", "--json").json["exact"] is True
    )
    missing = gb("export", "hftbacktest", "binance:ETH-USDT", "out3", "--lake", "data")
    assert missing.code != 0 and "there is binance:BTC-USDT" in missing.err
    assert gb("export", "hftbacktest", "binance", "out3", "--lake", "data", "--resolution", "1m").code == 2
    wrong = gb("export", "hftbacktest", "binance", "out3", "--lake", "data", "--collector", "vps")
    assert wrong.code == 2 and "there is file" in wrong.err
