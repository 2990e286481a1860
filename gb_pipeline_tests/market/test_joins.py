"""Joins in time: a bar counts from its close on."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline import ConfigError, NaiveTimestamp
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.joins import align, join_asof
from gb_pipeline.market.resolution import Resolution
from gb_pipeline_tests.bars import at

STAMP = pl.Datetime("us", "UTC")


def rows(*values: tuple[str, str, float], name: str = "value") -> pl.DataFrame:
    """`symbol, timestamp` and a number."""
    stamped = [(symbol, at(moment), number) for symbol, moment, number in values]
    return pl.DataFrame(stamped, {"symbol": pl.String(), "timestamp": STAMP, name: pl.Float64()}, orient="row")


def test_a_day_is_joined_to_what_comes_after_its_close() -> None:
    # On 3 July 2024 New York closed at 17:00 UTC, on the 2nd at 20:00.
    minutes = rows(("A", "2024-07-03T16:58", 1), ("A", "2024-07-03T16:59", 2), ("A", "2024-07-05T13:30", 3))
    days = rows(("A", "2024-07-02", 10), ("A", "2024-07-03", 20), ("A", "2024-07-05", 30), name="day")
    joined = join_asof(minutes, days, left_resolution="1m", right_resolution="1d", right_calendar="XNYS")
    assert joined["day"].to_list() == [10, 20, 20]
    assert joined["timestamp_right"].dt.day().to_list() == [2, 3, 3]
    # By their opens, a day would be known before it was over.
    naive = join_asof(minutes, days)
    assert naive["day"].to_list() == [20, 20, 30]


def test_the_order_and_every_row_of_the_left_stay() -> None:
    left = rows(("B", "2024-01-02T10:00", 1), ("A", "2024-01-02T09:00", 2), ("C", "2024-01-02T09:00", 3))
    right = rows(("A", "2024-01-02T08:00", 7), ("B", "2024-01-02T10:01", 8), name="other")
    joined = join_asof(left, right)
    assert joined["value"].to_list() == [1, 2, 3]
    assert joined["other"].to_list() == [None, 7, None]
    assert joined.columns == ["symbol", "timestamp", "value", "timestamp_right", "other"]


def test_tolerance_direction_and_time_alone() -> None:
    left, right = (
        rows(("A", "2024-01-02T10:00", 1)),
        rows(("B", "2024-01-02T09:00", 7), ("B", "2024-01-02T10:30", 8), name="x"),
    )
    assert join_asof(left, right, by=None)["x"].to_list() == [7]
    assert join_asof(left, right, by=None, tolerance=timedelta(minutes=59))["x"].to_list() == [None]
    assert join_asof(left, right, by=None, direction="forward")["x"].to_list() == [8]
    assert join_asof(left, right, by=None, direction="nearest")["x"].to_list() == [8]


def test_what_cannot_be_joined_is_named() -> None:
    left = rows(("A", "2024-01-02T10:00", 1))
    with pytest.raises(ConfigError, match="right frame has no column 'venue'"):
        join_asof(left.with_columns(venue=pl.lit("x")), left, by="venue")
    with pytest.raises(NaiveTimestamp):
        join_asof(left, left.with_columns(pl.col("timestamp").dt.replace_time_zone(None)))
    with pytest.raises(ConfigError, match="not a direction"):
        join_asof(left, left, direction="sideways")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a tolerance of -1 day"):
        join_asof(left, left, tolerance=timedelta(days=-1))
    with pytest.raises(ConfigError, match="symbol is String on the left and Categorical on the right"):
        join_asof(left, left.with_columns(pl.col("symbol").cast(pl.Categorical)))
    with pytest.raises(ConfigError, match="XNYS has no session then"):
        saturday = rows(("A", "2024-01-06", 1))
        join_asof(left, saturday, right_resolution="1d", right_calendar="XNYS")


moments = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 3 * 24 * 60)), max_size=20)


@given(left=moments, right=moments, tolerance=st.none() | st.integers(0, 2000))
def test_no_row_is_joined_before_it_exists(
    left: list[tuple[str, int]], right: list[tuple[str, int]], tolerance: int | None
) -> None:
    """Compared with looking at every pair, for minutes on the left and hours on the right."""
    first = at("2024-01-02")
    own = pl.DataFrame(
        [(symbol, first + timedelta(minutes=minute), number) for number, (symbol, minute) in enumerate(left)],
        {"symbol": pl.String(), "timestamp": STAMP, "number": pl.Int64()},
        orient="row",
    )
    hours = dict.fromkeys((symbol, first + timedelta(hours=minute // 60)) for symbol, minute in right)
    other = pl.DataFrame(
        [(*bar, number) for number, bar in enumerate(hours)],
        {"symbol": pl.String(), "timestamp": STAMP, "hour": pl.Int64()},
        orient="row",
    )
    longest = None if tolerance is None else timedelta(minutes=tolerance)
    joined = join_asof(own, other, left_resolution="1m", right_resolution="1h", tolerance=longest)

    def newest(symbol: str, stamp: datetime) -> datetime | None:
        now = stamp + timedelta(minutes=1)
        known = [open_ for code, open_ in hours if code == symbol and open_ + timedelta(hours=1) <= now]
        found = max(known, default=None)
        return found if found and (longest is None or now - found - timedelta(hours=1) <= longest) else None

    assert joined["timestamp_right"].to_list() == [
        newest(code, stamp) for code, stamp in own.select("symbol", "timestamp").rows()
    ]


def bars(symbol: str, *days: tuple[str, int]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [(symbol, at(day), price) for day, price in days],
        {"symbol": pl.String(), "timestamp": STAMP, "close": pl.Int64()},
        orient="row",
    )
    return frame.with_columns(open="close", volume=pl.lit(5))


def test_bars_of_different_markets_stand_on_the_sessions_of_one() -> None:
    equity = bars("AAPL", ("2024-01-05", 1), ("2024-01-09", 3))
    coin = bars("BTC-USD", *((f"2024-01-0{day}", day) for day in (5, 6, 7, 8, 9)))
    aligned = align(pl.concat([coin, equity]), "1d", "XNYS")
    assert aligned["timestamp"].dt.day().to_list() == [5, 8, 9, 5, 8, 9]
    assert aligned["close"].to_list() == [1, None, 3, 5, 8, 9]
    filled = align(pl.concat([coin, equity]), "1d", "XNYS", fill=True)
    assert filled.select("open", "close", "volume").rows()[1] == (1, 1, 0)
    assert filled.columns == coin.columns
    # What was aligned before can be filled later.
    assert align(aligned, "1d", "XNYS", fill=True).equals(filled)


def test_bars_that_cannot_be_told_apart_are_not_aligned() -> None:
    days = bars("A", ("2024-01-05", 1), ("2024-01-08", 2))
    with pytest.raises(ConfigError, match="A has two bars at 2024-01-05"):
        align(pl.concat([days, days]), "1d", "XNYS")
    with pytest.raises(ConfigError, match="without a symbol or a timestamp"):
        align(days.with_columns(symbol=pl.Series([None, "A"])), "1d", "XNYS")


@given(present=st.lists(st.booleans(), min_size=30, max_size=30), fill=st.booleans())
def test_a_filled_bar_is_the_last_one_before(present: list[bool], fill: bool) -> None:
    sessions = get_calendar("XNYS").expected(at("2024-01-01").date(), at("2024-03-01").date(), Resolution.DAY)
    days = sessions["timestamp"].to_list()[:30]
    chosen = [
        (str(stamp.date()), number) for number, (stamp, here) in enumerate(zip(days, present, strict=True)) if here
    ]
    frame = bars("A", *chosen)
    aligned = align(frame, "1d", "XNYS", fill=fill)
    there = [number for _, number in chosen]
    expected = range(there[0], there[-1] + 1) if there else []
    last = [max((one for one in there if one <= number), default=None) for number in expected]
    assert aligned["close"].to_list() == [
        one if fill or one == n else None for n, one in zip(expected, last, strict=True)
    ]


def test_a_nanosecond_after_is_after() -> None:
    """Cut off at a microsecond, both rows would be of the same moment."""
    moment = pl.DataFrame({"timestamp": [at("2024-01-02T14:31")]}).cast(pl.Datetime("ns", "UTC"))
    first = moment.with_columns(pl.col("timestamp") + pl.duration(nanoseconds=200), x=1)
    second = moment.with_columns(pl.col("timestamp") + pl.duration(nanoseconds=900), y=1)
    assert join_asof(first, second, by=None)["y"].to_list() == [None]
    assert join_asof(second, first, by=None)["x"].to_list() == [1]
    # Units may differ, and moments may lie where nanoseconds do not reach.
    far = pl.DataFrame({"timestamp": [at("9999-01-01")], "z": [1]})
    assert join_asof(moment.cast(pl.Datetime("ms", "Asia/Tokyo")), far, by=None, direction="forward")["z"][0] == 1
