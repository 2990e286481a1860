"""Damages of a lake's files, and what has to become of each: every question is answered as before or refused by name.

Every damage is done to a copy of a specimen. Then the copy is asked: an answer is what it was, or an error of the lake that says
which file or table is damaged and what mends it. What is not damaged answers on, and `verify` names the damage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline_tests.faults.specimen import (
    BY_SQL,
    FIRST,
    NOT_BY_SQL,
    SECOND,
    WIDE,
    Answer,
    Specimen,
    ask,
    kind_of,
)

# The catalog is made anew by the next question.
NOT_VERIFIED = {"catalog"}
_TURNS = count()


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
        """Ask it everything; how many questions were refused. `verify` has to name the damage, unless it is harmless.

        Of the questions in SQL, each of which opens a catalog, one is asked: in turn one that the damage may concern, and one that
        it does not, different ones from case to case.
        """
        refused, turn = 0, next(_TURNS)
        groups = [[name for name in BY_SQL if self._may_fail(name) is needed] for needed in (True, False)]
        by_turn = [names for names in groups if names]
        names = by_turn[turn % len(by_turn)]
        in_turn = names[turn // len(by_turn) % len(names)]
        for question, answer in ask(self.root, [*NOT_BY_SQL, in_turn]).items():
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
