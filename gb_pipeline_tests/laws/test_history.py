"""What is told of the past as a whole: changes lead from one state to another, each state has a fingerprint, and pins stay."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import NoDataInRange, UnknownSeries
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.quality.fingerprint import combine
from gb_pipeline_tests.laws.answers import SLOTS
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.model import SOURCE
from gb_pipeline_tests.laws.test_as_of import STEPS
from gb_pipeline_tests.laws.world import Compact, Step, Upkeep, World

State = dict[tuple[object, ...], tuple[object, ...]]


@law(st.lists(STEPS, min_size=6, max_size=16), st.data(), few=6)
def test_changes_between_two_moments_lead_from_one_state_to_the_other(steps: list[Step], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in steps:
            world.take(step)
        lake = Lake(world.store)
        for kind in SLOTS:
            moments = sorted({copy.moment for copy in world.copies[kind]})
            pairs = [(one, other) for one in moments for other in moments if one < other]
            for since, until in data.draw(st.permutations(pairs))[:4]:
                feed = lake.changes(since, resolution=kind, until=until)
                assert applied(state(lake, kind, since), feed) == state(lake, kind, until)
                assert feed.filter((pl.col("known_at") <= since) | (pl.col("known_at") > until)).is_empty()
            assert applied({}, lake.changes(None, resolution=kind)) == state(lake, kind, None)


@law(st.lists(STEPS, min_size=6, max_size=16), few=4)
def test_the_fingerprint_of_a_moment_is_that_of_its_bars(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in steps:
            world.take(step)
        lake = Lake(world.store)
        for kind in SLOTS:
            for copy in world.copies[kind]:
                found = lake.fingerprint(resolution=kind, as_of=copy.moment, verify=True)
                assert found.is_proved, found.mismatches
                told = copy.coverage.drop_nulls("fingerprint").filter(pl.col("actual") > 0)
                assert found.sessions["fingerprint"].to_list() == told["fingerprint"].to_list()
                assert found.series["fingerprint"].to_list() == [
                    combine(rows.select("session", "fingerprint"))
                    for rows in told.partition_by("source", "symbol", maintain_order=True)
                ]


@law(st.lists(STEPS, min_size=3, max_size=8), st.lists(STEPS, min_size=3, max_size=8), few=5)
def test_a_pin_replays_to_the_same_numbers_whatever_happens_after_it(before: list[Step], after: list[Step]) -> None:
    """Restatements, withdrawals, series that go wide, compaction, vacuum: history is never removed."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in before:
            world.take(step)
        pinned = {}
        for kind in SLOTS:
            held = world.copies[kind][-1].bars if world.copies[kind] else pl.DataFrame()
            if held.height:
                codes = [f"{SOURCE}:{code}" for code in held["symbol"].unique().sort()]
                Lake(world.store).pin(f"pin-{kind}", codes, kind)
                pinned[kind] = Lake(world.store).bars(None, kind, source=SOURCE).drop("source").rows()
        for step in [*after, Compact(0), Upkeep("vacuum")]:
            world.take(step)
        for kind, rows in pinned.items():
            replay = Lake(world.store).replay(f"pin-{kind}")
            assert replay.bars(None, kind).drop("source").rows() == rows


def state(lake: Lake, kind: str, moment: datetime | None) -> State:
    """Content, whether it is withdrawn, and since when it is known, of every bar."""
    names = ["symbol", "timestamp", *CONTENT, "withdrawn", "known_at"]
    try:
        rows = lake.bars(None, kind, source=SOURCE, columns=names, as_of=moment)
    except (NoDataInRange, UnknownSeries):
        return {}
    return {row[:2]: (*row[2:-2], bool(row[-2]), row[-1]) for row in rows.iter_rows()}


def applied(held: State, feed: pl.DataFrame) -> State:
    """What a downstream job makes of a state and of changes; it trusts no change that does not begin at what it has."""
    after = dict(held)
    for row in feed.iter_rows(named=True):
        key = row["symbol"], row["timestamp"]
        old, new = (tuple(row[f"{which}_{name}"] for name in CONTENT) for which in ("old", "new"))
        before = after.get(key)
        assert (before is None) == (row["kind"] == "added")
        if row["kind"] == "removed":
            assert before is not None
            assert before[:-2] == old
            del after[key]
            continue
        if row["kind"] == "corrected":
            assert before is not None
            assert before[:-2] == old
            after[key] = (*new, before[-2], row["known_at"])
            continue
        if before is not None:
            was_withdrawn = before[-2]
            assert before[:-2] == old
            expected = "restated" if old != new else "returned" if was_withdrawn else "withdrawn"
            assert row["kind"] == expected
        after[key] = (*new, row["kind"] == "withdrawn", row["known_at"])
    return after
