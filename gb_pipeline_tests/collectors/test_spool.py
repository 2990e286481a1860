"""The spool keeps what it said it has, through torn records and full disks, and gives it to one process only."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors.spool import Segment, Spool
from gb_pipeline.errors import LakeError

SCHEMAS = {
    "trades": pa.schema([pa.field("number", pa.int64()), pa.field("price", pa.decimal128(18, 8))]),
    "notes": pa.schema([pa.field("text", pa.string())]),
}


def trades(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"number": numbers}).with_columns(pl.lit("1.5").cast(pl.Decimal(18, 8)).alias("price"))


def numbers(segment: Segment) -> list[int]:
    return [number for frame in segment.read("trades") for number in frame["number"]]


def test_what_was_appended_is_read_back_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMAS)
    assert spool.append([("trades", trades(1, 2)), ("notes", pl.DataFrame({"text": ["a"]}))]) == 3
    assert (
        spool.append([("trades", trades(3)), ("notes", pl.DataFrame({"text": []}, schema={"text": pl.String()}))]) == 1
    )
    spool.close()

    again = Spool(tmp_path, SCHEMAS)
    [segment] = again.segments()
    assert (segment.number, numbers(segment), segment.damage()) == (1, [1, 2, 3], 0)
    assert list(segment.tables()) == ["trades", "notes"]
    assert again.id == spool.id
    again.append([("trades", trades(4))])
    assert [item.number for item in again.segments()] == [1]
    sealed = again.seal()
    assert sealed is not None
    assert (sealed.number, numbers(sealed)) == (2, [4])
    again.close()


@given(data=st.data())
def test_nothing_is_complete_before_the_last_damage_in_the_midst_of_a_journal(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    spool = Spool(tmp_path_factory.mktemp("spool"), SCHEMAS)
    ends = []
    for number in range(4):
        spool.append([("trades", trades(number)), ("notes", pl.DataFrame({"text": [str(number)]}))])
        ends.append(spool.waiting_bytes())
    spool.close()
    [segment] = spool.segments()
    whole = segment.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))])
    segment.path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
    complete = [int(text) for frame in segment.read("notes", after_damage=True) for text in frame["text"]]
    lost = {0, 1, 2, 3} - set(numbers(segment))
    assert lost.isdisjoint(complete)
    hit = next(number for number, end in enumerate(ends) if place < end)
    assert set(complete) >= set(range(hit + 2, 4))
    assert complete == list(range(4)) if segment.damage() == 0 else hit not in complete or hit == 0


@given(data=st.data())
def test_a_journal_that_is_cut_short_or_damaged_gives_every_whole_record(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, SCHEMAS)
    ends = []
    for number in range(5):
        spool.append([("trades", trades(number))])
        ends.append(spool.waiting_bytes())
    spool.close()
    [segment] = spool.segments()
    whole = segment.path.read_bytes()
    place = data.draw(st.integers(ends[0], len(whole) - 1))
    hit = next(number for number, end in enumerate(ends) if place < end)
    if data.draw(st.booleans()):
        segment.path.write_bytes(whole[:place])
        assert numbers(segment) == list(range(hit))
    else:
        segment.path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))]) + whole[place + 1 :]
        )
        assert numbers(segment) == [number for number in range(5) if number != hit]
    assert segment.damage() > 0 or segment.path.stat().st_size in ends


def test_two_processes_cannot_write_one_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMAS)
    with pytest.raises(LakeError, match="another collector writes the spool"):
        Spool(tmp_path, SCHEMAS)
    spool.close()
    Spool(tmp_path, SCHEMAS).close()


def test_a_number_is_never_used_twice_and_a_lost_spool_has_another_id(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SCHEMAS)
    spool.append([("trades", trades(1))])
    segment = spool.seal()
    assert segment is not None
    segment.delete()
    spool.close()
    again = Spool(tmp_path, SCHEMAS)
    again.append([("trades", trades(2))])
    assert again.id == spool.id
    sealed = again.seal()
    assert sealed is not None
    assert sealed.number == 2
    again.close()
    (tmp_path / "spool.json").write_text("{", encoding="utf-8")
    same = Spool(tmp_path, SCHEMAS)
    assert same.id == spool.id
    same.append([("trades", trades(3))])
    assert [(item.number, item.spool_id) for item in same.segments()] == [(2, spool.id)]
    third = same.seal()
    assert third is not None
    assert third.number == 3
    sealed.delete()
    third.delete()
    same.close()
    (tmp_path / "spool.json").unlink()
    other = Spool(tmp_path, SCHEMAS)
    assert other.id != spool.id
    other.close()


def test_a_journal_that_is_being_made_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever commits sealed journals meanwhile would find the new one empty, and delete it."""
    spool = Spool(tmp_path, SCHEMAS)
    found: list[int] = []
    sync = os.fdatasync

    def look(handle: int) -> None:
        found.extend(segment.number for segment in spool.segments())
        sync(handle)

    monkeypatch.setattr(os, "fdatasync", look)
    for number in (1, 2):
        spool.append([("trades", trades(number))])
        spool.seal()
    assert found == [1, 1]
    spool.close()


def test_what_does_not_fit_the_disk_can_be_appended_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, SCHEMAS)
    spool.append([("trades", trades(1))])
    write, left = os.write, [40]

    def full(handle: int, data: bytes) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(handle, bytes(data)[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        spool.append([("trades", trades(2, 3))])
    monkeypatch.setattr(os, "write", write)
    spool.append([("trades", trades(2, 3))])
    segment = spool.seal()
    assert segment is not None
    assert (numbers(segment), segment.damage()) == ([1, 2, 3], 0)
    spool.close()
