"""Numbers are read exactly or refused with a reason."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.exact import MISSING, TOO_LARGE, TOO_PRECISE, UNREADABLE, read_numbers


def prices(*texts: str | None) -> pl.DataFrame:
    column = pl.Series(texts, dtype=pl.String())
    return pl.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), column))


def read_one(text: str | None, precision: Precision = Precision.STANDARD) -> tuple[Decimal | None, list[str]]:
    frame, problems = read_numbers(prices(text), precision)
    return frame["open"][0], problems["reason"].unique().to_list()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42000.12", "42000.12"),
        ("1e-8", "0.00000001"),
        ("1E5", "100000"),
        ("1.50000000000000000000000000", "1.5"),
        ("  7.5 ", "7.5"),
        ("-3.25", "-3.25"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+1", "1"),
        ("0", "0"),
        ("0e999", "0"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("-9999999999.99999999", "-9999999999.99999999"),
    ],
)
def test_every_spelling_of_a_number_that_fits_is_read_exactly(text: str, value: str) -> None:
    assert read_one(text) == (Decimal(value), [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, MISSING),
        ("", MISSING),
        ("   ", MISSING),
        ("-", UNREADABLE),
        ("NaN", UNREADABLE),
        ("Infinity", UNREADABLE),
        ("1,5", UNREADABLE),
        ("1_000", UNREADABLE),
        ("١٢", UNREADABLE),
        ("0x10", UNREADABLE),
        ("1e", UNREADABLE),
        ("1" * 500, UNREADABLE),
        ("0.000000001", TOO_PRECISE),
        ("1e-9", TOO_PRECISE),
        ("1.5e-9", TOO_PRECISE),
        ("266.0400085449219", TOO_PRECISE),
        ("10000000000", TOO_LARGE),
        ("1e10", TOO_LARGE),
        ("-12345678901.5", TOO_LARGE),
        ("1e300", TOO_LARGE),
    ],
)
def test_what_cannot_be_stored_exactly_has_a_reason_and_no_value(text: str | None, reason: str) -> None:
    assert read_one(text) == (None, [reason])


def test_wide_precision_stores_what_the_standard_one_refuses() -> None:
    assert read_one("266.0400085449219", Precision.WIDE) == (Decimal("266.0400085449219"), [])
    assert read_one("12345678901234567890.123456789012345678", Precision.WIDE)[1] == []
    assert read_one("1e-19", Precision.WIDE) == (None, [TOO_PRECISE])
    assert read_one("1e20", Precision.WIDE) == (None, [TOO_LARGE])


@given(st.lists(st.decimals(-(10**9), 10**9, places=8, allow_nan=False), min_size=1, max_size=50))
def test_what_is_written_with_eight_decimals_comes_back_digit_by_digit(values: list[Decimal]) -> None:
    frame, problems = read_numbers(prices(*(format(value, "f") for value in values)), Precision.STANDARD)
    assert problems.is_empty()
    assert frame["close"].to_list() == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_value_is_exact_or_refused_never_rounded(values: list[float]) -> None:
    texts = [repr(value) for value in values]
    frame, problems = read_numbers(prices(*texts), Precision.STANDARD)
    refused = set(problems["index"].to_list())
    for row, (text, stored) in enumerate(zip(texts, frame["open"].to_list(), strict=True)):
        assert stored == (None if row in refused else Decimal(text))


def test_one_bad_cell_does_not_touch_its_neighbours() -> None:
    frame = prices("1", "2", "3").with_columns(pl.Series("high", ["1", "x", "3"]))
    numbers, problems = read_numbers(frame, Precision.STANDARD)
    assert problems.rows() == [(1, UNREADABLE)]
    assert numbers["open"].to_list() == [1, 2, 3]


def test_floats_are_refused_because_they_no_longer_say_what_the_vendor_said() -> None:
    with pytest.raises(WindowRefused, match="Float64") as refusal:
        read_numbers(prices("1").cast(pl.Float64), Precision.STANDARD)
    assert "String" in refusal.value.fix


def test_decimals_of_another_scale_are_taken_when_they_fit_and_refused_when_they_do_not() -> None:
    fits = prices("1.25").cast(pl.Decimal(38, 18))
    assert read_numbers(fits, Precision.STANDARD)[0]["open"][0] == Decimal("1.25")
    too_fine = prices("0.0000000001").cast(pl.Decimal(38, 18))
    assert read_numbers(too_fine, Precision.STANDARD)[1]["reason"].unique().to_list() == [TOO_PRECISE]


def test_trade_counts_are_whole_numbers() -> None:
    counts = pl.Series("trade_count", ["5", "7.0", "2.5", "many", None, ""])
    frame = prices(*(["1"] * 6)).with_columns(counts)
    numbers, problems = read_numbers(frame, Precision.STANDARD)
    assert numbers["trade_count"].to_list() == [5, 7, None, None, None, None]
    assert sorted(problems.rows()) == [(2, UNREADABLE), (3, UNREADABLE)]


def test_an_empty_frame_is_read_as_an_empty_frame() -> None:
    numbers, problems = read_numbers(prices(), Precision.STANDARD)
    assert numbers.schema["open"] == pl.Decimal(18, 8)
    assert problems.is_empty()
