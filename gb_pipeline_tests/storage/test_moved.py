"""A lake that changes underneath an open store, and what a repair remembers of what it could not keep."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gb_pipeline import DamagedLog, Lake, LakeStore, Resolution, Window
from gb_pipeline.errors import ConfigError, LakeError, WindowRefused
from gb_pipeline.lake.mending import mend
from gb_pipeline.lake.verification import verify
from gb_pipeline_tests.bars import minutes


def window(day: int) -> Window:
    return Window.of(date(2024, 1, day), date(2024, 1, day) + timedelta(days=1))


def write(store: LakeStore, day: int, *, base: int = 100) -> None:
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, window(day), minutes(f"2024-01-{day:02}", base=base))


def log(store: LakeStore) -> Path:
    return Path(store.storage.table("bars_1m"), "_delta_log")


def test_a_lake_that_was_moved_away_is_not_begun_anew_by_who_has_it_open(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path / "lake")
    write(store, 2)
    (tmp_path / "lake").rename(tmp_path / "elsewhere")
    for day in (2, 3):
        with pytest.raises(DamagedLog, match="moved, or replaced by an older copy"):
            write(store, day)
    assert not log(store).exists()
    assert Lake.open(tmp_path / "elsewhere").bars("BTC-USD", "1m").height == 1440


def test_a_log_that_vanished_or_went_back_takes_no_write(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path / "lake")
    write(store, 2)
    shutil.copytree(tmp_path / "lake", tmp_path / "backup")
    write(store, 3)
    write(store, 4)
    shutil.rmtree(tmp_path / "lake")
    shutil.copytree(tmp_path / "backup", tmp_path / "lake")
    with pytest.raises(DamagedLog, match="entry 2"):
        write(store, 5)
    # Opened again, the restored lake is what it is.
    again = LakeStore.at(tmp_path / "lake")
    write(again, 5)
    assert Lake(again).bars("BTC-USD", "1m").height == 2 * 1440


def test_a_replaced_entry_is_noticed_before_a_commit(tmp_path: Path) -> None:
    store, other = LakeStore.at(tmp_path / "one"), LakeStore.at(tmp_path / "two")
    write(store, 2)
    write(other, 3)
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    with pytest.raises(DamagedLog, match="the lake was replaced"):
        write(store, 4)


def test_an_entry_beyond_a_hole_is_damage(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for day in (2, 3, 4):
        write(store, day)
    shutil.rmtree(tmp_path / "log")
    (log(store) / f"{1:020}.json").unlink()
    found = verify(LakeStore.at(tmp_path))
    assert any("entry 1 is missing, and 1 entries lie beyond it" in damage.problem for damage in found.damages)
    (log(store) / f"{0:020}.json").unlink()
    with pytest.raises(DamagedLog, match="entry 0 is missing"):
        LakeStore.at(tmp_path).tables.newest("bars_1m")


def test_an_entry_of_another_program_is_named_and_set_aside(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(store, 2)
    write(store, 3)
    foreign = log(store) / f"{2:020}.json"
    foreign.write_text('{"commitInfo":{"operation":"WRITE","engineInfo":"delta-rs:py-1.6.6"}}\n', encoding="utf-8")
    again = LakeStore.at(tmp_path)
    with pytest.raises(DamagedLog, match="one that another program wrote"):
        Lake(again).bars("BTC-USD", "1m")
    done, lost = mend(again, verify(again))
    assert any("set aside" in sentence for sentence in done) and lost == []
    assert not foreign.exists()
    assert [path.name for path in (tmp_path / "log/bars_1m/set_aside").iterdir()] == [foreign.name]
    assert verify(again).ok
    write(again, 4)
    assert Lake(again).bars("BTC-USD", "1m").height == 3 * 1440


def test_mirrors_that_were_lost_with_a_checkpoint_are_all_made_again(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for number in range(103):
        write(store, 2 + number % 3, base=100 + number)
    shutil.rmtree(tmp_path / "log")
    again = LakeStore.at(tmp_path)
    assert not verify(again).ok
    mend(again, verify(again))
    assert verify(LakeStore.at(tmp_path)).damages == ()


def test_what_was_known_and_is_lost_is_refused_and_not_answered_with_less(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(store, 2)
    write(store, 3)
    lake = Lake(store)
    moment = lake.bars("BTC-USD", "1m")["known_at"].max()
    write(store, 2, base=101)
    ended = store.tables.newest("bars_1m").files.filter(~pl.col("is_current"))["path"].item()
    Path(store.storage.table("bars_1m"), ended).unlink()
    with pytest.raises(LakeError, match="restore it from a backup"):
        try:
            lake.bars("BTC-USD", "1m", as_of=moment)
        except LakeError as error:
            raise LakeError(str(error)) from None
    mend(store, verify(store))
    found = verify(store)
    assert found.ok and len(found.lost) == 1 and "1,440 versions" in found.lost[0]
    for again in (lake, Lake.open(tmp_path)):
        with pytest.raises(LakeError, match="is not known any more"):
            again.bars("BTC-USD", "1m", as_of=moment)
        with pytest.raises(LakeError, match="is not known any more"):
            again.sql("select count(*) from bars_1m", as_of=moment)
        for macro in ("bars_1m_as_of", "best_bars_1m_as_of"):
            query = f"select count(*) from {macro}(timestamptz '{{}}')"
            with pytest.raises(LakeError, match="is not known any more"):
                again.sql(query.format(moment.isoformat()))
            again.sql("select count(*) from symbol_data")
            with duckdb.connect(tmp_path / "catalog.duckdb", read_only=True) as plain:
                with pytest.raises(duckdb.Error, match="is not known any more"):
                    plain.sql(query.format(moment.isoformat())).fetchall()
                assert plain.sql(query.format("2100-01-01")).fetchall() == [(2 * 1440,)]
        # The day of which nothing is lost, and the present, are answered.
        assert again.bars("BTC-USD", "1m", "2024-01-03", as_of=moment).height == 1440
        assert again.bars("BTC-USD", "1m").height == 2 * 1440
    # A second repair remembers nothing twice.
    mend(store, verify(store))
    assert len(verify(store).lost) == 1


@pytest.mark.parametrize("symbols", [None, 5, b"BTC"])
def test_what_is_no_symbol_is_refused_by_our_own_error(tmp_path: Path, symbols: object) -> None:
    with pytest.raises(ConfigError, match="is not a symbol"):
        LakeStore.at(tmp_path).write_bars("sim", symbols, "1m", window(2), minutes("2024-01-02"))  # type: ignore[arg-type]


@pytest.mark.parametrize("frame", [None, [1], minutes("2024-01-02", 3).lazy()])
def test_what_is_no_frame_is_refused_by_our_own_error(tmp_path: Path, frame: object) -> None:
    with pytest.raises(WindowRefused, match="is not a Polars frame"):
        LakeStore.at(tmp_path).write_bars("sim", "BTC-USD", "1m", window(2), frame)  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [(date(1, 1, 1), date(1, 1, 2)), (date(9999, 12, 30), date(9999, 12, 31))])
def test_a_window_at_the_end_of_time_is_refused_by_our_own_error(tmp_path: Path, days: tuple[date, date]) -> None:
    with pytest.raises(ConfigError, match="years 2 to 9998"):
        LakeStore.at(tmp_path).write_bars("sim", "BTC-USD", "1m", Window.of(*days), minutes("2024-01-02", 3))
