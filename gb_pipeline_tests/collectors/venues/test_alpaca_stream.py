"""Alpaca's websocket: the vendor's own client and ours hear the same, digit by digit, and refusals say what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from alpaca.data.live import StockDataStream
from alpaca.data.models import Bar, Quote, Trade, TradeCancel, TradeCorrection
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors import MessageRows
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.collectors.listening import Listener, made, subscribed

OPENED, LATER = "2024-06-20T14:30:00Z", "2024-06-20T14:32:00Z"
SYMBOLS = ["BRK.B", "KO"]
TRADES, QUOTES = StreamDataset.TRADES, StreamDataset.QUOTES
CORRECTION = {
    "T": "c", "S": "KO", "x": "V", "oi": 87, "op": 61.2345, "os": 100, "oc": ["@"], "ci": 88, "cp": 61.23, "cs": 10, "cc": ["@"],
    "z": "C", "t": "2024-06-20T14:30:01.5Z",
}  # fmt: skip
CANCELLATION = {
    "T": "x",
    "S": "KO",
    "i": 88,
    "x": "V",
    "p": 61.23,
    "s": 10,
    "a": "C",
    "z": "C",
    "t": "2024-06-20T14:30:02Z",
}


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
async def hearing(sim: Simulation, key: str = "AK12", **options: Any) -> AsyncIterator[Listener]:
    venue = made("alpaca", {"key": key, "secret": "hush", "base_url": sim.url, **options})
    [connection] = subscribed(venue, SYMBOLS)
    async with Listener(venue, connection) as listener:
        yield listener


@asynccontextmanager
async def client(sim: Simulation, key: str) -> AsyncIterator[list[Any]]:
    """What the vendor's unmodified client hears, by msgpack."""
    address = sim.url.replace("http", "ws") + "/stream.data.alpaca.markets/v2/iex"
    stream = StockDataStream(key, "hush", url_override=address)
    heard: list[Any] = []

    async def take(item: Any) -> None:
        heard.append(item)

    stream.subscribe_trades(take, *SYMBOLS)
    stream.subscribe_quotes(take, *SYMBOLS)
    stream.subscribe_bars(take, "KO")
    stream.register_trade_corrections(take)
    stream.register_trade_cancels(take)
    task = asyncio.create_task(stream._run_forever())
    try:
        yield heard
    finally:
        # It looks at its own request to stop every five seconds only, or when the connection is gone.
        await stream.stop_ws()
        sim.streams.drop("alpaca")
        async with asyncio.timeout(20):
            await task


async def test_the_vendors_client_and_ours_hear_the_same(sim: Simulation) -> None:
    async with client(sim, "AK99") as theirs, hearing(sim) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        await ours.until(lambda: len(sim.streams.received) == 4, "both subscribed")
        sim.set_now(LATER)
        await ours.until(lambda: sum(isinstance(item, Bar) for item in theirs) == 2, "two bars of minutes")
        trades, quotes = ([item for item in theirs if isinstance(item, kind)] for kind in (Trade, Quote))
        await ours.until(lambda: len(ours.rows.trades) >= len(trades) > 50, "trades")
        await ours.until(lambda: len(ours.rows.quotes) >= len(quotes), "quotes")
        _, bar = (item for item in theirs if isinstance(item, Bar))
    rows = ours.rows
    del rows.trades[len(trades) :], rows.quotes[len(quotes) :]
    assert [(r[0], datetime.fromisoformat(str(r[1])), Decimal(r[4]), Decimal(r[5]), r[6]) for r in rows.trades] == [
        (
            t.symbol,
            t.timestamp,
            Decimal(str(t.price)),
            Decimal(str(t.size)),
            f"{t.exchange}:{t.id}".replace("Exchange.", ""),
        )
        for t in trades
    ]
    assert [(r[0], Decimal(r[3] or 0), Decimal(r[5] or 0)) for r in rows.quotes] == [
        (q.symbol, Decimal(str(q.bid_price)), Decimal(str(q.ask_price))) for q in quotes
    ]
    prices = [Decimal(row[4]) for row in rows.trades if row[0] == "KO" and str(row[1]) < "2024-06-20T14:31"]
    assert [float(price) for price in (prices[0], max(prices), min(prices), prices[-1])] == [
        bar.open, bar.high, bar.low, bar.close,
    ]  # fmt: skip
    assert rows.unreadable == 0


async def test_corrections_and_cancellations_are_events_with_everything_that_was_said(sim: Simulation) -> None:
    async with client(sim, "AK99") as theirs, hearing(sim) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        await ours.until(lambda: len(sim.streams.received) == 4, "both subscribed")
        for message in (CORRECTION, CANCELLATION):
            assert sim.streams.say(json.dumps([message])) == 2
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.CORRECTION)) == 2, "corrections")
        await ours.until(lambda: len(theirs) == 2, "the client's")
    corrected, canceled = ours.signals(ConnectionEventKind.CORRECTION)
    assert isinstance(theirs[0], TradeCorrection)
    assert isinstance(theirs[1], TradeCancel)
    assert (corrected.dataset, corrected.symbol) == (TRADES, "KO")
    for signal, message, what in ((corrected, CORRECTION, "corrected"), (canceled, CANCELLATION, "canceled")):
        assert signal.detail.pop("what") == what
        assert {name: str(value) for name, value in signal.detail.items()} == {
            name: json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)
            for name, value in message.items()
        }
    assert ours.rows.trades == []
    assert ours.rows.heard == {(TRADES, "KO"): 2}


@pytest.mark.parametrize(("key", "feed", "says", "permanent"), [
    ("unknown", "iex", "auth failed (code 402)", True), ("AK1", "sip", "insufficient subscription (code 409)", True),
])  # fmt: skip
async def test_a_refused_login_says_what_to_do_and_nothing_is_subscribed_to(
    sim: Simulation, key: str, feed: str, says: str, permanent: bool
) -> None:
    async with hearing(sim, key, feed=feed) as ours:
        await ours.closed.wait()
    [signal] = ours.signals(ConnectionEventKind.REFUSED)
    assert (signal.detail["error"], signal.detail["permanent"]) == (says, permanent)
    assert signal.detail["fix"]
    assert (signal.dataset, signal.symbol) == (None, None)
    assert len(sim.streams.received) == 1


async def test_the_limit_of_symbols_refuses_each_subscription_by_name(sim: Simulation) -> None:
    venue = made("alpaca", {"key": "AK1", "secret": "hush", "base_url": sim.url})
    [connection] = subscribed(venue, [f"S{number}" for number in range(31)], [TRADES])
    async with Listener(venue, connection) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.REFUSED)) == 31, "refused")
    assert {str(signal.detail["error"]) for signal in ours.signals(ConnectionEventKind.REFUSED)} == {
        "symbol limit exceeded (code 405)"
    }
    assert "30" in str(ours.signals(ConnectionEventKind.REFUSED)[0].detail["fix"])


async def test_a_second_connection_is_told_why_it_ends_and_a_slow_client_too(sim: Simulation) -> None:
    async with hearing(sim) as first:
        await first.until(lambda: len(first.signals(ConnectionEventKind.SUBSCRIBED)) == 4, "subscribed")
        async with hearing(sim) as second:
            await second.closed.wait()
            [signal] = second.signals(ConnectionEventKind.REFUSED)
        assert signal.detail["error"] == "connection limit exceeded (code 406)"
        assert "permanent" not in signal.detail
        sim.streams.say('[{"T":"error","code":407,"msg":"slow client"}]')
        await first.until(lambda: bool(first.signals(ConnectionEventKind.SLOW)), "slow")


@given(
    price=st.decimals("0.0001", "99999999", places=8).map(lambda value: format(value, "f")), size=st.integers(0, 10**12)
)
def test_numbers_and_times_keep_every_digit(price: str, size: int) -> None:
    venue = made("alpaca", {"key": "k123", "secret": "hush"})
    [connection] = subscribed(venue, ["KO"])
    rows = MessageRows()
    time = "2024-06-20T14:30:00.123456789Z"
    text = f'[{{"T":"t","S":"KO","i":7,"x":"V","p":{price},"s":{size},"t":"{time}","c":["@"],"z":"C"}}]'
    venue.decoder(connection).decode(text.encode(), 1, rows)
    assert rows.trades == [("KO", time, 1, None, price, str(size), "V:7", None, 0)]


def test_one_unreadable_event_does_not_take_the_others_with_it_and_a_repeated_key_is_not_shown() -> None:
    venue = made("alpaca", {"key": "PLANTED+key/8kQz", "secret": "PLANTED~secret"})
    [connection] = subscribed(venue, ["KO"])
    decoder, rows = venue.decoder(connection), MessageRows()
    good = {"T": "t", "S": "KO", "i": 7, "x": "V", "p": 1.25, "s": 1, "t": "2024-06-20T14:30:00Z"}
    bad = {"T": "t", "S": "KO", "p": 1.25, "echo": "PLANTED~secret"}
    decoder.decode(json.dumps([bad, good, CANCELLATION, {"T": "n", "id": 5}]).encode(), 1, rows)
    decoder.decode(b"{PLANTED+key/8kQz", 2, rows)
    decoder.decode(b'[{"T":"error","code":402,"msg":"no PLANTED+key/8kQz"}]', 3, rows)
    assert [row[4] for row in rows.trades] == ["1.25"]
    assert [signal.kind for signal in rows.signals].count(ConnectionEventKind.CORRECTION) == 1
    assert (rows.unreadable, rows.messages) == (2, 3)
    assert "PLANTED" not in str(rows.signals)
