"""Adjusted prices at a clock are those of a lake that ends there: a later split or dividend changes none of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline import ConfigError, DataPortal, Lake, SimulationClock
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.reading.price_adjustment import PriceAdjustment
from gb_pipeline_tests.actions import dividend, split
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.portal.bars import put_days, tell_actions

SESSIONS = [str(day) for day in get_calendar("XNYS").sessions(date(2024, 3, 4), date(2024, 4, 1))]
ADJUSTED = PriceAdjustment(dividends="previous_close")


def open_lake(folder: Path) -> Lake:
    lake = Lake.open(folder / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path)


def make_portal(lake: Lake, clock: SimulationClock, adjustment: str, **more: object) -> DataPortal:
    return DataPortal(lake, clock, "KO", "1d", calendar="XNYS", adjustment=adjustment, **more)  # type: ignore[arg-type]


def test_a_dividend_counts_from_the_morning_of_its_ex_date_at_the_close_before_it(lake: Lake) -> None:
    put_days(lake, "KO", SESSIONS[:3], [50, 60, 40])
    tell_actions(lake, dividend(SESSIONS[2], "15", symbol="KO"))
    clock = SimulationClock(f"{SESSIONS[1]}T22:00Z")
    seen = make_portal(lake, clock, "splits+dividends")
    assert seen.history("KO", "close", 2)["close"].to_list() == [50, 60], "nothing was paid yet"
    clock.advance_to(f"{SESSIONS[2]}T13:00Z")
    assert seen.current("KO") == 45, "who holds it gets 15 of the 60"
    clock.advance_to(f"{SESSIONS[2]}T22:00Z")
    assert seen.history("KO", ["close", "volume"], 3).select("close", "volume").rows() == [
        (37.5, 1000), (45, 1000), (40, 1000),
    ]  # fmt: skip


@pytest.mark.parametrize("later", [[], [6], [7, 8], [5, 6, 7]])
def test_dividends_count_from_their_ex_dates_whatever_bars_follow(lake: Lake, later: list[int]) -> None:
    """No bar may follow yet, as on the morning of a live day, or ever, or trading may be halted on the ex date."""
    chosen = [*range(5), *later]
    put_days(lake, "KO", [SESSIONS[day] for day in chosen], [100] * len(chosen))
    tell_actions(
        lake,
        dividend(SESSIONS[5], "10", symbol="KO"),
        dividend(SESSIONS[6], "15", symbol="KO"),
    )
    clock = SimulationClock(f"{SESSIONS[4]}T22:00Z")
    seen = make_portal(lake, clock, "splits+dividends")

    def friday_and_its_week() -> list[float]:
        frames = [seen.history("KO", "close", 9, kind, on_gap="skip") for kind in ("1d", "1w")]
        opens = (SESSIONS[4], SESSIONS[0])
        return [
            frame.filter(pl.col("timestamp") == at(day))["close"].item()
            for frame, day in zip(frames, opens, strict=True)
        ]

    assert friday_and_its_week() == pytest.approx([100, 100])
    clock.advance_to(f"{SESSIONS[5]}T13:00Z")
    assert friday_and_its_week() == pytest.approx([90, 90])
    clock.advance_to(f"{SESSIONS[6]}T13:00Z")
    # With a bar between both, the second one is reinvested at that bar's close.
    both = 90 * 0.85 if 5 in later else 75
    assert friday_and_its_week() == pytest.approx([both, both])


prices = st.lists(st.decimals("20", "90", places=2), min_size=len(SESSIONS), max_size=len(SESSIONS))
days = st.integers(0, len(SESSIONS) - 1)


@settings(max_examples=12)
@given(
    traded=prices,
    paid=st.dictionaries(days, st.decimals("0.01", "9", places=2), max_size=4),
    parts=st.dictionaries(days, st.sampled_from(["2", "3", "0.1", "1.5"]), max_size=2),
    until=st.integers(5, len(SESSIONS) - 1),
)
def test_prices_are_those_of_a_lake_that_ends_at_the_clock(
    tmp_path_factory: pytest.TempPathFactory,
    traded: list[Decimal],
    paid: Mapping[int, Decimal],
    parts: Mapping[int, str],
    until: int,
) -> None:
    def told(last: int) -> list[dict]:
        found = [split(SESSIONS[day], ratio, symbol="KO") for day, ratio in parts.items() if day <= last]
        found += [dividend(SESSIONS[day], str(cash), symbol="KO") for day, cash in paid.items() if day <= last]
        return found or [dividend("2030-01-02", "1", symbol="KO")]

    whole, ended = (open_lake(tmp_path_factory.mktemp("lake")) for _ in range(2))
    closes = [float(price) for price in traded]
    put_days(whole, "KO", SESSIONS, closes)
    tell_actions(whole, *told(len(SESSIONS)))
    put_days(ended, "KO", SESSIONS[: until + 1], closes[: until + 1])
    tell_actions(ended, *told(until))
    clock = SimulationClock(at(SESSIONS[until]) + timedelta(hours=23))
    for name, adjustment in (("splits", PriceAdjustment()), ("splits+dividends", ADJUSTED)):
        seen = make_portal(whole, clock, name)
        expected = ended.bars("KO", "1d", adjustment=adjustment, as_float=True)
        window = seen.history("KO", ["close", "volume"], until + 1)
        assert window["timestamp"].equals(expected["timestamp"])
        for column in ("close", "volume"):
            assert window[column].to_list() == pytest.approx(expected[column].to_list(), rel=1e-8)
        weeks = seen.history("KO", ["open", "high", "close"], 2, "1w", on_gap="skip")
        made = ended.bars("KO", "1d", adjustment=adjustment, as_float=True, resample="1w")
        both = weeks.join(made, on="timestamp", suffix="_made")
        assert both.height == weeks.height > 0
        for column in ("open", "high", "close"):
            assert both[column].to_list() == pytest.approx(both[f"{column}_made"].to_list(), rel=1e-7)


def test_a_week_that_holds_an_ex_date_is_made_of_adjusted_days(lake: Lake) -> None:
    put_days(lake, "KO", SESSIONS[:5], [100, 100, 100, 25, 25])
    tell_actions(lake, split(SESSIONS[3], "4", symbol="KO"))
    seen = make_portal(lake, SimulationClock(f"{SESSIONS[4]}T23:00Z"), "splits")
    fields = ["open", "high", "low", "close", "volume"]
    [week] = seen.history("KO", fields, 1, "1w").select(fields).rows()
    assert week == (25, 25, 25, 25, 14_000)


def test_a_symbol_of_two_sources_needs_the_name_of_one(lake: Lake) -> None:
    for source in ("sim", "other"):
        put_days(lake, "KO", SESSIONS[:3], [100, 100, 50], source=source)
        tell_actions(lake, split(SESSIONS[2], "2", symbol="KO"), source=source)
    clock = SimulationClock(f"{SESSIONS[2]}T23:00Z")
    with pytest.raises(ConfigError, match="KO is stored of other and sim"):
        make_portal(lake, clock, "splits")
    assert make_portal(lake, clock, "splits", source="sim").history("KO", "close", 2)["close"].to_list() == [50, 50]


def test_a_strict_portal_reinvests_what_it_was_told_from_when_it_was_told_at_the_close_as_it_was_known(
    lake: Lake,
) -> None:
    told = [
        (f"{SESSIONS[1]}T22:00Z", [50, 60]),
        (f"{SESSIONS[3]}T22:00Z", [50, 60, 40, 41]),
        ("2024-06-01", [50, 30, 40, 41]),
    ]
    for number, (moment, closes) in enumerate(told):
        lake.store.clock = SetClock(at(moment))
        put_days(lake, "KO", SESSIONS[: len(closes)], closes)
        # The amount is told a day after the ex date, and corrected much later.
        if number:
            tell_actions(lake, dividend(SESSIONS[2], ["15", "1"][number - 1], symbol="KO"))
    lake.store.clock = SetClock(at("2025-01-01"))
    clock = SimulationClock(f"{SESSIONS[2]}T22:00Z")
    seen = make_portal(lake, clock, "splits+dividends", strict=True)
    assert seen.history("KO", "close", 2, on_gap="skip")["close"].to_list() == [50, 60], "nobody had told of it"
    clock.advance_to(f"{SESSIONS[3]}T23:00Z")
    assert seen.history("KO", "close", 4, on_gap="skip")["close"].to_list() == [37.5, 45, 40, 41]
    clock.advance_to("2024-06-02")
    assert seen.history("KO", "close", 4, on_gap="skip")["close"].to_list() == pytest.approx([50 * 29 / 30, 29, 40, 41])


def test_a_strict_portal_counts_a_split_from_when_it_was_told_of_it(lake: Lake) -> None:
    for moment, count in ((f"{SESSIONS[2]}T22:00Z", 3), ("2024-06-01", 4)):
        lake.store.clock = SetClock(at(moment))
        put_days(lake, "KO", SESSIONS[:count], [100, 100, 50, 50][:count])
    tell_actions(lake, split(SESSIONS[2], "2", symbol="KO"))
    lake.store.clock = SetClock(at("2025-01-01"))
    clock = SimulationClock(f"{SESSIONS[2]}T23:00Z")
    seen = make_portal(lake, clock, "splits", strict=True)
    assert seen.history("KO", "close", 3, on_gap="skip")["close"].to_list() == [100, 100, 50], "nobody had told of it"
    clock.advance_to("2024-06-02")
    assert seen.history("KO", ["close", "volume"], 4, on_gap="skip")["close"].to_list() == [50, 50, 50, 50]
    with pytest.raises(ConfigError, match="adjusts no bars of 1w"):
        DataPortal(lake, clock, "KO", "1w", calendar="XNYS", adjustment="splits", strict=True)


@settings(max_examples=4, deadline=None)
@given(
    futures=st.lists(
        st.tuples(st.integers(1, 20), st.lists(st.integers(50, 90), min_size=6, max_size=6)), min_size=2, max_size=2
    ),
    now=st.integers(3, 6),
)
def test_no_later_action_and_no_later_close_changes_what_a_strict_portal_says(
    futures: list[tuple[int, list[int]]], now: int
) -> None:
    answers = []
    for amount, closes in futures:
        with tempfile.TemporaryDirectory() as folder:
            lake = open_lake(Path(folder))
            lake.store.clock = SetClock(at(f"{SESSIONS[now]}T22:00Z"))
            put_days(lake, "KO", SESSIONS[:now], [60, 70, 65, 80, 75, 90][:now])
            tell_actions(lake, dividend(SESSIONS[2], "5", symbol="KO"))
            lake.store.clock = SetClock(at("2024-06-01"))
            put_days(lake, "KO", SESSIONS[:6], closes)
            later = [dividend(SESSIONS[day], str(amount), symbol="KO") for day in (1, 2, 4)]
            tell_actions(lake, *later, split(SESSIONS[1], "2", symbol="KO"))
            lake.store.clock = SetClock(at("2025-01-01"))
            clock = SimulationClock(f"{SESSIONS[now]}T23:00Z")
            of_each = [
                make_portal(lake, clock, name, strict=True).history("KO", ["close", "volume"], 6, on_gap="skip")
                for name in ("splits", "splits+dividends")
            ]
            assert [answer.height for answer in of_each] == [now, now]
            answers.append(pl.concat(of_each))
    assert_frame_equal(*answers, check_exact=True)


def test_what_is_no_adjustment_of_a_portal_is_refused(lake: Lake) -> None:
    put_days(lake, "KO", SESSIONS[:3], [100, 100, 50])
    with pytest.raises(ConfigError, match="use splits or splits"):
        make_portal(lake, SimulationClock("2024-03-04"), "dividends")
