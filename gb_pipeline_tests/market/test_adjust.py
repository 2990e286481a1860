"""Splits and prices: exact there and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.market.adjust import adjust, unadjust
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution

XNYS = get_calendar("XNYS", extended_hours=True)
FIRST = date(2024, 3, 1)
D = pl.Decimal(18, 8)


def splits(*rows: tuple[date, object, object]) -> pl.DataFrame:
    return pl.DataFrame(
        [(day, Decimal(str(to)), Decimal(str(of))) for day, to, of in rows],
        schema={"ex_date": pl.Date(), "split_to": pl.Decimal(38, 18), "split_from": pl.Decimal(38, 18)},
        orient="row",
    )


def days(prices: list[str], volumes: list[str] | None = None, kind: pl.DataType = D) -> pl.DataFrame:
    stamps = [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=number) for number in range(len(prices))]
    return pl.DataFrame(
        {
            "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
            "close": pl.Series([Decimal(price) for price in prices]).cast(kind),
            "volume": pl.Series([Decimal(volume) for volume in volumes or ["1"] * len(prices)]).cast(kind),
            "trade_count": pl.Series([7] * len(prices), dtype=pl.Int64()),
        }
    )


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_bars_before_the_ex_date_are_divided_and_their_volumes_multiplied() -> None:
    adjusted = adjust(days(["400", "404", "101"], ["10", "10", "40"]), splits((day(2), 4, 1)))
    assert adjusted["close"].to_list() == [Decimal(100), Decimal(101), Decimal(101)]
    assert adjusted["volume"].to_list() == [Decimal(40), Decimal(40), Decimal(40)]
    assert adjusted["trade_count"].to_list() == [7, 7, 7]


def test_several_splits_multiply_and_each_stops_at_its_own_day() -> None:
    made = adjust(days(["120"] * 4), splits((day(3), 3, 1), (day(1), 2, 1), (day(2), 1, 4)))
    assert made["close"].to_list() == [Decimal(80), Decimal(160), Decimal(40), Decimal(120)]


def test_two_splits_of_one_day_both_count() -> None:
    assert adjust(days(["60", "10"]), splits((day(1), 2, 1), (day(1), 3, 1)))["close"][0] == Decimal(10)


@pytest.mark.parametrize(("number", "touched"), [(0, 0), (1, 1), (2, 2), (3, 3), (99, 3)])
def test_a_split_on_the_first_day_touches_nothing_and_one_after_the_last_everything(number: int, touched: int) -> None:
    made = adjust(days(["8", "8", "8"]), splits((day(number), 2, 1)))["close"].to_list()
    assert made == [Decimal(4)] * touched + [Decimal(8)] * (3 - touched)


def test_what_has_no_decimal_form_is_rounded_half_to_even_at_the_columns_scale() -> None:
    third = adjust(days(["100.00", "1"]), splits((day(1), 3, 1)))
    assert third["close"][0] == Decimal("33.33333333")
    halves = days(["0.00000001", "0.00000003", "-0.00000001", "-0.00000003"])
    made = adjust(halves, splits((day(9), 2, 1)))["close"].to_list()
    assert made == [Decimal(0), Decimal("0.00000002"), Decimal(0), Decimal("-0.00000002")]


def test_a_reverse_split_that_is_undone_gives_back_what_was_traded() -> None:
    raw = days(["0.07", "0.7"], ["123456789", "12345678"])
    there = adjust(raw, splits((day(1), 1, 10)))
    assert there["close"].to_list() == [Decimal("0.7"), Decimal("0.7")]
    assert_frame_equal(unadjust(there, splits((day(1), 1, 10))), raw)


def test_results_that_do_not_fit_are_refused_not_wrapped() -> None:
    big = days(["9999999999.99999999", "1"])
    with pytest.raises(ReadError, match="do not fit"):
        unadjust(big, splits((day(1), 10, 1)))
    with pytest.raises(ReadError, match="do not fit"):
        unadjust(days(["99999999999999999999", "1"], kind=pl.Decimal(38, 18)), splits((day(1), 10**9, 1)))
    with pytest.raises(ReadError, match="too many digits"):
        unadjust(days(["1", "1"]), splits((day(1), 10**10, 1), (day(1), 10**10, 1)))


def test_wide_decimals_and_floats_keep_their_type() -> None:
    wide = days(["0.000000000000000003", "1"], kind=pl.Decimal(38, 18))
    assert adjust(wide, splits((day(1), 3, 1)))["close"][0] == Decimal("0.000000000000000001")
    floats = days(["400.04", "1"]).cast({"close": pl.Float64(), "volume": pl.Float64()})
    made = adjust(floats, splits((day(1), 4, 1)))
    assert (made["close"][0], made["volume"][0], made.schema) == (100.01, 4.0, floats.schema)


def test_symbols_have_their_own_splits_and_the_order_of_rows_stays() -> None:
    frame = pl.concat([days(["40", "40"]).with_columns(pl.lit(code).alias("symbol")) for code in ("B", "A", "C")]).sort(
        "timestamp", "symbol", descending=True
    )
    table = pl.concat([
        splits((day(1), 4, 1)).with_columns(pl.lit("A").alias("symbol")),
        splits((day(1), 2, 1)).with_columns(pl.lit("B").alias("symbol")),
    ])  # fmt: skip
    made = adjust(frame, table)
    assert made.select("timestamp", "symbol").equals(frame.select("timestamp", "symbol"))
    firsts = made.filter(pl.col("timestamp") == pl.col("timestamp").min()).sort("symbol")["close"].to_list()
    assert firsts == [Decimal(10), Decimal(20), Decimal(40)]
    with pytest.raises(ConfigError, match="which symbol the splits belong to"):
        adjust(frame.drop("symbol"), table)


def test_other_kinds_and_withdrawn_splits_do_not_count() -> None:
    table = splits((day(1), 4, 1), (day(1), 2, 1), (day(1), 9, 1)).with_columns(
        kind=pl.Series(["cash_dividend", "split", "split"]), withdrawn=pl.Series([False, False, True])
    )
    assert adjust(days(["8", "8"]), table)["close"].to_list() == [Decimal(4), Decimal(8)]


def test_no_bars_and_no_splits_are_no_trouble() -> None:
    assert adjust(days([]), splits((day(1), 4, 1))).is_empty()
    frame = days(["1"])
    assert_frame_equal(adjust(frame, splits()), frame)


def test_bars_of_a_session_are_split_by_the_exchanges_day_not_by_the_utc_one() -> None:
    # New York moved its clocks on 2024-03-10: the last minute of a post-market is 00:59 UTC before it and 23:59 after it.
    for ex_date, last_before in ((date(2024, 3, 8), "2024-03-08T00:59"), (date(2024, 3, 12), "2024-03-11T23:59")):
        stamps = [datetime.fromisoformat(last_before).replace(tzinfo=UTC)]
        stamps.append(XNYS.schedule(ex_date, ex_date + timedelta(days=1))["open"][0])
        frame = pl.DataFrame(
            {
                "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
                "close": pl.Series([Decimal(8)] * 2).cast(D),
            }
        )
        made = adjust(frame, splits((ex_date, 2, 1)), calendar=XNYS, resolution=Resolution.MINUTE)
        assert made["close"].to_list() == [Decimal(4), Decimal(8)]


def test_intraday_bars_need_a_calendar_or_their_sessions() -> None:
    with pytest.raises(ConfigError, match="session"):
        adjust(days(["1"]), splits((day(1), 2, 1)), resolution=Resolution.MINUTE)
    told = days(["8", "8"]).with_columns(session=pl.Series([day(5), day(4)]))
    made = adjust(told, splits((day(5), 2, 1)), resolution=Resolution.MINUTE)
    assert made["close"].to_list() == [Decimal(8), Decimal(4)]


def test_integers_and_impossible_splits_are_refused() -> None:
    with pytest.raises(ConfigError, match="Int64"):
        adjust(days(["1", "1"]).with_columns(pl.lit(5, pl.Int64()).alias("volume")), splits((day(1), 2, 1)))
    with pytest.raises(ConfigError, match="not a split"):
        adjust(days(["1", "1"]), splits((day(1), 0, 1)))


WHOLE = st.integers(2, 30)
PLANS = st.lists(st.tuples(st.integers(0, 8), WHOLE, st.booleans()), max_size=3)
PRICES = st.lists(st.decimals("0.01", "9999.99", places=2), min_size=1, max_size=8)


@given(prices=PRICES, plan=PLANS)
def test_whole_ratios_undone_and_done_again_change_no_price(prices: list[Decimal], plan: list) -> None:
    table = splits(*((day(number), ratio, 1) for number, ratio, _ in plan))
    product = Fraction(1)
    for _, ratio, _ in plan:
        product *= ratio
    volumes = [str(int(product) * (number + 1)) for number in range(len(prices))]
    frame = days([str(price) for price in prices], volumes)
    assert_frame_equal(adjust(unadjust(frame, table), table), frame)


@given(prices=PRICES, plan=PLANS)
def test_every_result_is_the_exact_quotient_rounded_once(prices: list[Decimal], plan: list) -> None:
    pairs = [(day(number), 1, ratio) if reverse else (day(number), ratio, 1) for number, ratio, reverse in plan]
    made = adjust(days([str(price) for price in prices]), splits(*pairs))
    for number, price in enumerate(prices):
        factor = Fraction(1)
        for ex_date, to, of in pairs:
            factor *= Fraction(to, of) if ex_date > day(number) else 1
        for column, exact in (("close", Fraction(price) / factor), ("volume", factor)):
            expected = round(exact * 10**8)
            assert made[column][number] == Decimal(expected).scaleb(-8)


@given(value=st.decimals("0.00000001", "99999.99999999", places=8), to=st.integers(1, 50), of=st.integers(1, 50))
def test_rounding_agrees_with_pythons_own_decimals(value: Decimal, to: int, of: int) -> None:
    made = unadjust(days([str(value), "1"]), splits((day(1), to, of)))["close"][0]
    exact = (value * to / of).quantize(Decimal("1e-8"), ROUND_HALF_EVEN)
    assert abs(made - exact) == 0
