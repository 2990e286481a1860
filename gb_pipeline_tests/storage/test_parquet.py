"""Data files: no bit flips unseen, and what is only out of reach is not called damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage import parquet
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline.storage.parquet import DamagedFile
from gb_pipeline_tests.bars import changed, day, minutes

REPOSITORY = Path(__file__).resolve().parents[2]
COLUMNS = bars_dataset(Resolution.MINUTE).file_schema.names


@pytest.fixture
def lake(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path / "lake")
    frame = changed(minutes("2024-01-02", 300), 7, volume="123456.00000001")
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), frame)
    return store


def data_file(store: LakeStore) -> str:
    return f"lake/bars_1m/{store.tables.newest('bars_1m').files['path'][0]}"


# A small file is read at once and a large one in pieces; what is verified of them differs.
@pytest.mark.parametrize("small", [4 << 20, 0])
@pytest.mark.parametrize("share", [40, pytest.param(1, marks=pytest.mark.long)])
def test_no_bit_of_a_file_flips_unseen(
    lake: LakeStore, monkeypatch: pytest.MonkeyPatch, small: int, share: int
) -> None:
    monkeypatch.setattr(parquet, "SMALL", small)
    files, name = LocalFiles(lake.storage.root), data_file(lake)
    path = lake.storage.root / name
    whole = path.read_bytes()
    truths = [parquet.read_columns(files, name, len(whole), COLUMNS, integers=integers) for integers in (False, True)]
    assert truths[0].schema != truths[1].schema
    bits = range(len(whole) * 8)
    seen = 0
    for bit in Random(share).sample(bits, len(bits) // share):
        found = bytearray(whole)
        found[bit // 8] ^= 1 << bit % 8
        path.write_bytes(found)
        with pytest.raises(parquet.Unreadable):
            parquet.verify_bytes(files, name, len(whole))
        seen += not all(reads_as(truth, files, name, len(whole)) for truth in truths)
    assert seen > 0.9 * len(bits) / share, "most of a file are pages and footer"


def reads_as(truth: pa.Table, files: LocalFiles, name: str, size: int) -> bool:
    """False where the file is refused; another answer is what must not be."""
    try:
        found = parquet.read_columns(
            files, name, size, COLUMNS, integers=pa.types.is_int64(truth.schema.field("open").type)
        )
    except parquet.Unreadable:
        return False
    assert found.equals(truth)
    return True


def test_a_file_that_this_process_may_not_read_is_not_called_damaged(lake: LakeStore) -> None:
    for path in (lake.storage.root / "lake/bars_1m").rglob("*.parquet"):
        path.chmod(0)
    script = f"""
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.reading.lake import Lake
store = LakeStore.at({str(lake.storage.root)!r})
for act in (lambda: Lake(store).bars("BTC-USD", "1m"), lambda: Lake(store).sql("select * from bars_1m"), lambda: verify(store)):
    try:
        act()
    except Exception as error:
        print(type(error).__name__, "ermission denied" in str(error), "repair" in str(error))
"""
    # In a name space of its own even root has no more rights than a file's mode says.
    alone = ["unshare", "--user"] if os.getuid() == 0 else []
    if alone and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody give up the rights of root")
    done = subprocess.run(
        [*alone, sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.stdout.splitlines() == ["LakeError True False"] * 3, done


def test_a_process_without_a_handle_left_is_told_so(lake: LakeStore) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    name, size = data_file(lake), int(lake.tables.newest("bars_1m").files["size"][0])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        with pytest.raises(LakeError, match="Too many open files") as found:
            parquet.open_verified(lake.storage.files, name, size)
        assert not isinstance(found.value, DamagedFile)
        with pytest.raises(LakeError, match="cannot be read: Too many open files"):
            lake.tables.newest("bars_1m")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert verify(lake).ok


def test_files_are_called_by_what_is_in_them(lake: LakeStore) -> None:
    name = data_file(lake)
    with pytest.raises(parquet.Unreadable, match="carries no checksums"):
        parquet.checksums("lake/bars_1m/part-00000.parquet")
    assert parquet.checksums(name) == parquet.checksums(name.rsplit("/", 1)[-1])
    one, other = (parquet.encode(bars_dataset(Resolution.MINUTE), pl_rows(lake)) for _ in range(2))
    assert bytes(one.data) == bytes(other.data)
    assert one.name != other.name
    assert parquet.checksums(one.name) == parquet.checksums(other.name)


def pl_rows(store: LakeStore) -> pa.Table:
    files, name = store.storage.files, data_file(store)
    size = store.tables.newest("bars_1m").files["size"][0]
    frame = pl.DataFrame(parquet.read_columns(files, name, size, COLUMNS))
    return parquet.to_arrow(frame, bars_dataset(Resolution.MINUTE).file_schema)
