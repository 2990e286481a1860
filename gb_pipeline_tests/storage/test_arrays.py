"""Text of a dictionary, written out as views, is the text that went in."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from gb_pipeline.storage.arrays import to_series, to_views

_TEXTS = st.lists(
    st.none() | st.sampled_from(["", "buy", "sell", "twelve bytes", "thirteen byte"]) | st.text(max_size=20)
)


@given(_TEXTS, st.integers(0, 3), st.integers(0, 3))
@example(["thirteen byte", None, "", "é" * 7, "thirteen byte"], 1, 0)
@example([None, None], 0, 0)
def test_views_of_a_dictionary_are_its_text(texts: list[str | None], before: int, behind: int) -> None:
    array = pa.array(texts, pa.string()).dictionary_encode()
    cut = array.slice(before, max(0, len(array) - before - behind))
    wanted = texts[before : before + len(cut)]
    assert to_views(cut).to_pylist() == wanted
    series = to_series(to_views(cut))
    assert series.dtype == pl.String
    assert series.to_list() == wanted


def test_the_dictionary_may_be_a_part_of_another_one() -> None:
    words = pa.array(["left out", "a text that is longer than a view", "sell"]).slice(1)
    array = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int32()), words)
    assert to_views(array).to_pylist() == ["sell", "a text that is longer than a view", None]
