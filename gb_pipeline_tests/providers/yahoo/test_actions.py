"""Dividends as they were paid, out of what Yahoo makes of them; and events that cannot be read."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.yahoo.actions import actions, as_paid
from gb_pipeline.providers.yahoo.chart import read_chart
from gb_pipeline_tests.providers.yahoo.bodies import body, seconds

EVER = (date(1960, 1, 1), date(2030, 1, 1))
RATIOS = st.builds(Fraction, st.integers(1, 60), st.integers(1, 60))
SPLIT, DIVIDEND = "2020-08-31T09:30-04:00", "2014-05-08T09:30-04:00"


def shown(amount: Fraction, ratio: Fraction) -> str:
    """Yahoo's own arithmetic: divided, and rounded to six decimals."""
    return f"{Decimal(round(amount / ratio * 10**6)).scaleb(-6):f}"


@given(st.integers(1, 10**6), st.integers(0, 4), RATIOS)
def test_what_was_paid_comes_back_from_what_yahoo_divided(mantissa: int, decimals: int, ratio: Fraction) -> None:
    paid = Fraction(mantissa, 10**decimals)
    # Closer amounts than this look the same to Yahoo.
    assume(Fraction(1, 10**decimals) / ratio > Fraction(1, 10**6))
    text = shown(paid, ratio)
    assume(Fraction(text) > 0)
    back = Fraction(as_paid(text, ratio))
    # A shorter amount that Yahoo would show the same way is preferred; there is no way to tell them apart.
    assert back == paid or shown(back, ratio) == text
    assert abs(back - paid) <= ratio / 10**6


@given(st.decimals(min_value="0.000001", max_value="100", places=6), RATIOS)
def test_what_does_not_come_back_is_off_by_less_than_yahoos_rounding(paid: Decimal, ratio: Fraction) -> None:
    text = shown(Fraction(paid), ratio)
    assert abs(Fraction(as_paid(text, ratio)) - Fraction(paid)) <= ratio / 10**6 + Fraction(1, 10**12)


@pytest.mark.parametrize(
    ("amount", "ratio", "paid"),
    [
        ("0.1175", Fraction(28), "3.29"),
        ("0.108929", Fraction(28), "3.05"),
        ("0.205", Fraction(1), "0.205"),
        ("0.1925", Fraction(4), "0.77"),
        ("0.004", Fraction(10), "0.04"),
        ("3.88", Fraction(1, 8), "0.485"),
        ("0.323333", Fraction(3, 2), "0.485"),
        # Six decimals before, and 28 of them look alike after: the plain product.
        ("0.068074", Fraction(28), "1.906072"),
    ],
)
def test_dividends_are_those_that_were_paid(amount: str, ratio: Fraction, paid: str) -> None:
    assert as_paid(amount, ratio) == paid


def rows(events: dict[str, Any], **meta: Any) -> list[dict[str, Any]]:
    chart = read_chart(body([], events=events, meta=meta), "AAPL", Resolution.DAY)
    return actions(chart, *EVER).rows(named=True)


def test_spin_offs_are_splits_to_yahoo_and_dividends_are_divided_by_them() -> None:
    found = rows(
        {
            "splits": {"1": {"date": seconds(SPLIT), "numerator": 1281.0, "denominator": 1000.0}},
            "dividends": {"1": {"date": seconds(DIVIDEND), "amount": 0.062451}},
        }
    )
    assert [(row["kind"], row["split_to"], row["split_from"], row["amount"]) for row in found] == [
        ("cash_dividend", None, None, "0.08"),
        ("split", "1281", "1000", None),
    ]


def test_a_split_may_say_its_terms_in_words_only() -> None:
    (found,) = rows({"splits": {"1": {"date": seconds(SPLIT), "splitRatio": "3:2"}}})
    assert (found["split_to"], found["split_from"]) == ("3", "2")


def test_capital_gains_are_told_apart_from_dividends_of_the_day() -> None:
    found = rows(
        {
            "dividends": {"1": {"date": seconds(DIVIDEND), "amount": 0.5, "currency": ""}},
            "capitalGains": {"1": {"date": seconds(DIVIDEND), "amount": 1.2345678806304932}},
        },
        currency="EUR",
    )
    assert [(row["label"], row["amount"], row["currency"]) for row in found] == [
        ("capital_gain", "1.2345679", "EUR"),
        ("dividend", "0.5", "EUR"),
    ]


def test_an_ex_date_is_the_exchanges_date() -> None:
    chart = read_chart(
        body(
            [], zone="Asia/Tokyo", events={"splits": {"1": {"date": seconds("2024-03-28T00:00Z"), "splitRatio": "5:1"}}}
        ),
        "AAPL",
        Resolution.DAY,
    )
    assert actions(chart, *EVER)["ex_date"].to_list() == [date(2024, 3, 28)]
    assert actions(chart, date(2024, 3, 29), EVER[1]).is_empty()


def test_where_yahoos_history_begins_nobody_was_listed() -> None:
    assert rows({}, firstTradeDate=seconds("1962-01-02T09:30-05:00")) == []
    (listing,) = rows({}, firstTradeDate=seconds("1980-12-12T09:30-05:00"))
    assert (listing["ex_date"], listing["kind"], listing["label"]) == (date(1980, 12, 12), "listing", "first_trade")


@pytest.mark.parametrize(
    "events",
    [
        {"splits": {"1": {"date": seconds(SPLIT), "numerator": 0, "denominator": 1}}},
        {"splits": {"1": {"date": seconds(SPLIT), "numerator": 4, "denominator": "x"}}},
        {"splits": {"1": {"numerator": 4, "denominator": 1}}},
        {"splits": {"1": {"date": "soon", "numerator": 4, "denominator": 1}}},
        {"splits": {"1": {"date": seconds(SPLIT)}}},
        {"splits": {"1": {"date": seconds(SPLIT), "splitRatio": "4"}}},
        {"dividends": {"1": {"date": seconds(SPLIT), "amount": None}}},
        {"dividends": {"1": {"date": seconds(SPLIT), "amount": -1}}},
        {"dividends": {"1": {"date": seconds(SPLIT), "amount": "NaN"}}},
        {"dividends": {"1": {"date": 10**18, "amount": 1}}},
        {"dividends": {"1": 5}},
        {"dividends": 5},
    ],
)
def test_an_event_that_cannot_be_read_is_an_error(events: dict[str, Any]) -> None:
    with pytest.raises(TransientVendorError):
        rows(events)
