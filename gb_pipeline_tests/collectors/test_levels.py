"""Levels that stay text say what pairs say, and text of any other shape is read at once or refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gb_pipeline.collectors.levels import count_levels, keep_levels, level_columns, read_levels

_PLAIN = st.text("0123456789.", max_size=12)
_ANY = _PLAIN | st.text(max_size=6) | st.sampled_from(["1e3", '"', "\\", ",", "],[", '","', " 1"])
_SIDES = st.lists(
    st.lists(st.tuples(_PLAIN | _ANY, _PLAIN | _ANY), max_size=4) | st.just([("1.5", "2")] * 90), max_size=6
)


def kept(value: Any, *, compact: bool = True) -> Any:
    separators = (",", ":") if compact else (", ", ": ")
    return keep_levels(msgspec.Raw(json.dumps(value, separators=separators).encode()))


@given(_SIDES, st.booleans())
def test_columns_of_text_are_those_of_pairs(sides: list[list[tuple[str, str]]], compact: bool) -> None:
    texts = [kept(side, compact=compact) for side in sides]
    assert [read_levels(text) for text in texts] == sides
    assert [count_levels(text) for text in texts] == [len(side) for side in sides]
    counts, prices, sizes = level_columns(texts)
    assert counts.tolist() == [len(side) for side in sides]
    assert list(zip(prices, sizes, strict=True)) == [level for side in sides for level in side]


def test_plain_levels_stay_text_however_many_there_are() -> None:
    for count in (0, 1, 2, 64, 65, 1000):
        assert isinstance(kept([["64000.10", "0.001"]] * count), bytes)


_VALUES = st.recursive(
    st.none()
    | st.integers(0, 99)
    | st.floats(0, 9).map(lambda value: round(value, 2))
    | st.sampled_from(["1", "2.5", ""]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
@example([["1", "2"], 3])
@example([["1", 2]])
@example([["1", "2", "3"]])
@example([["1"]])
@example([1])
@example("12")
def test_text_is_kept_only_where_it_is_pairs_of_text(value: Any) -> None:
    is_pairs = isinstance(value, list) and all(
        isinstance(level, list) and len(level) == 2 and all(isinstance(number, str) for number in level)
        for level in value
    )
    if is_pairs:
        assert read_levels(kept(value)) == [tuple(level) for level in value]
    else:
        with pytest.raises(msgspec.MsgspecError):
            kept(value)


def test_a_level_of_three_numbers_is_no_level() -> None:
    with pytest.raises(ValueError, match="price and a size"):
        level_columns([[("1", "2", "3")]])  # type: ignore[list-item]
    counts, prices, _ = level_columns([])
    assert counts.dtype == np.int64
    assert prices.is_empty()
