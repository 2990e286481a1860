"""Trades of the simulated exchange are numbered one after another, and a number is found again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.simulation.exchange import Exchange
from gb_pipeline.simulation.instruments import make_instrument
from gb_pipeline.simulation.market import Path

_ORIGIN = 20_270 * 1440
_PATH = Path(7, make_instrument("BTC-USDT"))


@given(st.integers(0, 60_000_000), st.sampled_from(["BTC-USDT", "DOGE-USD", "NOBODY-USD"]))
def test_every_minute_has_its_trades_and_every_number_its_minute(minute: int, code: str) -> None:
    numbers = Path(7, make_instrument(code)).numbers
    minutes = np.arange(minute, minute + 1441)
    counts = numbers.counts(minutes)
    assert counts.min() >= 4 and counts.max() <= 2_000
    assert numbers.first(minute + 1441) - numbers.first(minute) == counts.sum()
    number = numbers.first(minute) + int(counts[0]) - 1
    assert numbers.minute(number) == minute and numbers.minute(number + 1) == minute + 1


@settings(max_examples=60, deadline=None)
@given(st.integers(_ORIGIN - 3 * 1440, _ORIGIN + 3 * 1440))
def test_the_first_trade_of_a_minute_follows_the_last_of_the_one_before(minute: int) -> None:
    numbers = _PATH.numbers
    count = len(_PATH.trades(minute).id)
    assert numbers.first(minute + 1) == numbers.first(minute) + count
    assert numbers.minute(numbers.first(minute)) == minute
    assert numbers.minute(numbers.first(minute) + count - 1) == minute


def test_pages_by_number_have_no_holes_over_midnight() -> None:
    exchange = Exchange(7, ["ETH-USD"])
    exchange.set_now("2024-03-02T00:05Z")
    begin = 1_709_337_540_000
    first = exchange.trades("ETH-USD", begin, exchange.now, 1)[0][0]
    rows = exchange.trades_from("ETH-USD", first, 1_000_000)
    assert [row[0] for row in rows] == list(range(first, first + len(rows)))
    assert rows == exchange.trades("ETH-USD", begin, exchange.now, 1_000_000)
    assert exchange.trades_from("ETH-USD", first + 100, 10) == rows[100:110]


def test_moments_of_no_exchange_have_numbers_too() -> None:
    for minute in (-(10**9), 0, 10**9):
        number = _PATH.numbers.first(minute)
        assert _PATH.numbers.minute(number) == minute
