"""Every code of a refused row says what it means and whether the row can become a bar."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gb_pipeline.market.window import Window
from gb_pipeline.quality import reasons
from gb_pipeline.quality.model import bar_model
from gb_pipeline.quality.releasing import MEANINGS, WAIVED, Release, how_to_release
from gb_pipeline.quality.rules import BarRules

DOCS = Path(__file__).parents[2] / "docs" / "quality.md"


def every_code() -> set[str]:
    """Those that are named for all, and the names of the checks of bars."""
    named = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    window = Window.of("2024-01-02", "2024-01-03")
    return named | {check.name for check in bar_model(BarRules(), window, datetime.now(UTC)).checks}


def test_every_code_has_a_meaning_and_no_meaning_is_of_no_code() -> None:
    assert set(MEANINGS) == every_code()


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_a_code_says_in_words_what_is_wrong_and_what_to_do(code: str) -> None:
    meaning = MEANINGS[code]
    assert len(meaning.words.split()) > 3
    assert bool(meaning.fix) == (meaning.release is Release.NOT)
    assert (code in WAIVED) == (meaning.release is Release.AS_IT_IS)


def test_the_docs_have_the_table_of_all_codes() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    told = {code: (words, release) for code, words, release in table if code in MEANINGS}
    assert told == {code: (meaning.words, meaning.release.value) for code, meaning in MEANINGS.items()}


def test_the_hardest_of_several_codes_decides() -> None:
    assert how_to_release(["misaligned"]) is Release.AS_IT_IS
    assert how_to_release(["misaligned", "no_bar"]) is Release.CORRECTED
    assert how_to_release(["no_bar", "outside_session", "misaligned"]) is Release.NOT
    assert how_to_release(["of_a_later_version"]) is Release.NOT
