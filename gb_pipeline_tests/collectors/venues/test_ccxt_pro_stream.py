"""Exchanges through ccxt.pro: trades as exact text, nothing of it ever covered, and refusals that name the symbol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any, cast

import pytest

from gb_pipeline.collectors import MessageRows, Venue
from gb_pipeline.errors import ConfigError, VendorError
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.collectors.listening import made, subscribed

TRADES = StreamDataset.TRADES


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USDT", "ETH-USDT"], stocks=["AAPL"]) as simulation:
        yield simulation


async def heard_of(venue: Venue, symbols: list[str], enough: Any) -> MessageRows:
    """What is heard until there is enough of it."""
    [connection] = subscribed(venue, symbols)
    rows, decoder = MessageRows(), venue.decoder(connection)
    async with asyncio.timeout(60), aclosing(cast("Any", venue.listen(connection))) as messages:
        async for data in messages:
            decoder.decode(data, time.time_ns(), rows)
            if enough(rows):
                break
    return rows


async def test_trades_are_the_exchanges_digit_by_digit(sim: Simulation) -> None:
    venue = made("ccxt_pro", {"exchange": "binance", "base_url": sim.url})
    rows = await heard_of(
        venue, ["BTC-USDT", "ETH-USDT"], lambda rows: len({row[0] for row in rows.trades}) == 2 and len(rows.trades) > 5
    )
    assert {signal.kind for signal in rows.signals} == {ConnectionEventKind.SUBSCRIBED}
    for code in ("BTC-USDT", "ETH-USDT"):
        own = [row for row in rows.trades if row[0] == code]
        digits = sim.exchange.instruments[code]
        times = [int(row[1] or 0) for row in own]
        real = {
            str(number): (
                moment,
                Decimal(price).scaleb(-digits.price_digits),
                Decimal(size).scaleb(-digits.volume_digits),
            )
            for number, moment, price, size, _ in sim.exchange.trades(code, min(times), max(times), 10_000)
        }
        assert own
        assert all(real[str(row[6])] == (row[1], Decimal(row[4]), Decimal(row[5])) for row in own)
        assert {row[3] for row in own} <= {"buy", "sell"}


async def test_a_symbol_that_the_exchange_does_not_have_is_refused_and_the_others_go_on(sim: Simulation) -> None:
    venue = made("ccxt_pro", {"exchange": "binance", "base_url": sim.url})
    rows = await heard_of(
        venue, ["ZZZ-USDT", "BTC-USDT"],
        lambda rows: rows.trades and any(signal.kind is ConnectionEventKind.REFUSED for signal in rows.signals),
    )  # fmt: skip
    [signal] = [signal for signal in rows.signals if signal.kind is ConnectionEventKind.REFUSED]
    assert (signal.dataset, signal.symbol, signal.detail["permanent"]) == (TRADES, "ZZZ-USDT", True)


async def test_a_connection_that_is_lost_is_an_error_of_the_vendor(sim: Simulation) -> None:
    venue = made("ccxt_pro", {"exchange": "binance", "base_url": sim.url})

    def drop(rows: MessageRows) -> bool:
        if rows.trades:
            sim.streams.drop("binance")
        return False

    with pytest.raises(VendorError):
        await heard_of(venue, ["BTC-USDT"], drop)


def test_it_says_of_itself_that_it_is_best_effort_and_hears_trades_only() -> None:
    venue = made("ccxt_pro", {"exchange": "bitstamp"})
    assert venue.best_effort
    assert venue.datasets == (TRADES,)
    assert venue.venue_symbol("BTC-USDT-PERP") == "BTC/USDT:USDT"
    assert len(subscribed(venue, [f"A{number}-USD" for number in range(51)])) == 2


@pytest.mark.parametrize(("options", "says"), [
    ({}, "no exchange ''"), ({"exchange": "binanc"}, "did you mean"), ({"exchange": "binance", "key": "k"}, "does not know"),
    ({"exchange": "binance", "base_url": "http://example.com"}, "loopback|simulated"),
])  # fmt: skip
def test_options_are_refused_clearly(options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made("ccxt_pro", options)
    assert any(part in str(refused.value) for part in says.split("|"))


def test_what_cannot_be_read_is_told() -> None:
    venue = made("ccxt_pro", {"exchange": "bitstamp"})
    [connection] = subscribed(venue, ["BTC-USD"])
    rows = MessageRows()
    for data in (b"{", b'{"kind":"trades","symbol":"XX"}', b'{"kind":"trades","symbol":"BTC/USD","trades":[[1,2]]}'):
        venue.decoder(connection).decode(data, 1, rows)
    assert (rows.messages, rows.unreadable, rows.trades) == (3, 3, [])
