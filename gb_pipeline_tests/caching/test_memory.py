"""Answers in memory: the last ones that were used, up to a size."""

from __future__ import annotations

from gb_pipeline.caching.memory import Memory, size_of
from gb_pipeline_tests.caching.conftest import frame_of


def test_what_was_used_longest_ago_goes_first() -> None:
    size = size_of(frame_of(0))
    memory = Memory(2.5 * size / 1e6)
    memory.put("a", frame_of(1))
    memory.put("b", frame_of(2))
    assert memory.get("a") is not None
    memory.put("c", frame_of(3))
    assert [memory.get(name) is not None for name in "abc"] == [True, False, True]
    assert memory.bytes == 2 * size <= memory.bound


def test_what_is_larger_than_the_bound_is_not_kept_and_displaces_nothing() -> None:
    memory = Memory(2 * size_of(frame_of(0)) / 1e6)
    memory.put("small", frame_of(1))
    memory.put("large", frame_of(2, rows=1000))
    assert (memory.get("large"), memory.answers) == (None, 1)


def test_who_changes_an_answer_does_not_change_what_is_kept() -> None:
    memory = Memory(1)
    given = frame_of(1)
    memory.put("a", given)
    given[0, "vwap"] = 7.0
    got = memory.get("a")
    assert got is not None and got.equals(frame_of(1))
    got[0, "vwap"] = 8.0
    got.insert_column(0, got["close"].alias("more"))
    got.columns = [name.upper() for name in got.columns]
    again = memory.get("a")
    assert again is not None and again.equals(frame_of(1))
