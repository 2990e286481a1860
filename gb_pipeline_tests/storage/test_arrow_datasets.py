"""Tables as DuckDB scans them: every byte verified, and without ever holding the interpreter while it waits for a file."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pytest

from gb_pipeline import LakeStore, Resolution
from gb_pipeline.storage import parquet
from gb_pipeline.storage.arrow_datasets import PatientScanner, VerifiedDataset
from gb_pipeline.storage.file_pruning import FilePruner
from gb_pipeline_tests.bars import at, day, minutes


def test_a_scan_of_duckdb_starts_without_the_interpreter(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for number in range(6):
        date = str((at("2024-01-20T00:00") + timedelta(days=31 * number)).date())
        store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date), minutes(date, 30))
    snapshot = store.tables.newest("bars_1m")
    dataset = VerifiedDataset(store.storage, FilePruner(snapshot.dataset, snapshot.files))
    # pyarrow's own scanner starts with the interpreter held, and files are opened by Python: rarely, neither goes on.
    scanner = dataset.scanner(columns=["timestamp", "close"])
    assert isinstance(scanner, PatientScanner)
    assert scanner.to_reader().read_all().num_rows == 6 * 30
    connection = duckdb.connect()
    connection.register("bars", dataset)
    counts = connection.sql("select count(*), count(distinct period) from bars where close > 0").fetchall()
    assert counts == [(180, 6)]
    assert [scan.watch.damage for scan in dataset.scans] == [[], []]


# A small file is verified as a whole before it is decoded, and of a large one each page as it is.
@pytest.mark.parametrize("small", [parquet.SMALL, 0])
def test_no_bit_flips_unseen_by_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(parquet, "SMALL", small)
    store = LakeStore.at(tmp_path)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 300))
    snapshot = store.tables.newest("bars_1m")
    path = Path(store.storage.table("bars_1m")) / snapshot.files["path"][0]
    whole, chance, seen = path.read_bytes(), Random(1), 0

    def scan() -> tuple[pa.Table | None, bool]:
        dataset = VerifiedDataset(store.storage, FilePruner(snapshot.dataset, snapshot.files))
        with suppress(pa.ArrowException, OSError):
            return dataset.scanner().to_reader().read_all(), bool(dataset.scans[0].watch.damage)
        return None, True

    truth, damaged = scan()
    assert truth is not None and not damaged
    for _ in range(150):
        bit = chance.randrange(len(whole) * 8)
        found = bytearray(whole)
        found[bit // 8] ^= 1 << bit % 8
        path.write_bytes(found)
        rows, damaged = scan()
        # What no scan decodes, such as the first bytes of the file, may differ.
        assert damaged or rows == truth, bit
        seen += damaged
    assert seen > 100
