"""However a reader cuts its rows, whole sessions are written, each once, with little in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.archive import ArchiveSeries
from gb_pipeline.formats.parts import split_into_parts
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules

# Around the change to summer time, a weekend within.
FIRST = datetime(2024, 3, 7, tzinfo=UTC)
RULES = BarRules(resolution=Resolution.MINUTE_30, calendar=get_calendar("XNYS"))
HALF_HOURS = get_calendar("XNYS").expected(FIRST.date(), (FIRST + timedelta(days=7)).date(), Resolution.MINUTE_30)[
    "timestamp"
]


def bars(stamps: pl.Series) -> pl.DataFrame:
    numbers = {name: pl.lit("1") for name in ("open", "high", "low", "close", "volume")}
    return stamps.cast(pl.Datetime("us", "UTC")).alias("timestamp").to_frame().with_columns(**numbers)


def series(chunks: list[pl.DataFrame], taken: list[int] | None = None) -> ArchiveSeries:
    def read() -> Iterator[pl.DataFrame]:
        for number, chunk in enumerate(chunks):
            if taken is not None:
                taken.append(number)
            yield chunk

    return ArchiveSeries(Symbol.equity("AAPL"), Resolution.MINUTE_30, "a file", read)


@given(st.lists(st.integers(0, len(HALF_HOURS)), max_size=8), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_parts_are_whole_sessions_that_touch_and_hold_every_row_once(cuts, most):
    rows = bars(HALF_HOURS)
    edges = [0, *sorted(cuts), rows.height]
    chunks = [rows.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
    parts = list(split_into_parts(series(chunks), RULES, None, most=most))
    assert pl.concat([part.rows["timestamp"] for part in parts]).to_list() == rows["timestamp"].to_list()
    sessions = [set(RULES.calendar.session_of(part.rows["timestamp"], RULES.resolution)) for part in parts]
    assert sum(map(len, sessions)) == len(set.union(*sessions)), "a session was cut"
    for before, after in itertools.pairwise(parts):
        assert before.window.end == after.window.start
    for part in parts:
        assert all(stamp in part.window for stamp in part.rows["timestamp"])


def test_no_more_is_read_than_a_part_needs():
    chunks = [bars(HALF_HOURS.slice(start, 13)) for start in range(0, len(HALF_HOURS), 13)]
    taken: list[int] = []
    parts = split_into_parts(series(chunks, taken), RULES, None, most=13)
    next(parts)
    assert taken == [0, 1]


def test_a_window_leaves_out_what_begins_outside_of_it():
    window = Window(FIRST + timedelta(days=1), FIRST + timedelta(days=2))
    (part,) = split_into_parts(series([bars(HALF_HOURS)]), RULES, window)
    assert set(part.rows["timestamp"].dt.date()) == {(FIRST + timedelta(days=1)).date()}


def test_rows_out_of_order_are_sorted_within_a_frame_and_refused_from_one_to_the_next():
    shuffled = bars(HALF_HOURS).sample(fraction=1.0, shuffle=True, seed=1)
    (part,) = split_into_parts(series([shuffled]), RULES, None)
    assert part.rows["timestamp"].is_sorted()
    late, early = bars(HALF_HOURS.slice(20)), bars(HALF_HOURS.slice(0, 20))
    parts = split_into_parts(series([late, early]), RULES, None, most=20)
    first = next(parts)
    with pytest.raises(FormatRefused, match="a file: its times go back, to 2024-03-07"):
        list(parts)
    assert first.rows.height


def test_rows_of_no_session_are_parts_as_well():
    """As with a wrong calendar: each of them will be refused, and none is lost."""
    sunday = datetime(2024, 3, 10, tzinfo=UTC)
    stamps = pl.Series([sunday + timedelta(minutes=30 * number) for number in range(40)])
    chunks = [bars(stamps.slice(start, 10)) for start in range(0, 40, 10)]
    parts = list(split_into_parts(series(chunks), RULES, None, most=20))
    assert sum(part.rows.height for part in parts) == 40
    assert all(before.window.end <= after.window.start for before, after in itertools.pairwise(parts))


def test_what_was_read_before_a_file_breaks_off_comes_first():
    def read() -> Iterator[pl.DataFrame]:
        yield bars(HALF_HOURS.slice(0, 10))
        raise FormatRefused("it breaks off")

    broken = ArchiveSeries(Symbol.equity("AAPL"), Resolution.MINUTE_30, "a file", read)
    parts = split_into_parts(broken, RULES, None)
    assert next(parts).rows.height == 10
    with pytest.raises(FormatRefused, match="it breaks off"):
        next(parts)
