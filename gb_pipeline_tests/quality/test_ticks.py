"""Rows of trades, quotes and books: exact in one table or the other, or refused with every reason; none is lost."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.quality.ticks import place_rows

NUMBERS = st.one_of(
    st.decimals(min_value=-(10**21), max_value=10**21, places=20, allow_nan=False).map(str),
    st.decimals(min_value=0, max_value=10**9, places=8).map(str),
    st.sampled_from(["", "x", "1e-9", "1E+3", "0", "00.50", ".5", "5.", "NaN", "inf", " 7 ", "1,5", "-0"]),
    st.none(),
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from([None, 0, 1_700_000_000 * 10**9, -1, 2**62 + 3 * 10**18]),
        st.sampled_from([None, 1_700_000_000 * 10**9 + 5]),
        st.sampled_from(["buy", "sell", None, "Buy"]),
        NUMBERS,
        NUMBERS,
    ),
    max_size=30,
)
SCHEMA = {
    "exchange_time": pl.Int64(), "receive_time": pl.Int64(), "side": pl.String(), "price": pl.String(), "size": pl.String(),
}  # fmt: skip


@given(ROWS)
def test_every_row_is_exact_in_one_table_or_refused_with_a_reason(rows):
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("number")
    placed = place_rows(frame, "trades")
    numbers = [*placed.standard["number"], *placed.wide["number"], *placed.refused["number"]]
    assert sorted(numbers) == list(range(len(rows)))
    assert all(placed.refused["reasons"].list.len() > 0)
    for table, digits in ((placed.standard, 8), (placed.wide, 18)):
        assert table.schema["price"] == pl.Decimal(18 if digits == 8 else 38, digits)
        for row in table.rows(named=True):
            assert row["price"] == Decimal(rows[row["number"]][3]) > 0
            assert row["size"] == Decimal(rows[row["number"]][4]) > 0
    for row in placed.wide.rows(named=True):
        # Only what the standard table cannot hold is here.
        assert any(value >= 10**10 or value != round(value, 8) for value in (row["price"], row["size"]))
    for row in placed.refused.rows(named=True):
        assert not all(_is_storable(value) for value in (row["price"], row["size"])) or set(row["reasons"]) <= {
            "unreadable_timestamp", "implausible_timestamp", "unknown_side",
        }  # fmt: skip


def _is_storable(text: str | None) -> bool:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        return False
    return number.is_finite() and 0 < number < 10**20 and number == round(number, 18)


def test_the_exchanges_time_counts_unless_it_is_a_day_away_from_ours():
    noon, day = 1_700_000_000 * 10**9, 86_400 * 10**9
    rows = pl.DataFrame(
        {
            "exchange_time": [noon, None, noon - day - 1, noon - day],
            "receive_time": [noon + 5_000, noon, noon, noon],
            "side": ["buy"] * 4, "price": ["1"] * 4, "size": ["1"] * 4,
        }
    )  # fmt: skip
    stamps = place_rows(rows, "trades").standard["timestamp"].dt.epoch("us").to_list()
    assert stamps == [noon // 1000, noon // 1000, noon // 1000, (noon - day) // 1000]


def test_a_level_may_have_no_size_and_a_quote_no_side():
    moments = {"exchange_time": [1, 2], "receive_time": [1, 2]}
    levels = pl.DataFrame(moments | {"side": ["bid", None], "price": ["1", "1"], "size": ["0", "1"]})
    assert place_rows(levels, "book_updates").refused["reasons"].to_list() == [["unknown_side"]]
    assert place_rows(levels, "book_snapshots").refused["reasons"].to_list()[0] == ["size_not_positive"]
    quotes = pl.DataFrame(
        moments | {"bid_price": [None, "-1"], "bid_size": [None, "1"], "ask_price": ["1", "1"], "ask_size": ["2", "-2"]}
    )
    placed = place_rows(quotes, "quotes")
    assert placed.standard.height == 1
    assert placed.refused["reasons"].to_list() == [["price_not_positive", "size_negative"]]
    assert place_rows(quotes, "quotes", negative_prices=True).refused["reasons"].to_list() == [["size_negative"]]
