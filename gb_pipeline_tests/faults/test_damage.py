"""Bits that flip, files that vanish, shrink or change places: found when they are used and by `verify`, and named.

Every damage is done to a copy of a small lake that has everything in it. Then every question is asked: an answer is what it was,
or an error of the lake that says which file or table is damaged and what mends it. What is not damaged answers on.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.mending import Lost, mend
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.faults.specimen import (
    FIRST,
    QUESTIONS,
    SECOND,
    SOURCE,
    WIDE,
    Answer,
    Specimen,
    ask,
    fresh,
    kind_of,
    many_sessions,
    settled,
)

# The catalog is made anew by the next question.
NOT_VERIFIED = {"catalog"}


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> list[Specimen]:
    folder = tmp_path_factory.mktemp("specimens")
    return [settled(folder / "settled"), fresh(folder / "fresh")]


@dataclass(frozen=True)
class Case:
    """A copy with a damage in one or two files."""

    specimen: Specimen
    root: Path
    names: tuple[Path, ...]
    damage: str

    def __str__(self) -> str:
        return f"{self.damage} in {', '.join(map(str, self.names))}"

    @property
    def kinds(self) -> set[str]:
        return {kind_of(name) for name in self.names}

    def run(self, *, harmless: bool = False) -> int:
        """Ask everything; how many questions were refused. `verify` has to name the damage, unless it is harmless."""
        refused = 0
        for question, answer in ask(self.root).items():
            truth = self.specimen.answers[question]
            assert isinstance(truth, pl.DataFrame)
            if isinstance(answer, pl.DataFrame):
                assert answer.equals(truth), f"{self}: {question} is answered wrongly"
                continue
            refused += 1
            assert self._may_fail(question), f"{self}: {question} has nothing to do with it: {answer}"
            assert self._is_named(answer), f"{self}: {question} does not name it: {answer}"
        report = verify(LakeStore.at(self.root))
        named = [damage for damage in report.damages if self._is_about(damage.table, damage.file)]
        assert harmless or named, f"{self}: verify does not name it: {report}"
        return refused

    def _is_named(self, error: Answer) -> bool:
        """By its file, or by its table where the log is damaged, with what mends it."""
        assert isinstance(error, LakeError)
        files = [name for name in self.names if kind_of(name).startswith("data")]
        if files:
            return (
                any(name.name in error.what and _series(name) in error.what for name in files)
                and "gb verify" in error.fix
            )
        return any(kind.split(" ")[-1] in error.what for kind in self.kinds) and "gb verify" in error.fix

    def _is_about(self, table: str, file: str) -> bool:
        return any(table == kind.split(" ")[-1] for kind in self.kinds) and (
            not file or any(str(name).endswith(file) for name in self.names)
        )

    def _may_fail(self, question: str) -> bool:
        """Whether a question needs one of the damaged files."""
        return any(_needs(question, name) for name in self.names)


def _series(name: Path) -> str:
    """The series of a file, as far as its folders tell it."""
    values = dict(part.split("=") for part in name.parts if "=" in part)
    return ", ".join(values[key] for key in ("source", "symbol") if key in values)


def _needs(question: str, name: Path) -> bool:
    what, _, table = kind_of(name).partition(" ")
    if table == "bars_1m" and what == "data":
        others = {FIRST, SECOND} - {name.parts[3].removeprefix("symbol=")}
        return (
            "1m" in question.split() and not any(other in question for other in (*others, WIDE))
        ) or question in _VERSIONS
    if table in {"bars_1m", "bars_1m_wide"}:
        # A series may have gone wide: what the other table holds has to be known.
        return "1m" in question.split() or question in {*_VERSIONS, *_ABOUT}
    if table == "bars_1d":
        return "1d" in question.split() or question in {*_VERSIONS, *_ABOUT}
    # Whether a split has reached all bars of an answer is known from the actions and the ledger.
    prices = question.split(maxsplit=1)[0] in {FIRST, SECOND, WIDE, "1d"} and "sql" not in question
    if table == "sessions":
        return prices or question in _ABOUT
    if table == "corporate_actions":
        return prices or question == "actions"
    return question == table


_VERSIONS = {"withdrawn", "restatements"}
_ABOUT = {"catalog", "catalog files", "gaps", "symbols", "coverage 1m", "coverage 1m as of", "coverage 1d"}

Damage = Callable[[bytes, Random], bytes]


def flip(data: bytes, chance: Random) -> bytes:
    """One bit, in the last tenth of the file half of the time: that is where Parquet keeps what it knows of the rest."""
    first = 0 if chance.random() < 0.5 else len(data) * 9 // 10
    place = chance.randrange(first, len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def shorten(data: bytes, chance: Random) -> bytes:
    """Cut off somewhere."""
    return data[: chance.randrange(len(data))]


def empty(_data: bytes, _chance: Random) -> bytes:
    """Nothing is left."""
    return b""


def blank(data: bytes, chance: Random) -> bytes:
    """A stretch of zeros, as a disk gives for what it never wrote."""
    start = chance.randrange(len(data))
    end = min(len(data), start + 512)
    return data[:start] + bytes(end - start) + data[end:]


def damaged(specimen: Specimen, target: Path, name: Path, damage: Damage, chance: Random) -> Case:
    copy = specimen.copy(target, own=(name,))
    before = (copy / name).read_bytes()
    after = damage(before, chance)
    while after == before:
        after = damage(before, chance)
    (copy / name).write_bytes(after)
    return Case(specimen, copy, (name,), damage.__name__)


def removed(specimen: Specimen, target: Path, name: Path) -> Case:
    copy = specimen.copy(target)
    (copy / name).unlink()
    return Case(specimen, copy, (name,), "removal")


def swapped(specimen: Specimen, target: Path, names: tuple[Path, Path]) -> Case:
    copy = specimen.copy(target, own=names)
    first, second = (copy / name for name in names)
    first.rename(copy / "aside")
    second.rename(first)
    (copy / "aside").rename(second)
    return Case(specimen, copy, names, "swap")


def harmless_without(specimen: Specimen, name: Path) -> bool:
    """The newest mirror is made by the next commit; what is older than a checkpoint may be vacuumed."""
    kind = kind_of(name)
    what, _, table = kind.partition(" ")
    seal = LakeStore.at(specimen.root).tables[table].checkpoints.seal() if table else None
    number = name.name.partition(".")[0]
    older = number.isdigit() and seal is not None and int(number) < seal.version
    return (
        kind in NOT_VERIFIED
        or (what == "mirror" and (older or name == specimen.files[kind][-1]))
        or (what == "entry" and older and name == specimen.files[kind][0])
    )


@pytest.mark.parametrize("flips", [48, pytest.param(1500, marks=pytest.mark.long)])
def test_every_flipped_bit_is_named_or_means_nothing(tmp_path: Path, specimens: list[Specimen], flips: int) -> None:
    chance, refused, tried = Random(flips), Counter[str](), Counter[str]()
    for number in range(flips):
        specimen = specimens[number % 2]
        kinds = sorted(specimen.files)
        # A step that no number of kinds shares visits all kinds of both lakes in turn.
        kind = kinds[number // 2 * 11 % len(kinds)]
        name = chance.choice(specimen.files[kind])
        case = damaged(specimen, tmp_path / str(number), name, flip, chance)
        refused[kind.split(" ")[0]] += case.run(harmless=kind in NOT_VERIFIED) > 0
        tried[kind.split(" ")[0]] += 1
    print(f"{flips} flips: " + ", ".join(f"{kind} {refused[kind]} of {count} refused" for kind, count in tried.items()))
    # Each case has shown that its flip is named or means nothing; most bytes of data mean something.
    assert 2 * refused["data"] > tried["data"]


@pytest.mark.parametrize(
    ("damage", "rounds"),
    [(empty, 1), *(pytest.param(damage, 12, marks=pytest.mark.long) for damage in (shorten, blank))],
)
def test_files_that_were_cut_emptied_or_blanked_are_named(
    tmp_path: Path, specimens: list[Specimen], damage: Damage, rounds: int
) -> None:
    chance = Random(rounds)
    for number, specimen in enumerate(specimens[-1:] if rounds == 1 else specimens * (rounds // 2)):
        for kind, names in specimen.files.items():
            case = damaged(specimen, tmp_path / f"{number} {kind}", chance.choice(names), damage, chance)
            case.run(harmless=kind in NOT_VERIFIED)


def test_files_that_vanished_are_named(tmp_path: Path, specimens: list[Specimen]) -> None:
    for number, specimen in enumerate(specimens[-1:]):
        for kind, names in specimen.files.items():
            for name in {names[0], names[-1]}:
                case = removed(specimen, tmp_path / f"{number} {kind} {name.name}", name)
                case.run(harmless=harmless_without(specimen, name))


def test_files_that_changed_places_are_named(tmp_path: Path, specimens: list[Specimen]) -> None:
    for number, specimen in enumerate(specimens):
        for kind, names in specimen.files.items():
            pair = names[0], names[-1]
            if len({(specimen.root / name).read_bytes() for name in pair}) == 2:
                swapped(specimen, tmp_path / f"{number} {kind}", pair).run()


@pytest.mark.parametrize("what", ["data", "entry", "mirror", "checkpoint", "seal"])
def test_files_that_changed_places_with_those_of_another_table_are_named(
    tmp_path: Path, specimens: list[Specimen], what: str
) -> None:
    files = specimens[1].files
    swapped(specimens[1], tmp_path / "copy", (files[f"{what} bars_1d"][0], files[f"{what} sessions"][0])).run()


@pytest.mark.parametrize("table", ["bars_1m", "bars_1d", "sessions", "quarantine", "corporate_actions"])
def test_a_table_that_vanished_is_missed(tmp_path: Path, specimens: list[Specimen], table: str) -> None:
    for number, specimen in enumerate(specimens):
        copy = specimen.copy(tmp_path / str(number))
        shutil.rmtree(copy / "lake" / table)
        names = (specimen.files[f"entry {table}"][0],)
        assert Case(specimen, copy, names, "loss of the whole table").run()
        with pytest.raises(LakeError, match=f"table {table}: .*(missing|vanished|lost)"):
            LakeStore.at(copy).tables.newest(table)


@pytest.mark.parametrize(
    "damage", [removed, *(pytest.param(damage, marks=pytest.mark.long) for damage in (flip, empty))]
)
def test_a_damaged_log_is_mended_to_what_it_was(tmp_path: Path, specimens: list[Specimen], damage: Any) -> None:
    chance, mended = Random(3), 0
    for number, specimen in enumerate(specimens[-1:]):
        for kind, names in specimen.files.items():
            if kind.startswith(("data", "catalog")):
                continue
            name, target = chance.choice(names), tmp_path / f"{number} {kind}"
            case = (
                removed(specimen, target, name)
                if damage is removed
                else damaged(specimen, target, name, damage, chance)
            )
            store = LakeStore.at(case.root)
            done, lost = mend(store, verify(store))
            assert not lost
            assert verify(LakeStore.at(case.root)).ok, case
            answers = ask(case.root)
            for question, truth in specimen.answers.items():
                assert same(answers[question], truth), f"{case}: {question} after {done}: {answers[question]}"
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
            store = LakeStore.at(case.root)
            for session in item.sessions:
                fetch_again(store, item, truth, session)
        assert verify(LakeStore.at(case.root)).ok
        for question in [f"{FIRST} 1m", f"{SECOND} 1m", "1d"]:
            assert held_by_the_vendor(ask(case.root)[question]).equals(held_by_the_vendor(specimen.answers[question]))


@pytest.mark.parametrize("make", [settled, many_sessions])
@pytest.mark.parametrize("damage", [flip, empty])
def test_a_damaged_ledger_is_learnt_again_from_the_vendor(
    tmp_path: Path, make: Callable[[Path], Specimen], damage: Damage
) -> None:
    specimen = make(tmp_path / "lake")
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
            for session in item.sessions:
                fetch_again(LakeStore.at(case.root), item, bars, session)
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


def fetch_again(store: LakeStore, item: Lost, truth: pl.DataFrame, session: date) -> None:
    """What the vendor says of a session: everything that it has not withdrawn."""
    numbers = ["open", "high", "low", "close", "volume"]
    rows = truth.filter(
        (pl.col("symbol") == item.symbol)
        & (pl.col("timestamp").dt.date() == session)
        & ~pl.col("withdrawn").fill_null(False)
    ).select("symbol", "timestamp", *(pl.col(name).cast(pl.String) for name in numbers))
    store.write_bars(
        SOURCE,
        item.symbol,
        item.resolution,
        Window.of(session, session + timedelta(days=1)),
        rows,
        rules=BarRules(resolution=item.resolution),
    )


def held_by_the_vendor(answer: Answer) -> pl.DataFrame:
    assert isinstance(answer, pl.DataFrame)
    held = answer.filter(~pl.col("withdrawn").fill_null(False))
    return held.select("symbol", "timestamp", "open", "high", "low", "close", "volume")
