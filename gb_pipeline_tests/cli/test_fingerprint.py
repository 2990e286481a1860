"""`gb fingerprint`: the content of series as hashes."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from gb_pipeline import Lake
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.exchanged import exchange


def test_series_and_all_of_them_are_printed(gb: Gb, stored: Path) -> None:
    told = gb("fingerprint", "--config", stored)
    whole = Lake.open(stored).fingerprint()
    assert told.code == 0
    assert whole.whole in told.out
    for text in whole.series["fingerprint"]:
        assert text[:16] in told.out
    assert all(len(line) <= 80 for line in told.out.splitlines())


def test_names_resolution_and_window_choose(gb: Gb, stored: Path) -> None:
    said = gb("fingerprint", "BTC-USDT", "-r", "1m", "--start", "2024-01-02", "--json", "--config", stored).json
    assert [(row["symbol"], row["resolution"]) for row in said["series"]] == [("BTC-USDT", "1m")]
    assert said["fingerprint"] == Lake.open(stored).fingerprint("sim", "BTC-USDT", "1m").whole
    assert gb("fingerprint", "NOPE", "--config", stored).code == 1


def test_bars_that_are_not_as_recorded_are_named(gb: Gb, stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored / "data", tmp_path / "data")
    assert "are as recorded" in gb("fingerprint", "--verify", "--lake", tmp_path / "data").err
    here = (pl.col("symbol") == "BTC-USDT") & (pl.col("timestamp") == datetime(2024, 1, 2, 12, tzinfo=UTC))
    exchange(Lake.open(tmp_path / "data").store, pl.col("close") + Decimal("0.01"), where=here)
    told = gb("fingerprint", "--verify", "--lake", tmp_path / "data")
    assert told.code == 1
    assert "sim:BTC-USDT 1m, session 2024-01-02: its bars are not those that were recorded" in told.err
    assert gb("fingerprint", "--verify", "--json", "--lake", tmp_path / "data").json["proved"] is False
