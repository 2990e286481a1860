"""Tables as DuckDB scans them: every file, and without ever holding the interpreter while it waits for one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb

from gb_pipeline import LakeStore, Resolution
from gb_pipeline.storage.arrow_datasets import PatientScanner, verified_dataset
from gb_pipeline_tests.bars import at, day, minutes


def test_a_scan_of_duckdb_starts_without_the_interpreter(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for number in range(6):
        date = str((at("2024-01-20T00:00") + timedelta(days=31 * number)).date())
        store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date), minutes(date, 30))
    snapshot = store.tables.newest("bars_1m")
    dataset, watch = verified_dataset(store.storage, snapshot.dataset, snapshot.files)
    # pyarrow's own scanner starts with the interpreter held, and files are opened by Python: rarely, neither goes on.
    scanner = dataset.scanner(columns=["timestamp", "close"])
    assert isinstance(scanner, PatientScanner)
    assert scanner.to_reader().read_all().num_rows == 6 * 30
    connection = duckdb.connect()
    connection.register("bars", dataset)
    counts = connection.sql("select count(*), count(distinct period) from bars where close > 0").fetchall()
    assert counts == [(180, 6)]
    assert watch.damage == []
