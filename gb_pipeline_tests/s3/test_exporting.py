"""A lake in a bucket is exported like one in a folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.feather

from gb_pipeline import Lake, export_bars
from gb_pipeline_tests.formats.exported import MINUTES, put_minutes
from gb_pipeline_tests.s3.conftest import Machine


def test_bars_leave_a_bucket_for_a_folder(machine: Machine, tmp_path: Path) -> None:
    lake = Lake(machine("a"))
    put_minutes(lake)
    report = export_bars(lake, "freqtrade", [MINUTES], tmp_path / "out")
    table = pyarrow.feather.read_table(tmp_path / "out" / "BTC_USDT-1m.feather")
    assert (report.rows, table["close"].to_pylist()) == (4, [42000.12, 42001.0, 41999.000001, 42000.0])
