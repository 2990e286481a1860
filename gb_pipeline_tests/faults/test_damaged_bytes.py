"""Bits that flip, and files that were cut, emptied or blanked: found when they are used and by `verify`, and named."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

import pytest

from gb_pipeline_tests.faults.damage import NOT_VERIFIED, Damage, blank, damaged, empty, flip, shorten
from gb_pipeline_tests.faults.specimen import Specimen


@pytest.mark.parametrize("rounds", [1, pytest.param(50, marks=pytest.mark.long)])
def test_every_flipped_bit_is_named_or_means_nothing(tmp_path: Path, specimens: list[Specimen], rounds: int) -> None:
    chance, refused, tried = Random(rounds), Counter[str](), Counter[str]()
    for number, kind in product(range(rounds), kinds := sorted(specimens[0].files)):
        # In turn in the one and the other lake: every kind in each of them after two rounds.
        specimen = specimens[(number + kinds.index(kind)) % 2]
        name = chance.choice(specimen.files[kind])
        case = damaged(specimen, tmp_path / f"{number} {kind}", name, flip, chance)
        refused[kind.split(" ")[0]] += case.run(harmless=kind in NOT_VERIFIED) > 0
        tried[kind.split(" ")[0]] += 1
    flips = ", ".join(f"{kind} {refused[kind]} of {count} refused" for kind, count in tried.items())
    print(f"{tried.total()} flips: {flips}")
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
