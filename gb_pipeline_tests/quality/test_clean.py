"""One pass over the columns says exactly of those frames that something is wrong in which the model finds a breach."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pandera.errors
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.clean import sessions_if_clean
from gb_pipeline.quality.model import bar_model, find_breaches
from gb_pipeline.quality.placement import place
from gb_pipeline.quality.rules import Alignment, BarRules
from gb_pipeline_tests.bars import at

NOW = at("2024-02-01T00:00")
LATER = at("2030-01-01T00:00")
PRICES = ("open", "high", "low", "close")
CELLS = (*PRICES, "volume", "trade_count", "vwap")


def bars(rules: BarRules, window: Window, symbols: tuple[str, ...] = ("A", "B")) -> pl.DataFrame:
    """Consistent bars on the grid, with exact numbers, sorted by symbol and timestamp."""
    first, end = window.start.date(), window.end.date()
    stamps = rules.calendar.expected(first, end, rules.resolution, rules.alignment)["timestamp"]
    stamps = stamps.filter(stamps.is_between(window.start, window.end, closed="left"))
    types = polars_schema(bar_schema(rules.precision))
    values = {"open": "10.5", "high": "12", "low": "9.25", "close": "11", "volume": "3", "vwap": "10.75"}
    frame = pl.concat(
        [pl.DataFrame({"timestamp": stamps}).with_columns(pl.lit(name).alias("symbol")) for name in symbols]
    )
    cells = [pl.lit(Decimal(text)).cast(types[name]).alias(name) for name, text in values.items()]
    return frame.with_columns(*cells, pl.lit(7, pl.Int64).alias("trade_count")).select("symbol", "timestamp", *CELLS)


def put(frame: pl.DataFrame, row: int, **values: Any) -> pl.DataFrame:
    """The frame with some cells of one row replaced."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value).cast(frame.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def model_finds_nothing(frame: pl.DataFrame, rules: BarRules, window: Window, now: datetime) -> bool:
    try:
        bar_model(rules, window, now).validate(place(frame, rules), lazy=True)
    except pandera.errors.SchemaErrors:
        return False
    return True


MINUTES = BarRules(), Window.of("2024-01-02", "2024-01-03")
NEW_YORK = BarRules(calendar=get_calendar("XNYS")), Window.of("2024-01-02", "2024-01-04")
DAYS = BarRules(resolution=Resolution.DAY, calendar=get_calendar("XNYS")), Window.of("2024-01-02", "2024-01-20")


@pytest.mark.parametrize(("rules", "window"), [MINUTES, NEW_YORK, DAYS])
def test_a_clean_frame_gets_the_sessions_of_its_rows(rules: BarRules, window: Window) -> None:
    frame = bars(rules, window)
    sessions = sessions_if_clean(frame, rules, window, NOW)
    assert sessions is not None
    assert sessions.equals(place(frame, rules)["session"])
    assert model_finds_nothing(frame, rules, window, NOW)


@pytest.mark.parametrize(
    ("case", "values", "code"),
    [
        (MINUTES, {"high": Decimal("10.75")}, "high_not_highest"),
        (MINUTES, {"low": Decimal("10.75")}, "low_not_lowest"),
        (MINUTES, {"open": Decimal("12.00000001")}, "high_not_highest"),
        (MINUTES, {"close": Decimal("9.24999999")}, "low_not_lowest"),
        (MINUTES, {"low": Decimal(0)}, "price_not_positive"),
        (MINUTES, {"volume": Decimal("-0.00000001")}, "negative_volume"),
        (MINUTES, {"trade_count": -1}, "negative_trade_count"),
        (MINUTES, {"timestamp": at("2024-01-03T00:00")}, "outside_window"),
        (MINUTES, {"timestamp": at("2024-01-01T23:59")}, "outside_window"),
        (MINUTES, {"timestamp": at("2024-01-02T00:05")}, "not_increasing"),
        (MINUTES, {"timestamp": at("2024-01-02T00:06:00.000001")}, "misaligned"),
        (MINUTES, {"timestamp": None}, "unreadable_timestamp"),
        (NEW_YORK, {"timestamp": at("2024-01-02T14:29")}, "outside_hours"),
        (NEW_YORK, {"timestamp": at("2024-01-02T14:30:30")}, "misaligned"),
        (NEW_YORK, {"timestamp": at("2024-01-06T14:30")}, "outside_session"),
        (DAYS, {"timestamp": at("2024-01-06T00:00")}, "outside_session"),
        (DAYS, {"timestamp": at("2024-01-05T14:30")}, "misaligned"),
    ],
)
def test_one_breach_anywhere_is_noticed(case: tuple[BarRules, Window], values: dict[str, Any], code: str) -> None:
    rules, window = case
    frame = put(bars(rules, window), 6, **values)
    found = find_breaches(place(frame, rules).with_row_index("index"), rules, window, NOW)
    assert code in found["reason"].to_list()
    assert sessions_if_clean(frame, rules, window, NOW) is None


@pytest.mark.parametrize("name", [*PRICES, "volume"])
def test_a_missing_number_is_noticed(name: str) -> None:
    rules, window = MINUTES
    frame = put(bars(rules, window), 6, **{name: None})
    assert sessions_if_clean(frame, rules, window, NOW) is None
    assert not model_finds_nothing(frame, rules, window, NOW)


def test_bars_of_the_future_and_bars_that_are_not_closed_are_noticed() -> None:
    rules, window = MINUTES
    frame = bars(rules, window)
    closed = at("2024-01-03T00:00:05")
    assert sessions_if_clean(frame, rules, window, closed) is not None
    assert sessions_if_clean(frame, rules, window, closed - timedelta(microseconds=1)) is None
    assert sessions_if_clean(frame, rules, window, at("2024-01-02T12:00")) is None


def test_nothing_is_clean() -> None:
    rules, window = NEW_YORK
    sessions = sessions_if_clean(bars(rules, window).clear(), rules, window, NOW)
    assert sessions is not None
    assert (sessions.len(), sessions.dtype) == (0, pl.Date())


MOVES = [None, *(timedelta(seconds=s) for s in (-864_000, -86_400, -60, -30, 1, 60, 3600, 28_800, 86_400, 432_000))]
NUMBERS = [None, *map(Decimal, ("-1", "0", "0.00000001", "9.25", "9.24", "10", "12", "12.00000001", "500"))]


@st.composite
def cases(draw: st.DrawFn) -> tuple[BarRules, Window, datetime, pl.DataFrame]:
    resolution = draw(st.sampled_from([Resolution.MINUTE_30, Resolution.HOUR, Resolution.DAY, Resolution.WEEK]))
    rules = BarRules(
        resolution=resolution,
        calendar=get_calendar(draw(st.sampled_from(["24/7", "24/5", "FX", "XNYS", "XHKG"]))),
        alignment=draw(st.sampled_from(Alignment)),
        precision=draw(st.sampled_from(Precision)),
        allow_negative_prices=draw(st.booleans()),
        allow_unaligned=draw(st.booleans()),
    )
    window = Window.of("2024-01-01", "2024-01-23")
    frame = bars(rules, window)
    rows = draw(st.lists(st.integers(0, frame.height - 1), max_size=5))
    for row in rows:
        kind = draw(st.sampled_from(["number", "count", "time", "repeat", "symbol"]))
        if kind == "number":
            name = draw(st.sampled_from([*PRICES, "volume", "vwap"]))
            frame = put(frame, row, **{name: draw(st.sampled_from(NUMBERS))})
        elif kind == "count":
            frame = put(frame, row, trade_count=draw(st.sampled_from([None, -1, 0, 5])))
        elif kind == "time":
            move, stamp = draw(st.sampled_from(MOVES)), frame["timestamp"][row]
            frame = put(frame, row, timestamp=None if move is None or stamp is None else stamp + move)
        elif kind == "repeat":
            frame = pl.concat([frame[: row + 1], frame[row:]])
        else:
            frame = put(frame, row, symbol=draw(st.sampled_from(["A", "B", "C", None])))
    if draw(st.booleans()):
        frame = frame.sort("symbol", "timestamp", nulls_last=True, maintain_order=True)
    whole = st.sampled_from([NOW, LATER, at("2024-01-19T21:00"), at("2024-01-19T21:00:05")])
    return rules, window, draw(whole), frame


@given(cases())
def test_the_pass_and_the_model_agree_on_every_frame(case: tuple[BarRules, Window, datetime, pl.DataFrame]) -> None:
    rules, window, now, frame = case
    sessions = sessions_if_clean(frame, rules, window, now)
    assert (sessions is not None) == model_finds_nothing(frame, rules, window, now)
    if sessions is not None:
        assert sessions.equals(place(frame, rules)["session"])


def test_unaligned_bars_are_clean_where_they_are_allowed() -> None:
    for rules, window in (MINUTES, NEW_YORK):
        frame = put(bars(rules, window), 6, timestamp=at("2024-01-02T14:40:30"))[6:7]
        lenient = replace(rules, allow_unaligned=True)
        assert sessions_if_clean(frame, rules, window, NOW) is None
        assert sessions_if_clean(frame, lenient, window, NOW) is not None
        outside = put(frame, 0, timestamp=at("2024-01-02T10:00:30"))
        assert (sessions_if_clean(outside, lenient, window, NOW) is None) == (rules.calendar.name == "XNYS")


def test_pandera_is_not_even_imported_where_nothing_is_wrong() -> None:
    code = """
import sys
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import changed, minutes
window = Window.of("2024-01-02", "2024-01-03")
assert validate(minutes("2024-01-02"), BarRules(), window).bad.is_empty()
assert "pandera" not in sys.modules
assert validate(changed(minutes("2024-01-02"), 7, high="1"), BarRules(), window).bad.height == 1
assert "pandera" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
