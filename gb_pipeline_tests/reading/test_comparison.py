"""Two sources, or a source's intraday and daily bars, are compared session by session; a scorecard counts what differs."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import Resolution, UnknownSeries, Window
from gb_pipeline.reading.comparison import reconcile, roll_up
from gb_pipeline.reading.comparisons import find_comparisons
from gb_pipeline.reading.scorecard import read_scorecard

FIRST, SECOND = "2024-01-01", "2024-01-02"
HOURS = [str(100 + hour) for hour in range(24)]


@pytest.fixture
def two(lake, write):
    """The second source has the first day as the first one has it, and a higher close on the second; a third day is its own."""
    for day in (FIRST, SECOND):
        write("one", "A-USD", day, HOURS, resolution="1h")
    write("two", "A-USD", FIRST, HOURS, resolution="1h")
    write("two", "A-USD", SECOND, [*HOURS[:-1], "130"], resolution="1h")
    write("two", "A-USD", "2024-01-03", HOURS, resolution="1h")
    return lake


def test_sessions_that_both_have_are_compared_and_the_difference_is_a_share_of_the_first(two):
    found = reconcile(two, ("one", "two"), "1h")

    assert found["session"].to_list() == [date(2024, 1, 1), date(2024, 1, 2)]
    assert found["agrees"].to_list() == [True, False]
    assert found.row(0, named=True) == found.row(0, named=True) | dict.fromkeys(
        ("open", "high", "low", "close", "volume"), 0.0
    )
    assert found["close"][1] == pytest.approx((130 - 123) / 123) and found["open"][1] == 0


def test_what_is_within_the_tolerance_is_no_difference(two):
    assert reconcile(two, ("one", "two"), "1h", price_tolerance=0.06)["agrees"].all()


@pytest.mark.parametrize(("volume", "agrees"), [("1.04", True), ("1.06", False)])
def test_volumes_have_a_tolerance_of_their_own(lake, received, write, volume, agrees):
    write("one", "A-USD", FIRST, HOURS, resolution="1h")
    frame = received(FIRST, HOURS, step=timedelta(hours=1), volume=volume)
    lake.write_bars("two", "A-USD", Resolution.parse("1h"), Window.of(date(2024, 1, 1), date(2024, 1, 2)), frame)
    assert reconcile(lake, ("one", "two"), "1h")["agrees"].to_list() == [agrees]


def test_sources_without_a_common_session_have_nothing_to_compare(lake, write):
    write("one", "A-USD", FIRST, HOURS, resolution="1h")
    write("two", "B-USD", FIRST, HOURS, resolution="1h")
    assert reconcile(lake, ("one", "two"), "1h").is_empty()


def test_a_source_that_nobody_knows_is_refused(two):
    with pytest.raises(UnknownSeries, match="three"):
        reconcile(two, ("one", "three"), "1h")


@pytest.mark.parametrize(("close", "agrees"), [("123", True), ("124", False)])
def test_intraday_bars_add_up_to_the_daily_bar_or_not(lake, write, close, agrees):
    write("one", "A-USD", FIRST, HOURS, resolution="1h")
    window = {"resolution": "1d"}
    write("daily", "A-USD", FIRST, [close], **window)

    found = roll_up(lake, "one", "1h", daily_source="daily", price_tolerance=0.5, volume_tolerance=1.0)
    assert found["agrees"].to_list() == [True]
    exact = roll_up(lake, "one", "1h", daily_source="daily", price_tolerance=0.0, volume_tolerance=1.0)
    assert (exact["close"][0] == 0) is agrees


def test_a_source_is_compared_with_all_that_has_its_symbols_and_with_its_own_daily_bars(two, write):
    write("two", "A-USD", FIRST, ["123"], resolution="1d")
    write("three", "A-USD", FIRST, ["123"], resolution="1d")
    write("three", "B-USD", FIRST, HOURS, resolution="1h")

    def names(*chosen, **more):
        return [item.name for item in find_comparisons(two, *chosen, **more)]

    assert names("one") == ["one 1h and three 1d", "one 1h and two 1h"]
    assert names("two") == ["two 1d and three 1d", "two 1h and one 1h", "two 1h and three 1d", "two 1h and two 1d"]
    assert names("two", "two") == ["two 1h and two 1d"]
    assert names("two", "one", resolution="1h") == ["two 1h and one 1h"]
    assert names("three", symbols=["B-USD"]) == [] == names("nobody")


def test_a_comparison_over_months_is_that_of_the_whole_range(lake, write):
    for day in ("2023-12-31", FIRST, "2024-02-29", "2024-03-01"):
        write("one", "A-USD", day, HOURS, resolution="1h")
        write("two", "A-USD", day, [*HOURS[:-1], "130" if day.endswith("01") else "123"], resolution="1h")
    [comparison] = find_comparisons(lake, "one")

    found = comparison.run(lake)
    assert found["agrees"].to_list() == [True, False, True, False]
    assert_frame_equal(found, reconcile(lake, ("one", "two"), "1h"))
    assert comparison.run(lake, start=FIRST, end="2024-02-01")["session"].to_list() == [date(2024, 1, 1)]
    assert comparison.run(lake, start="2025-01-01").is_empty()


def test_what_is_nothing_in_both_is_alike_and_what_is_something_in_one_is_not(lake, received):
    for source, volume in (("one", "0"), ("two", "0"), ("three", "1")):
        frame = received(FIRST, HOURS, step=timedelta(hours=1), volume=volume)
        lake.write_bars(source, "A-USD", "1h", Window.of(date(2024, 1, 1), date(2024, 1, 2)), frame)
    assert reconcile(lake, ("one", "two"), "1h").select("volume", "agrees").row(0) == (0.0, True)
    assert reconcile(lake, ("one", "three"), "1h").select("volume", "agrees").row(0) == (None, False)


def test_a_scorecard_says_of_each_source_how_complete_and_true_it_is(two):
    card = read_scorecard(two).select(
        "source", "series", "sessions", "complete", "disagreement", "not_stored", "behind"
    )

    expected = pl.DataFrame(
        [("one", 1, 2, 1.0, 0.5, 0, 0), ("two", 1, 3, 1.0, 0.5, 0, 0)], schema=card.schema, orient="row"
    )
    assert_frame_equal(card, expected)


def test_a_scorecard_counts_what_is_missing_refused_restated_and_behind(lake, write):
    write("one", "A-USD", FIRST, HOURS, resolution="1h")
    write("one", "A-USD", SECOND, HOURS[:18], resolution="1h")
    write("one", "B-USD", FIRST, ["-1"] * 24, resolution="1h")
    write("one", "A-USD", FIRST, ["99", *HOURS[1:]], resolution="1h")

    [row] = read_scorecard(lake).to_dicts()
    assert (row["series"], row["sessions"], row["not_stored"], row["behind"]) == (2, 3, 1, 1)
    assert row["complete"] == pytest.approx(42 / 72) and row["restated"] == pytest.approx(1 / 42)
    assert (row["open"], row["last"], row["disagreement"], row["calls"]) == (6 + 24, date(2024, 1, 2), None, 0)


def test_the_scorecard_of_an_empty_lake_is_empty(lake):
    assert read_scorecard(lake).is_empty()
    assert read_scorecard(lake, "nobody").is_empty()
