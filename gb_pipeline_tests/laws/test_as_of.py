"""`as_of=t` is a full copy taken at t, whatever happens before and after."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import strategies as st

from gb_pipeline_tests.laws.answers import BAD, SLOTS, SYMBOLS
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.world import Again, Compact, Correct, Delete, Fail, Step, Tick, Upkeep, World, Write

KINDS = st.sampled_from(["1m", "1m", "1d"])
SOME_SYMBOLS = st.sampled_from([SYMBOLS, SYMBOLS[:1], SYMBOLS[1:]])
# Most bars of an answer say what they said before; None is a bar that the vendor does not have.
CODES = st.sampled_from([0, 0, 0, 0, 1, 2, 3, None, BAD])
JUMPS = st.sampled_from([timedelta(microseconds=1), timedelta(hours=1), timedelta(hours=-3), timedelta(days=40)])


@st.composite
def writes(draw: st.DrawFn) -> Write:
    kind = draw(KINDS)
    size = len(SLOTS[kind])
    first, last = sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))))
    places = [(symbol, slot) for symbol in SYMBOLS for slot in range(size)]
    codes = draw(st.tuples(*[CODES] * len(places)))
    return Write(
        resolution=kind,
        symbols=draw(SOME_SYMBOLS),
        first=first,
        last=last,
        codes={place: code for place, code in zip(places, codes, strict=True) if code is not None},
        late=draw(st.sampled_from([None, None, None, 0, 1, 2])),
        whole=draw(st.booleans()),
        wide=draw(st.sampled_from([False] * 9 + [True])),
    )


STEPS: st.SearchStrategy[Step] = st.one_of(
    writes(),
    writes(),
    writes(),
    st.builds(Again, KINDS, st.integers(0, 5)),
    st.builds(Fail, KINDS, SOME_SYMBOLS),
    st.builds(Compact, st.integers(0, 9)),
    st.builds(Upkeep, st.sampled_from(["vacuum", "checkpoint", "reopen"])),
    st.builds(Tick, JUMPS),
    st.builds(Correct, KINDS, st.integers(0, 11), st.sampled_from(["1.5", "2.5", "3.5", None])),
    st.builds(Delete, KINDS, st.sampled_from(SYMBOLS), st.booleans()),
)


@law(st.lists(STEPS, min_size=8, max_size=20), few=8)
def test_as_of_is_a_full_copy_taken_at_that_moment(steps: list[Step]) -> None:
    """Bars and coverage, standard and wide, minutes and days, of two symbols, against a model in dictionaries."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in steps:
            world.take(step)
        world.expect_past()
