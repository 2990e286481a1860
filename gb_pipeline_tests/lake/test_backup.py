"""A copy of a lake is the lake: only what is new is copied, nothing of another lake is touched, and kills leave what can go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.backup import CopyRefused, CopyReport, plan_copy
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import table as table_module
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.fault_points import COPY_POINTS
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.store import Store, running_store


def write(
    store: LakeStore, date: str = "2024-01-02", edition: int = 1, rows: int = 30, symbol: str = "BTC-USD"
) -> WriteReport:
    frame = minutes(date, rows, symbol=symbol).with_columns(pl.lit(str(edition)).alias("volume"))
    return store.write_bars("sim", symbol, Resolution.MINUTE, day(date), frame)


def copy(source: LakeStore, destination: LakeStore, *, remove: bool = False) -> CopyReport:
    return plan_copy(source, LakeStore(destination.storage)).run(remove=remove)


def bars(store: LakeStore, **options: object) -> pl.DataFrame:
    return Lake(LakeStore(store.storage)).bars("BTC-USD", "1m", **options)  # type: ignore[arg-type]


@pytest.fixture
def lake(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path / "lake")
    for date in ("2024-01-02", "2024-01-03"):
        write(store, date)
    write(store, "2024-01-03", edition=2)
    write(store, "2024-01-02", rows=5, symbol="ETH-USD")
    RawStore(store.storage).put(b"an answer")
    return store


@pytest.fixture(params=["folder", "bucket"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], LakeStore]:
    """Places for copies, in folders or in a bucket."""
    if request.param == "folder":
        return lambda name: LakeStore.at(tmp_path / name)
    server = request.getfixturevalue("object_store")
    return lambda name: LakeStore.at(server.bucket(name), state=tmp_path / f"state-{name}")


@pytest.fixture(scope="module")
def object_store():
    with running_store() as server:
        yield server


def test_a_copy_is_the_lake_with_its_history(lake: LakeStore, elsewhere: Callable[[str], LakeStore]) -> None:
    there = elsewhere("copy")
    report = copy(lake, there)
    assert report.fingerprint == Lake(lake).fingerprint().whole
    assert bars(there).equals(bars(lake))
    moment = bars(lake)["known_at"].min()
    assert bars(there, as_of=moment).equals(bars(lake, as_of=moment))
    assert Lake(there).coverage().equals(Lake(lake).coverage())
    assert RawStore(there.storage).get(RawStore(lake.storage).put(b"an answer")) == b"an answer"
    assert Lake(LakeStore(there.storage)).sql("select count(*) from bars_1m").item() == 65
    assert verify(LakeStore(there.storage)).ok
    # No place is stored in it.
    stored = b"".join(there.storage.files.read(name) for name in ("copy.json", "gb_lake.json"))
    assert str(lake.storage.root).encode() not in stored
    # Nobody writes to it by mistake, as it could not be continued then.
    with pytest.raises(LakeError, match="is a copy of a lake"):
        write(LakeStore(Storage.at(there.storage.root, state=there.storage.state)), "2024-01-04")
    assert copy(lake, there).files == 0


def test_the_first_write_of_a_lake_may_be_years_of_sessions(
    elsewhere: Callable[[str], LakeStore], tmp_path: Path
) -> None:
    """So many rows of the ledger wait as a file, which only the entry of the bars names: the ledger has no table yet."""
    lake, there = LakeStore.at(tmp_path / "lake"), elsewhere("copy")
    frame = minutes("2020-01-01", 1_500, step=86_400)
    lake.write_bars("sim", "BTC-USD", Resolution.DAY, day("2020-01-01", 1_500), frame)
    assert "sessions" not in {snapshot.dataset.name for snapshot in lake.tables.existing()}
    report = copy(LakeStore(lake.storage), there)
    assert report.fingerprint == Lake(lake).fingerprint().whole
    assert Lake(LakeStore(there.storage)).coverage().equals(Lake(lake).coverage())
    assert copy(LakeStore(lake.storage), there).files == 0
    back = LakeStore.at(tmp_path / "back")
    plan_copy(LakeStore(there.storage), LakeStore(back.storage), restore=True).run()
    assert verify(LakeStore(back.storage)).ok and Lake(back).bars("BTC-USD", "1d").height == 1_500


def test_only_what_is_new_is_copied(lake: LakeStore, elsewhere: Callable[[str], LakeStore]) -> None:
    there = elsewhere("copy")
    copy(lake, there)
    assert copy(lake, there).files == 0
    write(lake, "2024-01-04")
    report = copy(lake, there)
    assert [(plan.table, len(plan.data), len(plan.log)) for plan in report.plans if plan.data] == [("bars_1m", 1, 2)]
    assert bars(there).equals(bars(lake))


def test_a_copy_in_an_empty_place_can_be_written_after_a_restore(
    lake: LakeStore, elsewhere: Callable[[str], LakeStore], tmp_path: Path
) -> None:
    there, expected = elsewhere("copy"), bars(lake)
    copy(lake, there)
    shutil.rmtree(tmp_path / "lake")
    restored = LakeStore.at(tmp_path / "lake")
    assert plan_copy(LakeStore(there.storage), restored, restore=True).run().fingerprint
    assert bars(restored).equals(expected)
    assert write(restored, "2024-01-04").stored == 30
    assert verify(restored).ok


def test_compaction_checkpoints_and_vacuum_come_along(
    lake: LakeStore, elsewhere: Callable[[str], LakeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 3)
    there = elsewhere("copy")
    copy(lake, there)
    for number in range(4, 12):
        write(lake, f"2024-01-{number:02}")
    for partition in lake.compaction_candidates(min_files=2):
        lake.compact(partition)
    later = lake.clock() + timedelta(days=60)
    assert any(report.files for report in lake.vacuum(dry_run=False, now=later))
    report = copy(lake, there, remove=True)
    assert report.removed
    assert bars(there).equals(bars(lake))
    assert verify(LakeStore(there.storage)).ok

    def names(store: LakeStore) -> set[str]:
        return {name for folder in ("lake", "log") for name, _, _ in store.storage.files.list(folder)}

    assert names(there) == names(lake)


def test_another_lake_and_one_that_is_ahead_are_left_alone(lake: LakeStore, tmp_path: Path) -> None:
    other = LakeStore.at(tmp_path / "other")
    write(other)
    for one, another in ((other, lake), (lake, other)):
        with pytest.raises(CopyRefused, match="another table bars_1m"):
            plan_copy(one, another, restore=True)
        with pytest.raises(CopyRefused, match="is a lake that others write to, and no copy"):
            plan_copy(one, another)
    there = LakeStore.at(tmp_path / "copy")
    plan_copy(lake, there, restore=True).run()
    write(LakeStore(there.storage), "2024-01-09")
    with pytest.raises(CopyRefused, match="is at version"):
        plan_copy(lake, LakeStore(there.storage), restore=True)
    with pytest.raises(CopyRefused, match="onto itself"):
        plan_copy(lake, LakeStore(lake.storage))


def test_another_lake_is_known_by_its_tables_where_the_logs_have_nothing_in_common(
    lake: LakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 2)
    for number in range(4, 12):
        write(lake, f"2024-01-{number:02}")
    lake.vacuum(dry_run=False, now=lake.clock() + timedelta(days=60))
    other = LakeStore.at(tmp_path / "other")
    write(other)
    entries = {int(path.stem) for path in (tmp_path / "lake/lake/bars_1m/_delta_log").glob("*.json")}
    assert 0 not in entries
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    with pytest.raises(CopyRefused, match="another table"):
        plan_copy(lake, LakeStore(other.storage), restore=True)
    assert {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()} == before


def test_a_lake_that_went_on_by_itself_is_known_where_the_logs_have_nothing_in_common(
    lake: LakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 2)
    copy(lake, LakeStore.at(tmp_path / "copy"))
    for name in ("one", "two"):
        plan_copy(LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / name), restore=True).run()
    write(LakeStore.at(tmp_path / "one"), "2024-01-31")
    for number in range(4, 15):
        write(lake, f"2024-01-{number:02}")
    lake.vacuum(dry_run=False, now=lake.clock() + timedelta(days=60))
    copy(lake, LakeStore.at(tmp_path / "copy"), remove=True)
    with pytest.raises(CopyRefused, match=r"knows of 1 sessions .*, such as sim:BTC-USD 1m of 2024-01-31"):
        plan_copy(LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / "one"), restore=True)
    plan_copy(LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / "two"), restore=True).run()
    assert bars(LakeStore.at(tmp_path / "two")).equals(bars(lake))


def test_a_damaged_file_is_named_and_not_copied(lake: LakeStore, tmp_path: Path) -> None:
    file = next((tmp_path / "lake" / "lake" / "bars_1m").rglob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    there = LakeStore.at(tmp_path / "copy")
    with pytest.raises(LakeError, match=file.name):
        copy(lake, there)
    assert not list((tmp_path / "copy").rglob(file.name))


@pytest.mark.parametrize("remove", [False, True])
def test_files_of_somebody_else_are_left_alone(lake: LakeStore, tmp_path: Path, remove: bool) -> None:
    there = tmp_path / "there"
    (there / "raw").mkdir(parents=True)
    (there / "raw" / "mine.csv").write_text("precious")
    with pytest.raises(CopyRefused, match=r"is not empty \(there is raw\)"):
        plan_copy(lake, LakeStore.at(there)).run(remove=remove)
    assert [path.name for path in there.rglob("*")] == ["raw", "mine.csv"]


def test_objects_of_somebody_else_are_left_alone(lake: LakeStore, object_store: Store, tmp_path: Path) -> None:
    there = LakeStore.at(object_store.bucket("there"), state=tmp_path / "state")
    there.storage.files.put("raw/mine.csv", b"precious")
    with pytest.raises(CopyRefused, match=r"is not empty \(there is raw\)"):
        plan_copy(lake, there)
    assert there.storage.files.size("copy.json") is None


def test_a_place_that_cannot_be_looked_at_is_an_error_of_the_copy(
    lake: LakeStore, object_store: Store, tmp_path: Path
) -> None:
    there = LakeStore.at(object_store.bucket("there"), state=tmp_path / "state")
    answer = b"<Error><Code>AccessDenied</Code><Message>No lists for you.</Message></Error>"
    object_store.says = lambda request: ("403 Forbidden", answer, len(answer)) if request.is_listing else None
    try:
        with pytest.raises(LakeError, match=r"cannot be looked at: .*No lists for you"):
            plan_copy(lake, there)
    finally:
        object_store.heal()


@pytest.mark.parametrize("place", ["lake", "lake/inner", "."])
def test_a_copy_lies_beside_what_it_is_a_copy_of(lake: LakeStore, tmp_path: Path, place: str) -> None:
    for restore in (False, True):
        with pytest.raises(CopyRefused, match=r"onto itself|lie in one another"):
            plan_copy(lake, LakeStore.at(tmp_path / place), restore=restore)


def damage(folder: Path) -> Path:
    """Flip a bit in a file of bars."""
    file = min((folder / "lake" / "bars_1m").rglob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


def test_what_is_damaged_in_a_copy_is_copied_again_where_every_byte_is_read(lake: LakeStore, tmp_path: Path) -> None:
    there = LakeStore.at(tmp_path / "copy")
    copy(lake, there)
    damage(tmp_path / "copy")
    for name in ("lake/bars_1m/_delta_log", "log/bars_1m"):
        entry = min((tmp_path / "copy" / name).glob("*.json"))
        entry.write_bytes(entry.read_bytes().replace(b"2024", b"2025"))
    assert not verify(LakeStore(there.storage)).ok
    report = plan_copy(lake, LakeStore(there.storage), every_byte=True).run()
    assert report.files == 3
    assert verify(LakeStore(there.storage)).ok


def test_the_newest_entry_of_a_copy_may_be_damaged(lake: LakeStore, tmp_path: Path) -> None:
    there = LakeStore.at(tmp_path / "copy")
    copy(lake, there)
    newest = max((tmp_path / "copy" / "lake" / "bars_1m" / "_delta_log").glob("*.json"))
    newest.write_bytes(newest.read_bytes().replace(b"2024", b"2025"))
    assert copy(lake, there).files == 1
    assert verify(LakeStore(there.storage)).ok


@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_backup_is_restored_as_far_as_it_goes(lake: LakeStore, tmp_path: Path, lost: bool) -> None:
    expected = bars(lake)
    copy(lake, LakeStore.at(tmp_path / "copy"))
    file = damage(tmp_path / "copy")
    if lost:
        file.unlink()
    restored = LakeStore.at(tmp_path / "restored")
    report = plan_copy(LakeStore.at(tmp_path / "copy"), restored, restore=True).run()
    assert [Path(name).name for name in report.damaged] == [file.name]
    assert gb("verify", "--repair", "--lake", str(tmp_path / "restored")).returncode in {0, 1}
    assert verify(LakeStore.at(tmp_path / "restored")).ok
    kept = bars(LakeStore.at(tmp_path / "restored"))
    assert kept.height > 0
    assert kept.join(expected, on=expected.columns, how="anti", nulls_equal=True).is_empty()


def test_of_two_copies_to_one_place_the_one_that_began_first_ends(lake: LakeStore, tmp_path: Path) -> None:
    copy(lake, LakeStore.at(tmp_path / "copy"))
    first = plan_copy(LakeStore(lake.storage), LakeStore.at(tmp_path / "copy"))
    write(lake, "2024-01-05")
    second = plan_copy(LakeStore(lake.storage), LakeStore.at(tmp_path / "copy"))
    with pytest.raises(CopyRefused, match=r"another copy to .* has begun"):
        first.run(remove=True)
    assert second.run(remove=True).files == 3
    assert verify(LakeStore.at(tmp_path / "copy")).ok


def test_a_restore_takes_no_entry_of_a_writer_away(lake: LakeStore, tmp_path: Path) -> None:
    there, restored = LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / "restored")
    copy(lake, there)
    plan_copy(there, restored, restore=True).run()
    write(lake, "2024-01-05")
    copy(lake, there)
    planned = plan_copy(LakeStore.at(tmp_path / "copy"), restored, restore=True)
    assert write(LakeStore.at(tmp_path / "restored"), "2024-01-06").stored == 30
    with pytest.raises(CopyRefused, match="was written at the destination while it was copied"):
        planned.run()
    assert bars(LakeStore.at(tmp_path / "restored"))["timestamp"].dt.day().max() == 6
    assert verify(LakeStore.at(tmp_path / "restored")).ok


def test_what_is_restored_in_part_is_read_and_not_written_until_the_restore_is_done(
    lake: LakeStore, elsewhere: Callable[[str], LakeStore]
) -> None:
    there = elsewhere("restored")
    plan_copy(lake, there, restore=True).run()
    for edition in (3, 4):
        write(lake, "2024-01-04", edition)
    left = 3

    def cut(_name: str, _size: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan_copy(lake, there, restore=True).run(on_file=cut)
    verify(LakeStore(there.storage))
    refresh_catalog(LakeStore(there.storage))
    writer = LakeStore(Storage.at(there.storage.root, state=there.storage.state))
    with pytest.raises(LakeError, match=r"a restore to .* is not done"):
        write(writer, "2024-01-09")
    with pytest.raises(CopyRefused, match="a restore to"):
        copy(lake, there)
    assert plan_copy(lake, LakeStore(there.storage), restore=True).run().fingerprint == Lake(lake).fingerprint().whole
    assert bars(there).equals(bars(lake))
    # The same writer, who was refused before.
    assert write(writer, "2024-01-09").stored == 30


def test_a_copy_beside_a_writer_is_the_state_at_one_moment(lake: LakeStore, tmp_path: Path) -> None:
    stop = threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write(LakeStore(lake.storage), "2024-01-03", edition=10 + number)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        there = LakeStore.at(tmp_path / "copy")
        for _ in range(4):
            copy(LakeStore(lake.storage), there)
            assert verify(LakeStore(there.storage)).ok
            assert bars(there).filter(pl.col("timestamp").dt.day() == 3)["volume"].n_unique() == 1
    finally:
        stop.set()
        writer.join()
    copy(lake, there)
    assert bars(there).equals(bars(lake))


@pytest.mark.parametrize("fails_at", range(0, 40, 3))
def test_a_copy_that_is_cut_off_anywhere_can_be_read_and_goes_on(
    lake: LakeStore, tmp_path: Path, fails_at: int
) -> None:
    there = LakeStore.at(tmp_path / "copy")
    copy(lake, there)
    before = bars(there)
    for number in range(4, 8):
        write(lake, f"2024-01-{number:02}")
        # Their files are replaced at once, and none of the versions in between can be copied whole.
        write(lake, "2024-01-03", edition=number)
    for partition in lake.compaction_candidates(min_files=2):
        lake.compact(partition)
    left = fails_at

    class Cut(Exception):
        pass

    def cut(_name: str, _size: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut

    try:
        plan_copy(lake, LakeStore(there.storage)).run(remove=True, on_file=cut)
    except Cut:
        halfway = bars(there)
        assert halfway.equals(before) or halfway.equals(bars(lake))
        problems = [damage.problem for damage in verify(LakeStore(there.storage)).damages]
        assert all("as a copy leaves it that was cut off" in problem for problem in problems)
    copy(lake, there)
    assert bars(there).equals(bars(lake))
    assert verify(LakeStore(there.storage)).ok


def test_a_lake_that_was_moved_works_at_once(lake: LakeStore, tmp_path: Path) -> None:
    refresh_catalog(lake)
    expected = bars(lake)
    (tmp_path / "lake").rename(tmp_path / "moved")
    moved = LakeStore.at(tmp_path / "moved")
    assert bars(moved).equals(expected)
    assert Lake(moved).sql("select count(*) from bars_1m").item() == 65
    assert str(tmp_path / "lake").encode() not in b"".join(
        file.read_bytes() for file in (tmp_path / "moved" / "lake").rglob("*") if file.is_file()
    )


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("command", ["backup", "sync", "restore"])
def test_a_copy_that_is_killed_goes_on(lake: LakeStore, tmp_path: Path, command: str, kills: int) -> None:
    chance, killed = Random(kills), 0
    kills = max(1, kills // 3)
    source, target = tmp_path / "lake", tmp_path / "copy"
    options = [str(target), "--lake", str(source)] if command != "restore" else [str(source), "--lake", str(target)]
    while killed < kills:
        number = killed + 4
        write(LakeStore(lake.storage), f"2024-{2 + number // 28:02}-{1 + number % 28:02}")
        point = chance.choice([*COPY_POINTS, "entry_copied:2"])
        ended = gb(command, *options, environment={"GB_FAULT_POINT": point})
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        killed += 1
    ended = gb(command, *options)
    assert ended.returncode == 0, ended.stderr
    assert "both hold the same" in ended.stderr
    there = LakeStore.at(target)
    assert bars(there).equals(bars(lake))
    assert verify(LakeStore(there.storage)).ok


def gb(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gb_pipeline.cli", *arguments]
    return subprocess.run(command, env=os.environ | (environment or {}), capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_million_bars_and_a_new_day(tmp_path: Path) -> None:
    lake, there = LakeStore.at(tmp_path / "lake"), LakeStore.at(tmp_path / "copy")
    for month in range(25):
        date = f"{2022 + month // 12}-{1 + month % 12:02}-01"
        frame = minutes(date, 28 * 1440)
        lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date, 28), frame)
    whole = copy(lake, there)
    write(lake, "2024-06-01", rows=1440)
    new_day = copy(lake, there)
    assert sum(len(plan.data) for plan in new_day.plans if plan.table == "bars_1m") == 1
    assert new_day.bytes < whole.bytes / 20
    restored = LakeStore.at(tmp_path / "restored")
    assert (
        plan_copy(LakeStore(there.storage), restored, restore=True).run().fingerprint == Lake(lake).fingerprint().whole
    )
    for name in ("one", "two"):
        assert copy(lake, LakeStore.at(tmp_path / name), remove=True).fingerprint == new_day.fingerprint
