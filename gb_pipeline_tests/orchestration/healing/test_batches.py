"""What is due becomes few runs that hold all of it, and nothing that has to wait."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.orchestration.healing.batches import FEW, Batch, join_batches

KEYS = [f"2024-{month:02d}-{day:02d}" for month in range(1, 7) for day in range(1, 29)]
NOBODY = pl.DataFrame(schema={"symbol": pl.String(), "key": pl.String()})


def frame(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=NOBODY.schema, orient="row")


def asked(batches: list[Batch]) -> list[tuple[str, str]]:
    place = {key: number for number, key in enumerate(KEYS)}
    return [
        (symbol, key)
        for batch in batches
        for symbol in batch.symbols
        for key in KEYS[place[batch.first] : place[batch.last] + 1]
    ]


def test_a_week_without_a_vendor_is_one_run_of_five_hundred_symbols():
    codes = [f"S{number:03d}" for number in range(500)]
    due = frame([(code, key) for code in codes for key in KEYS[10:17]])
    assert join_batches(due, NOBODY, KEYS, 100) == [Batch(tuple(codes), KEYS[10], KEYS[16])]


def test_the_newest_partitions_come_first_and_no_run_is_longer_than_it_may_be():
    batches = join_batches(frame([("A", key) for key in KEYS[:25]]), NOBODY, KEYS, 10)
    assert [(one.first, one.last) for one in batches] == [
        (KEYS[20], KEYS[24]),
        (KEYS[10], KEYS[19]),
        (KEYS[0], KEYS[9]),
    ]


def test_gaps_that_are_scattered_over_many_series_are_few_runs_nevertheless():
    pairs = [(f"S{number % 50:02d}", KEYS[number * 37 % len(KEYS)]) for number in range(600)]
    batches = join_batches(frame(pairs), NOBODY, KEYS, 100)
    assert len(batches) == 2
    assert set(pairs) <= set(asked(batches))


def test_partitions_that_there_are_not_are_left_out():
    assert join_batches(frame([("A", "1999-01-01")]), NOBODY, KEYS, 100) == []


_PAIRS = st.lists(st.tuples(st.sampled_from([f"S{n}" for n in range(8)]), st.sampled_from(KEYS[:30])), max_size=90)


@given(due=_PAIRS, held=_PAIRS, most=st.sampled_from([1, 7, 100]))
def test_everything_that_is_due_is_asked_for_once_and_nothing_that_is_held(
    due: list[tuple[str, str]], held: list[tuple[str, str]], most: int
) -> None:
    batches = join_batches(frame(due), frame(held), KEYS, most)
    found = asked(batches)
    assert len(found) == len(set(found))
    assert set(due) <= set(found)
    assert not set(found) & (set(held) - set(due))
    place = {key: number for number, key in enumerate(KEYS)}
    assert all(place[one.last] - place[one.first] < most for one in batches)
    if len(batches) <= FEW // 2 and not held:
        assert len(found) >= len(set(due))
