"""A fetch of a range leaves removed sessions out, wherever they lie in it, and says so."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.ingest.job import Chunk
from gb_pipeline.ingest.removed import without_removed
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.quality.rules import BarRules

FIRST = date(2024, 1, 1)
AAPL = Symbol.equity("AAPL")


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 30)),
    st.integers(1, 31),
    st.sampled_from([(Resolution.MINUTE, "XNYS"), (Resolution.DAY, "XNYS"), (Resolution.WEEK, "24/7")]),
)
def test_the_parts_of_a_chunk_hold_every_other_session_once_and_no_removed_one(numbers, length, kind):
    rules = BarRules(resolution=kind[0], calendar=get_calendar(kind[1]))
    end = FIRST + timedelta(days=length)
    sessions = rules.calendar.expected(FIRST, end, rules.resolution, rules.alignment)["session"].unique().sort()
    gone = [day for day in sessions if (day - FIRST).days in numbers]
    removed = pl.DataFrame({"symbol": ["AAPL"] * len(gone), "session": gone}, schema_overrides={"session": pl.Date()})
    parts = without_removed([Chunk(0, AAPL, FIRST, end)], removed, rules)
    held = [day for part in parts for day in sessions if part.start <= day < part.end]
    assert held == [day for day in sessions if day not in gone]
    assert all(part.start < part.end for part in parts)
