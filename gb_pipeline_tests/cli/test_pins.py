"""`gb pin`, `gb pins`, `gb unpin`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, day, minutes
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.exchanged import exchange


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path, clock=SetClock(datetime(2024, 2, 1, tzinfo=UTC)))
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 4))
    return store


def test_a_pin_is_made_listed_checked_and_forgotten(gb: Gb, store: LakeStore, tmp_path: Path) -> None:
    made = gb("pin", "first", "sim", "-r", "1m", "--json", "--lake", tmp_path)
    assert json.loads(made.out)["name"] == "first"
    told = gb("pins", "--verify", "--lake", tmp_path)
    assert (told.code, "as it was" in told.out) == (0, True)
    assert all(len(line) <= 80 for line in told.out.splitlines())
    exchange(
        store, pl.col("close") + Decimal("0.01"), where=pl.col("timestamp") == datetime(2024, 1, 2, 0, 1, tzinfo=UTC)
    )
    told = gb("pins", "--verify", "--lake", tmp_path)
    assert told.code == 1
    assert "1 bar differs" in told.err and "close was 101.75" in told.err
    [row] = gb("pins", "--verify", "--json", "--lake", tmp_path).json
    assert (row["holds"], row["differences"][0]["now_close"]) == (False, "101.76")
    assert gb("unpin", "first", "--lake", tmp_path).code == 0
    assert "there is no pin" in gb("pins", "--lake", tmp_path).err


def test_what_cannot_be_pinned_is_said(gb: Gb, store: LakeStore, tmp_path: Path) -> None:
    assert gb("pin", "a/b", "sim", "-r", "1m", "--lake", tmp_path).code == 2
    assert gb("pin", "first", "nope", "-r", "1m", "--lake", tmp_path).code == 1
    assert gb("unpin", "first", "--lake", tmp_path).code == 2


def test_a_pin_that_cannot_be_read_is_said(gb: Gb, store: LakeStore, tmp_path: Path) -> None:
    (tmp_path / "pins" / "momentum.json").mkdir(parents=True)
    (tmp_path / "pins" / "momentum.json" / "x.json").write_text("{}")
    told = gb("unpin", "momentum", "--lake", tmp_path)
    assert (told.code, "pin 'momentum' could not be" in told.err) == (1, True)


def test_a_damaged_pin_hides_no_other(gb: Gb, store: LakeStore, tmp_path: Path) -> None:
    assert gb("pin", "first", "sim", "-r", "1m", "--lake", tmp_path).code == 0
    (tmp_path / "pins" / "second.json").write_text("{")
    (tmp_path / "pins" / "folder").mkdir()
    (tmp_path / "pins" / "folder" / "third.json").write_text("{}")
    told = gb("pins", "--lake", tmp_path)
    assert (told.code, "first" in told.out, "pin 'second' cannot be read" in told.err) == (1, True, True)
    assert gb("unpin", "second", "--lake", tmp_path).code == 0
    assert gb("pins", "--lake", tmp_path).code == 0


def test_a_copy_keeps_the_pins_of_its_lake(gb: Gb, store: LakeStore, tmp_path: Path) -> None:
    gb("pin", "first", "sim", "-r", "1m", "--lake", tmp_path)
    copy = tmp_path.parent / f"{tmp_path.name} copy"
    assert gb("backup", copy, "--lake", tmp_path).code == 0
    for command in (("unpin", "first"), ("pin", "second", "sim", "-r", "1m")):
        told = gb(*command, "--lake", copy)
        assert (told.code, "is a copy of a lake" in told.err) == (1, True)
    assert [row["name"] for row in gb("pins", "--json", "--lake", copy).json] == ["first"]
