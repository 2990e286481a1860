"""What damage leaves behind is mended or fetched again, and nothing is written on top of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.mending import LostSessions, mend
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.faults.damage import Damage, blank, damaged, empty, flip, removed
from gb_pipeline_tests.faults.specimen import (
    BY_SQL,
    FIRST,
    NOT_BY_SQL,
    QUESTIONS,
    SECOND,
    SOURCE,
    Answer,
    Specimen,
    ask,
    many_sessions,
)


@pytest.mark.parametrize(
    "damage", [removed, *(pytest.param(damage, marks=pytest.mark.long) for damage in (flip, empty))]
)
def test_a_damaged_log_is_mended_to_what_it_was(tmp_path: Path, specimens: list[Specimen], damage: Any) -> None:
    chance, mended = Random(3), 0
    _, specimen = specimens
    for number, (kind, names) in enumerate(specimen.files.items()):
        if kind.startswith(("data", "catalog")):
            continue
        name, target = chance.choice(names), tmp_path / kind
        case = removed(specimen, target, name) if damage is removed else damaged(specimen, target, name, damage, chance)
        store = LakeStore.at(case.root)
        done, lost = mend(store, verify(store))
        assert not lost
        assert verify(LakeStore.at(case.root)).ok, case
        for question, answer in ask(case.root, [*NOT_BY_SQL, BY_SQL[number % len(BY_SQL)]]).items():
            assert same(answer, specimen.answers[question]), f"{case}: {question} after {done}: {answer}"
        mended += bool(done)
    assert mended > 10


def same(answer: Answer, truth: Answer) -> bool:
    return isinstance(answer, pl.DataFrame) and isinstance(truth, pl.DataFrame) and answer.equals(truth)


@pytest.mark.parametrize("table", ["bars_1m", "bars_1d"])
def test_a_damaged_file_is_taken_out_and_fetched_again(tmp_path: Path, specimens: list[Specimen], table: str) -> None:
    chance = Random(4)
    for number, specimen in enumerate(specimens):
        current = [name for name in specimen.files[f"data {table}"] if "is_current=true" in name.parts]
        name = chance.choice(current)
        case = damaged(specimen, tmp_path / str(number), name, blank, chance)
        store = LakeStore.at(case.root)
        _, lost = mend(store, verify(store))
        assert lost
        for item in lost:
            truth = specimen.answers["1d" if table == "bars_1d" else f"{item.symbol} 1m"]
            assert isinstance(truth, pl.DataFrame)
            fetch_again(LakeStore.at(case.root), item, truth)
        assert verify(LakeStore.at(case.root)).ok
        for question, answer in ask(case.root, [f"{FIRST} 1m", f"{SECOND} 1m", "1d"]).items():
            assert held_by_the_vendor(answer).equals(held_by_the_vendor(specimen.answers[question]))


@pytest.mark.parametrize("lake", ["settled", "of many sessions"])
@pytest.mark.parametrize("damage", [flip, empty])
def test_a_damaged_ledger_is_learnt_again_from_the_vendor(
    tmp_path: Path, specimens: list[Specimen], lake: str, damage: Damage
) -> None:
    specimen = specimens[0] if lake == "settled" else many_sessions(tmp_path / "lake")
    bars, coverage = told(specimen.root)
    files = [path.relative_to(specimen.root) for path in (specimen.root / "lake/sessions").rglob("*.parquet")]
    name = max(files, key=lambda item: ("resolution=1d" in item.parts, "period=2023" in item.parts, item))
    case = damaged(specimen, tmp_path / "copy", name, damage, Random(6))
    rounds = 0
    while not (report := verify(LakeStore.at(case.root))).ok:
        rounds += 1
        assert rounds <= 3, report
        for item in mend(LakeStore.at(case.root), report)[1]:
            assert item.resolution is Resolution.DAY
            fetch_again(LakeStore.at(case.root), item, bars)
    assert rounds
    found = told(case.root)
    assert held_by_the_vendor(found[0]).equals(held_by_the_vendor(bars))
    assert found[1].equals(coverage)


def told(root: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Daily bars, and what is said of their sessions."""
    lake = Lake(LakeStore.at(root))
    return QUESTIONS["1d"](lake), QUESTIONS["coverage 1d"](lake).select("symbol", "session", "status", "fingerprint")


@pytest.mark.parametrize("what", ["data", "entry", "checkpoint"])
def test_nothing_is_written_on_top_of_damage(tmp_path: Path, specimens: list[Specimen], what: str) -> None:
    chance, compactions = Random(5), 0
    for number, specimen in enumerate(specimens):
        names = [name for name in specimen.files[f"{what} bars_1m"] if f"symbol={SECOND}" not in name.parts]
        name = [name for name in names if "is_current=false" not in name.parts][-1]
        case = damaged(specimen, tmp_path / str(number), name, flip, chance)
        store = LakeStore.at(case.root)
        before = sorted(path for path in case.root.rglob("*") if path.is_file() and "locks" not in path.parts)
        stamps = specimen.answers[f"{FIRST} 1m"].filter(pl.col("symbol") == FIRST)["timestamp"].dt.date().unique()
        with pytest.raises(LakeError) as refused:
            for session in stamps.sort():
                rows = minutes(str(session), 7, symbol=FIRST).with_columns(pl.lit("1").alias("volume"))
                store.write_bars(SOURCE, FIRST, Resolution.MINUTE, day(str(session)), rows)
        assert case._is_named(refused.value), refused.value
        fresh_store = LakeStore.at(case.root)
        for item in fresh_store.compaction_candidates(min_files=2) if what == "data" else []:
            folders = [
                f"{key}={str(value).lower() if key == 'is_current' else value}" for key, value in item.values.items()
            ]
            if item.table == "bars_1m" and set(folders) <= set(name.parts):
                with pytest.raises(LakeError):
                    fresh_store.compact(item)
                compactions += 1
        after = sorted(path for path in case.root.rglob("*") if path.is_file() and "locks" not in path.parts)
        assert after == before or what == "data", "sessions of other files may be written"
        daily = minutes("2024-03-01", 1, symbol=FIRST, step=86_400)
        rules = BarRules(resolution=Resolution.DAY)
        assert (
            store.write_bars(SOURCE, FIRST, Resolution.DAY, day("2024-03-01"), daily, rules=rules).version is not None
        )


def fetch_again(store: LakeStore, item: LostSessions, truth: pl.DataFrame) -> None:
    """What the vendor says of the days from the first to the last lost session: everything that it has not withdrawn."""
    numbers = ["open", "high", "low", "close", "volume"]
    rows = truth.filter(
        (pl.col("symbol") == item.symbol)
        & pl.col("timestamp").dt.date().is_between(min(item.sessions), max(item.sessions))
        & ~pl.col("withdrawn").fill_null(False)
    ).select("symbol", "timestamp", *(pl.col(name).cast(pl.String) for name in numbers))
    window = Window.of(min(item.sessions), max(item.sessions) + timedelta(days=1))
    store.write_bars(SOURCE, item.symbol, item.resolution, window, rows, rules=BarRules(resolution=item.resolution))


def held_by_the_vendor(answer: Answer) -> pl.DataFrame:
    assert isinstance(answer, pl.DataFrame)
    held = answer.filter(~pl.col("withdrawn").fill_null(False))
    return held.select("symbol", "timestamp", "open", "high", "low", "close", "volume")
