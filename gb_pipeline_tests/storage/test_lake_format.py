"""A lake says its format: later ones are refused, earlier ones migrated, and one that this release wrote stays readable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import fetches, quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import lake_format
from gb_pipeline.storage.files import Files, LocalFiles
from gb_pipeline_tests.bars import day, minutes

OLD = Path(__file__).parent / "lake_of_format_1"


def write(store: LakeStore, date: str = "2024-01-02") -> None:
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date), minutes(date, 5))


def test_a_new_lake_says_its_format(tmp_path: Path) -> None:
    write(LakeStore.at(tmp_path))
    assert json.loads((tmp_path / "gb_lake.json").read_text()) == {"format": lake_format.FORMAT}


@pytest.mark.parametrize(("text", "says"), [
    ('{"format": 2}', "is a lake of format 2, and gb_pipeline"), ('{"format": 0}', "damaged"), ('{"format": true}', "damaged"),
    ('{"format": 1, "migrating_to": 2}', "is a lake of format 2, and gb_pipeline"),
    ('{"format": 1, "migrating_to": 1}', "damaged"), ("", "damaged"),
    ("[]", "damaged"), ('{"format": "1"}', "damaged"), ("\0\0", "damaged"),
])  # fmt: skip
def test_a_lake_that_this_release_does_not_know_is_neither_read_nor_written(
    tmp_path: Path, text: str, says: str
) -> None:
    write(LakeStore.at(tmp_path))
    (tmp_path / "gb_lake.json").write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for act in (
        lambda: Lake.open(tmp_path).bars("BTC-USD", "1m"),
        lambda: Lake.open(tmp_path).sql("select 1 from bars_1m"),
        lambda: write(LakeStore.at(tmp_path), "2024-01-03"),
    ):
        with pytest.raises(LakeError, match=says):
            act()
    kept = {path: path.read_bytes() for path in before}
    assert kept == before


def test_a_lake_without_the_mark_is_of_format_1(tmp_path: Path) -> None:
    write(LakeStore.at(tmp_path))
    (tmp_path / "gb_lake.json").unlink()
    assert Lake.open(tmp_path).bars("BTC-USD", "1m").height == 5
    assert lake_format.migrate(LocalFiles(tmp_path), "here") == (1, 1)


def test_a_migration_goes_step_by_step_and_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LakeStore.at(tmp_path))
    files, taken = LocalFiles(tmp_path), []

    def first(there: Files) -> None:
        taken.append(1)
        there.put("of_two", b"2")

    def second(_: Files) -> None:
        taken.append(2)
        if taken.count(2) == 1:
            monkeypatch.setattr(lake_format, "FORMAT", 2)
            with pytest.raises(LakeError, match="is a lake of format 3, and gb_pipeline"):
                Lake.open(tmp_path)
            monkeypatch.setattr(lake_format, "FORMAT", 3)
            raise KeyboardInterrupt

    monkeypatch.setattr(lake_format, "STEPS", {1: first, 2: second})
    monkeypatch.setattr(lake_format, "FORMAT", 3)
    with pytest.raises(LakeError, match="gb migrate"):
        Lake.open(tmp_path).bars("BTC-USD", "1m")
    with pytest.raises(KeyboardInterrupt):
        lake_format.migrate(files, "here")
    assert lake_format.read_mark(files) == (2, 3)
    with pytest.raises(LakeError, match="gb migrate"):
        write(LakeStore.at(tmp_path))
    assert lake_format.migrate(files, "here") == (2, 3)
    assert taken == [1, 2, 2]
    assert lake_format.read_mark(files) == (3, None)
    assert Lake.open(tmp_path).bars("BTC-USD", "1m").height == 5


def test_a_lake_that_this_release_wrote_is_read_and_written_on(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake")
    bars = lake.bars("BTC-USD", "1m")
    assert bars["volume"].cast(pl.Int64).unique().to_list() == [2]
    assert lake.restatements().height == 5
    assert lake.bars("AAPL", "1d", source="sim").height == 2
    assert quarantine.read(lake.store.tables).height == 5
    assert fetches.read(lake.store.tables).height == 1
    assert lake.corporate_actions("AAPL").height == 1
    assert lake.coverage()["status"].to_list() == ["complete", "complete", "partial", "refused"]
    assert verify(LakeStore.at(tmp_path / "lake")).ok
    write(lake.store, "2024-01-03")
    assert lake.bars("BTC-USD", "1m").height == 10
