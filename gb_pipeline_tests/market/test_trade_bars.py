"""Bars of trades: every trade in one bar, exact, against a loop that takes one trade after the other."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.trade_bars import compare_bars, make_bars, parse_rule

MINUTE = 60 * 10**9
NUMBER = st.decimals("0.00000001", "99999", places=8)
TRADES = st.lists(st.tuples(st.integers(0, 20 * MINUTE), NUMBER, NUMBER), min_size=1, max_size=30)


def frame(rows: list[tuple[int, Decimal, Decimal]], digits: tuple[int, int] = (18, 8)) -> pl.DataFrame:
    number = pl.Decimal(*digits)
    data = pl.DataFrame(
        sorted(rows, key=lambda row: row[0]),
        schema={"timestamp": pl.Int64, "price": number, "size": number},
        orient="row",
    )
    return data.select(
        pl.lit("k").alias("source"),
        pl.lit("A").alias("symbol"),
        pl.col("timestamp").cast(pl.Datetime("ns", "UTC")),
        "price",
        "size",
    )


def by_hand(rows: list[tuple[int, Decimal, Decimal]], kind: str, size: Decimal | None) -> list[tuple]:
    bars: dict[object, list[tuple[int, Decimal, Decimal]]] = {}
    volume = dollars = Fraction(0)
    for number, (at, price, amount) in enumerate(sorted(rows, key=lambda row: row[0])):
        place = {
            "time": at // MINUTE,
            "ticks": number // max(int(size or 1), 1),
            "volume": volume // Fraction(size or 1),
            "dollars": dollars // Fraction(size or 1),
        }[kind]
        bars.setdefault(place, []).append((at, price, amount))
        volume += Fraction(amount)
        dollars += Fraction(price) * Fraction(amount)
    return [
        (
            own[0][1], max(p for _, p, _ in own), min(p for _, p, _ in own), own[-1][1], sum(s for _, _, s in own), len(own),
        )
        for own in bars.values()
    ]  # fmt: skip


@given(TRADES, st.sampled_from(["time", "ticks", "volume", "dollars"]), st.integers(1, 7), NUMBER)
def test_bars_are_those_of_one_who_takes_trade_after_trade(
    rows: list[tuple[int, Decimal, Decimal]], kind: str, ticks: int, size: Decimal
) -> None:
    asked = {"time": ("1m", None, None, None), "ticks": (None, ticks, None, None)}
    asked |= {"volume": (None, None, size, None), "dollars": (None, None, None, size)}
    bars = make_bars(frame(rows), parse_rule(*asked[kind]))
    limit = Decimal(ticks) if kind == "ticks" else size
    assert bars.select("open", "high", "low", "close", "volume", "trade_count").rows() == by_hand(rows, kind, limit)
    assert bars["volume"].sum() == sum(row[2] for row in rows)
    assert bars["trade_count"].sum() == len(rows)


@given(TRADES, st.integers(1, 29), NUMBER)
def test_bars_that_are_whole_do_not_change_with_later_trades(
    rows: list[tuple[int, Decimal, Decimal]], first: int, size: Decimal
) -> None:
    rule = parse_rule(None, None, size, None)
    rows = sorted(rows, key=lambda row: row[0])
    before, after = (make_bars(frame(own), rule).drop("dollars") for own in (rows[:first], rows))
    assert before.rows()[:-1] == after.rows()[: before.height - 1]


def test_wide_numbers_that_cannot_be_counted_exactly_are_refused() -> None:
    rows = [(0, Decimal("1e15"), Decimal("1e15"))]
    assert make_bars(frame(rows, (38, 18)), parse_rule("1m", None, None, None)).height == 1
    with pytest.raises(ConfigError, match="counted exactly"):
        make_bars(frame(rows, (38, 18)), parse_rule(None, None, None, "5"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((None, None, None, None), "0 kinds"),
        (("1m", 5, None, None), "2 kinds"),
        ((None, 0, None, None), "no size"),
        ((None, None, "none", None), "no size"),
        ((None, None, None, Decimal("NaN")), "no size"),
        (("tick", None, None, None), "are trades"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(asked: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_rule(*asked)


def test_a_comparison_names_every_number_that_differs_and_bars_that_one_lacks() -> None:
    made = make_bars(
        frame([(0, Decimal(1), Decimal(2)), (MINUTE, Decimal(3), Decimal(4))]), parse_rule("1m", None, None, None)
    )
    assert compare_bars(made, made).is_empty()
    other = made.head(1).with_columns(pl.lit(Decimal(5)).alias("close"), pl.lit(None, pl.Int64).alias("trade_count"))
    found = compare_bars(other, made)
    assert found.select("column").to_series().to_list() == ["close", "bar"]
    assert found["bars"].to_list()[1] is None
