"""Massive's websocket: the vendor's own client and ours hear the same, digit by digit, and refusals say what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from massive import WebSocketClient
from massive.exceptions import AuthError
from massive.websocket.models import EquityAgg, EquityQuote, EquityTrade

from gb_pipeline.collectors import MessageRows
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.collectors.listening import Listener, made, subscribed

OPENED, LATER = "2024-06-20T14:30:00Z", "2024-06-20T14:32:00Z"
SYMBOLS = ["AAPL", "BRK.B"]
TRADES, QUOTES = StreamDataset.TRADES, StreamDataset.QUOTES


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, stocks=["AAPL", "BRK.B", "KO"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(OPENED)
    return running


@asynccontextmanager
async def hearing(sim: Simulation, key: str = "key-1234", **options: Any) -> AsyncIterator[Listener]:
    venue = made("massive", {"key": key, "base_url": sim.url, **options})
    [connection] = subscribed(venue, SYMBOLS)
    async with Listener(venue, connection) as listener:
        yield listener


async def client_hears(sim: Simulation, key: str, channels: list[str], count: int) -> list[Any]:
    """What the vendor's unmodified client makes of it."""
    address = sim.url.removeprefix("http://") + "/socket.massive.com"
    client = WebSocketClient(key, feed=address, secure=False, subscriptions=channels, max_reconnects=0)
    heard: list[Any] = []
    enough = asyncio.Event()

    async def take(messages: list[Any]) -> None:
        heard.extend(messages)
        if len(heard) >= count:
            enough.set()

    task = asyncio.create_task(client.connect(take))
    try:
        while len(sim.streams.received) < 1 + (len(channels) > 0) and not task.done():  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.01)
        if not task.done():
            sim.set_now(LATER)
            async with asyncio.timeout(20):
                await enough.wait()
    finally:
        # Its way of waiting may swallow a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
    if not task.cancelled() and task.exception() is not None:
        raise task.exception()  # type: ignore[misc]
    return heard


async def test_the_vendors_client_and_ours_hear_the_same(sim: Simulation) -> None:
    bars = {code: sim.stocks.whole_minute(code, 1718893800000) for code in SYMBOLS}
    total = sum(2 * (bars[code].trades if bars[code] else 0) for code in SYMBOLS)
    channels = [f"{kind}.{code}" for kind in "TQ" for code in SYMBOLS]
    theirs = await client_hears(sim, "key-9999", channels, total)
    sim.set_now(OPENED)
    async with hearing(sim) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        sim.set_now(LATER)
        trades = [item for item in theirs if isinstance(item, EquityTrade)]
        quotes = [item for item in theirs if isinstance(item, EquityQuote)]
        await ours.until(lambda: len(ours.rows.trades) >= len(trades) > 100, "trades")
        await ours.until(lambda: len(ours.rows.quotes) >= len(quotes), "quotes")
        rows = ours.rows
    # Theirs are floats; ours are the texts that were sent.
    assert [(r[0], r[1], Decimal(r[4]), Decimal(r[5]), r[7]) for r in rows.trades[: len(trades)]] == [
        (t.symbol, t.timestamp, Decimal(str(t.price)), Decimal(t.fractional_shares or str(t.size)), t.sequence_number)
        for t in trades
    ]
    assert [(r[0], r[1], Decimal(r[3] or 0), Decimal(r[5] or 0)) for r in rows.quotes[: len(quotes)]] == [
        (q.symbol, q.timestamp, Decimal(str(q.bid_price)), Decimal(str(q.ask_price))) for q in quotes
    ]
    assert rows.unreadable == 0
    assert rows.heard[TRADES, "AAPL"] == sum(row[0] == "AAPL" for row in rows.trades)


async def test_its_trades_add_up_to_the_bars_of_the_same_market(sim: Simulation) -> None:
    async with hearing(sim) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        sim.set_now("2024-06-20T14:31:00Z")
        [bar] = sim.stocks.bars("AAPL", "1m", 1718893800000, 1718893860000, extended=True)
        await ours.until(lambda: sum(row[0] == "AAPL" for row in ours.rows.trades) >= bar.trades, "a minute")
        rows = [row for row in ours.rows.trades if row[0] == "AAPL"]
    prices = [Decimal(row[4]) for row in rows]
    assert [prices[0], max(prices), min(prices), prices[-1]] == [
        *map(Decimal, (bar.open, bar.high, bar.low, bar.close))
    ]
    assert sum(Decimal(row[5]) for row in rows) == Decimal(bar.volume)
    assert len({row[6] for row in rows}) == len(rows) == bar.trades


async def test_the_vendors_client_hears_minute_aggregates(sim: Simulation) -> None:
    [first, *_] = await client_hears(sim, "key-1", ["AM.AAPL"], 2)
    bar = sim.stocks.whole_minute("AAPL", first.start_timestamp)
    assert isinstance(first, EquityAgg)
    assert bar is not None
    assert [first.open, first.high, first.low, first.close] == [*map(float, (bar.open, bar.high, bar.low, bar.close))]


async def test_a_refused_key_is_an_error_for_both_and_nothing_is_subscribed_to(sim: Simulation) -> None:
    with pytest.raises(AuthError, match="authentication failed"):
        await client_hears(sim, "unknown-key", ["T.AAPL"], 1)
    sim.streams.received.clear()
    async with hearing(sim, "unknown-key") as ours:
        await ours.until(lambda: bool(ours.signals(ConnectionEventKind.REFUSED)), "refused")
        await ours.closed.wait()
    [signal] = ours.signals(ConnectionEventKind.REFUSED)
    assert signal.detail["error"] == "authentication failed"
    assert signal.detail["permanent"] is True
    assert "dashboard" in str(signal.detail["fix"])
    assert (signal.dataset, signal.symbol) == (None, None)
    assert len(sim.streams.received) == 1, "the login and nothing else"


async def test_what_a_plan_lacks_is_refused_by_name(sim: Simulation) -> None:
    async with hearing(sim, "basic-key") as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.REFUSED)) == 4, "refused")
    assert {(item.dataset, item.symbol) for item in ours.signals(ConnectionEventKind.REFUSED)} == {
        (dataset, symbol) for dataset in (TRADES, QUOTES) for symbol in SYMBOLS
    }
    # A key has one connection, and the vendor may not have heard yet that the first has ended.
    async with hearing(sim, "basic-other-key", feed="delayed") as delayed:
        await delayed.until(lambda: len(delayed.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")


async def test_a_second_connection_of_one_key_is_told_why_it_ends(sim: Simulation) -> None:
    async with hearing(sim) as first:
        await first.until(lambda: len(first.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        async with hearing(sim) as second:
            await second.closed.wait()
            [signal] = second.signals(ConnectionEventKind.REFUSED)
        assert "Maximum number of websocket connections" in str(signal.detail["error"])
        assert "end the other program" in str(signal.detail["fix"])
        assert "permanent" not in signal.detail, "it may work in a minute"
        assert not first.closed.is_set()


async def test_a_slow_consumer_is_told(sim: Simulation) -> None:
    async with hearing(sim) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        assert sim.streams.say('[{"ev":"status","status":"slow_consumer","message":"disconnecting"}]') == 1
        await ours.until(lambda: bool(ours.signals(ConnectionEventKind.SLOW)), "slow")


@given(
    price=st.decimals("0.0001", "99999999", places=8).map(lambda value: format(value, "f")),
    size=st.integers(0, 10**12),
)
def test_numbers_keep_every_digit(price: str, size: int) -> None:
    venue = made("massive", {"key": "k123"})
    [connection] = subscribed(venue, ["AAPL"])
    rows = MessageRows()
    text = f'[{{"ev":"T","sym":"AAPL","x":4,"i":"7","z":3,"p":{price},"s":{size},"t":1718893800123,"q":9}}]'
    venue.decoder(connection).decode(text.encode(), 1, rows)
    assert rows.trades == [("AAPL", 1718893800123, 1, None, price, str(size), "4:7", 9, 0)]


def test_one_unreadable_event_does_not_take_the_others_with_it_and_a_repeated_key_is_not_shown() -> None:
    venue = made("massive", {"key": "PLANTED+key/8kQz"})
    [connection] = subscribed(venue, ["AAPL"])
    decoder, rows = venue.decoder(connection), MessageRows()
    good = {
        "ev": "T",
        "sym": "AAPL",
        "x": 4,
        "i": "7",
        "p": 1.25,
        "s": 1,
        "t": 1718893800123,
        "trfi": 202,
        "ds": "0.25",
    }
    bad = {"ev": "T", "sym": "AAPL", "p": 1.25, "echo": "PLANTED+key/8kQz"}
    decoder.decode(json.dumps([bad, good, {"ev": "LULD", "T": "AAPL"}]).encode(), 1, rows)
    decoder.decode(b'{"not": "a list", "key": "PLANTED+key/8kQz"}', 2, rows)
    decoder.decode(b"\xff\xfe", 3, rows)
    decoder.decode(
        json.dumps([{"ev": "status", "status": "auth_failed", "message": "no PLANTED+key/8kQz"}]).encode(), 4, rows
    )
    assert rows.trades == [("AAPL", 1718893800123, 1, None, "1.25", "0.25", "4.202:7", None, 0)]
    assert (rows.unreadable, rows.messages) == (3, 4)
    assert "PLANTED" not in str(rows.signals)


def test_a_side_without_a_quote_is_null() -> None:
    venue = made("massive", {"key": "k123"})
    [connection] = subscribed(venue, ["AAPL"])
    rows = MessageRows()
    venue.decoder(connection).decode(b'[{"ev":"Q","sym":"AAPL","bp":0,"bs":0,"ap":5.10,"as":2,"t":5,"q":1}]', 1, rows)
    assert rows.quotes == [("AAPL", 5, 1, None, None, "5.10", "2", 1)]


def test_options_and_spellings() -> None:
    venue = made("massive", {"key": "k123", "feed": "delayed"})
    [connection] = subscribed(venue, ["AAPL", "BAC.PRK"])
    assert connection.url == "wss://delayed.massive.com/stocks"
    assert venue.venue_symbol("BAC.PRK") == "BACpK"
    assert venue.connections([]) == []
    with pytest.raises(ConfigError, match="feed"):
        made("massive", {"key": "k123", "feed": "slow"})
    with pytest.raises(ConfigError, match="does not know"):
        made("massive", {"keys": "k123"})
    # A stream can be planned without its key, and says which one is missing when it is needed.
    without = made("massive", {})
    [connection] = subscribed(without, ["AAPL"])
    with pytest.raises(ConfigError, match="key"):
        without.opening(connection)
