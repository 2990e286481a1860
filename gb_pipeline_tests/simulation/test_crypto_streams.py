"""The simulated websockets of crypto exchanges: what is heard agrees with REST and bars, faults show, recordings come again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gb_pipeline.collectors import MessageRows
from gb_pipeline.collectors.levels import read_levels
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation.books import book_at
from gb_pipeline.simulation.exchange import Exchange
from gb_pipeline.simulation.server import Simulation
from gb_pipeline.simulation.streams.kraken import KrakenSession
from gb_pipeline_tests.collectors.listening import Listener, made, subscribed

_BEGIN = datetime(2025, 7, 2, 10, 0, 30, tzinfo=UTC)
_VENUES = {"kraken": "BTC-USD", "coinbase": "BTC-USD", "coinbase_exchange": "BTC-USD", "binance": "BTC-USDT"}
_TRADES, _BOOK = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(7, ["BTC-USDT", "BTC-USD", "BTC-USDT-PERP"]) as simulation:
        simulation.set_now(_BEGIN)
        yield simulation


async def control(sim: Simulation, command: str, **body: Any) -> Any:
    """As another process does it."""
    async with httpx.AsyncClient(base_url=f"{sim.url}/_control/") as client:
        answer = await (client.post(command, json=body) if body else client.get(command))
        return answer.raise_for_status().json()


def connect(sim: Simulation, name: str, symbol: str, datasets: tuple[StreamDataset, ...]) -> Listener:
    venue = made(name, {"base_url": sim.url})
    (connection,) = subscribed(venue, [symbol], datasets)
    return Listener(venue, connection)


async def until_subscribed(listener: Listener, datasets: int) -> None:
    await listener.until(
        lambda: (
            len(listener.signals(ConnectionEventKind.SUBSCRIBED)) >= datasets
            and (bool(listener.rows.snapshots) or listener.connection.subscriptions[0].dataset is _TRADES)
        ),
        "subscribed",
    )


async def test_others_are_answered_while_a_session_takes_long(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_answer = threading.Event(), threading.Event()
    received = KrakenSession.received

    def slowly(session: KrakenSession, message: str | bytes) -> Any:
        asked.set()
        assert may_answer.wait(60)
        return received(session, message)

    monkeypatch.setattr(KrakenSession, "received", slowly)
    async with connect(sim, "kraken", "BTC-USD", (_TRADES,)) as listener:
        await asyncio.to_thread(asked.wait, 60)
        async with connect(sim, "binance", "BTC-USDT", (_TRADES,)) as other:
            await until_subscribed(other, 1)
        may_answer.set()
        await until_subscribed(listener, 1)


def heard_book(rows: MessageRows) -> OrderBook:
    book = OrderBook(1000)
    for _, row in sorted(
        [(row[2], row) for row in rows.snapshots] + [(row[2], row) for row in rows.updates], key=lambda item: item[0]
    ):
        if row in rows.snapshots:
            book.lay(read_levels(row[3]), read_levels(row[4]))
        else:
            book.apply(read_levels(row[3]), read_levels(row[4]))
    return book


@pytest.mark.parametrize(("name", "symbol"), [*_VENUES.items(), ("binance", "BTC-USDT-PERP")])
async def test_trades_of_the_stream_are_those_of_rest_and_make_the_bar(sim: Simulation, name: str, symbol: str) -> None:
    async with connect(sim, name, symbol, (_TRADES,)) as listener:
        await until_subscribed(listener, 1)
        for second in (45, 90, 91):
            sim.set_now(_BEGIN + timedelta(seconds=second))
            await listener.until(
                lambda second=second: (
                    bool(listener.rows.trades) and listener.rows.messages > 0 and heard_until(listener, sim)
                ),
                "trades",
            )
        rows = list(listener.rows.trades)
        assert not listener.signals(ConnectionEventKind.SEQUENCE)
    start, end = (round((_BEGIN + timedelta(seconds=second)).timestamp() * 10**9) for second in (30, 90))
    venue = made(name, {"base_url": sim.url})
    asked = await venue.fetch_trades(symbol, start, end)
    assert asked is not None
    heard = {str(row[6]): row[3:6] for row in rows}
    told = {row["trade_id"]: (row["side"], row["price"], row["size"]) for row in asked.to_dicts()}
    assert len(told) > 20
    assert {number: numbers(heard[number]) for number in told} == {number: numbers(row) for number, row in told.items()}
    (bar,) = sim.exchange.bars(symbol, "1m", start // 10**6, end // 10**6 - 1, 1)
    prices = [Decimal(row[1]) for row in told.values()]
    assert (prices[0], max(prices), min(prices), prices[-1]) == tuple(map(Decimal, bar[1:5]))
    assert sum(Decimal(row[2]) for row in told.values()) == Decimal(bar.volume)


def numbers(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (row[0], Decimal(row[1]), Decimal(row[2]))


def heard_until(listener: Listener, sim: Simulation) -> bool:
    """Whether the last trade before now has come."""
    symbol = listener.connection.subscriptions[0].symbol
    (last,) = sim.exchange.trades(symbol, sim.exchange.now - 60_000, sim.exchange.now - 1, 1, newest=True)
    return listener.rows.trades[-1][6] == last[0]


@pytest.mark.parametrize(("name", "symbol"), _VENUES.items())
async def test_the_book_of_the_stream_is_that_of_the_exchange(sim: Simulation, name: str, symbol: str) -> None:
    async with connect(sim, name, symbol, (_BOOK,)) as listener:
        await until_subscribed(listener, 1)
        for tenths in (20, 37, 200):
            sim.set_now(_BEGIN + timedelta(milliseconds=100 * tenths + 50))
            item = sim.exchange.instruments[symbol]

            def is_there(item: Any = item, tenths: int = tenths) -> bool:
                moment = round(_BEGIN.timestamp() * 1000) + 100 * tenths
                book = book_at(sim.exchange, item, moment)
                heard = heard_book(listener.rows)
                return book is not None and [
                    [(Decimal(price), Decimal(size)) for price, size in side] for side in (heard.bids(), heard.asks())
                ] == [[(Decimal(price), Decimal(size)) for price, size in side] for side in book.texts(item)]

            await listener.until(is_there, f"the book after {tenths} tenths of a second")
        assert not heard_book(listener.rows).crossed
        kinds = {signal.kind for signal in listener.rows.signals}
        assert kinds <= {ConnectionEventKind.SUBSCRIBED, ConnectionEventKind.SNAPSHOT, ConnectionEventKind.VENUE}
        assert len(listener.rows.updates) > 20


@pytest.mark.parametrize(
    ("name", "match", "action", "kind"),
    [
        ("kraken", '"book","type":"update"', "checksum", ConnectionEventKind.CHECKSUM),
        ("coinbase", "l2_data", "drop", ConnectionEventKind.SEQUENCE),
        ("coinbase", "l2_data", "reorder", ConnectionEventKind.SEQUENCE),
        ("binance", "depthUpdate", "drop", ConnectionEventKind.SEQUENCE),
        ("binance", "depthUpdate", "reorder", ConnectionEventKind.SEQUENCE),
    ],
)
async def test_a_planted_fault_is_noticed_and_the_book_laid_anew(
    sim: Simulation, name: str, match: str, action: str, kind: ConnectionEventKind
) -> None:
    assert (await control(sim, "stream_faults", match=match, action=action, skip=4))["action"] == action
    async with connect(sim, name, _VENUES[name], (_BOOK,)) as listener:
        await until_subscribed(listener, 1)
        sim.set_now(_BEGIN + timedelta(seconds=3))
        await listener.until(lambda: bool(listener.signals(kind)), "the fault")
        assert sim.streams.faults._queue[0].hits == 1
        assert listener.signals(kind)[0].resubscribe
        sim.set_now(None)
        await listener.until(lambda: [row[6] for row in listener.rows.snapshots][-1] == "resync", "a new snapshot")


@pytest.mark.parametrize(("name", "symbol"), _VENUES.items())
async def test_a_flood_of_one_trade_is_one_trade(sim: Simulation, name: str, symbol: str) -> None:
    match = {"kraken": '"trade_id"', "coinbase": '"type":"update","trades"', "binance": '"e":"trade"'}
    sim.streams.faults.add(match=match.get(name, '"type":"match"'), action="flood", size=3000)
    async with connect(sim, name, symbol, (_TRADES,)) as listener:
        await until_subscribed(listener, 1)
        sim.set_now(_BEGIN + timedelta(seconds=30))
        await listener.until(lambda: listener.rows.messages > 3000 and heard_until(listener, sim), "the flood")
        numbers = [row[6] for row in listener.rows.trades]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert not listener.signals(ConnectionEventKind.SEQUENCE)


async def test_connections_end_with_and_without_a_word(sim: Simulation) -> None:
    for action in ("reset", "close"):
        sim.streams.faults.add(match='"trade_id"', action=action)
        async with connect(sim, "kraken", "BTC-USD", (_TRADES,)) as listener:
            await until_subscribed(listener, 1)
            sim.set_now(sim.exchange.now + 30_000)
            await listener.until(listener.closed.is_set, action)


async def test_a_clock_that_is_wrong_shows_in_the_times_of_events(sim: Simulation) -> None:
    sim.streams.skew(90_000, "kraken")
    async with connect(sim, "kraken", "BTC-USD", (_TRADES,)) as listener:
        await until_subscribed(listener, 1)
        sim.set_now(_BEGIN + timedelta(seconds=20))
        await listener.until(lambda: bool(listener.rows.trades), "trades")
        assert str(listener.rows.trades[0][1]) >= f"{_BEGIN + timedelta(seconds=90):%Y-%m-%dT%H:%M:%S}"


async def test_unknown_products_are_refused(sim: Simulation) -> None:
    for name in ("kraken", "coinbase", "coinbase_exchange"):
        async with connect(sim, name, "NOPE-USD", (_TRADES,)) as listener:
            await listener.until(
                lambda listener=listener: bool(listener.signals(ConnectionEventKind.REFUSED)), "refused"
            )


async def test_a_recording_comes_again_a_thousand_times_as_fast(
    sim: Simulation, market_data: Callable[[str], Path]
) -> None:
    sim.set_now(None)
    path = market_data("order-book/cryptofeed/KRAKEN.ws.50.0")
    told = await control(sim, "replay", paths=[str(path)], host="ws.kraken.com", speed=1000)
    assert told == {"messages": 4321}
    venue = venue_class("kraken_v1").from_options("k", {"base_url": sim.url})
    pairs = [
        "WAVES-EUR",
        "XMR-USD",
        "KSM-BTC",
        "GRT-ETH",
        "SC-EUR",
        "ETH-CHF",
        "OCEAN-BTC",
        "OMG-USD",
        "BTC-CHF",
        "ADA-BTC",
    ]
    (connection,) = subscribed(venue, pairs, (_BOOK,))
    async with Listener(venue, connection) as listener:
        await listener.until(lambda: listener.rows.messages == 4321, "all messages")
        assert len(listener.rows.updates) == 4269
        assert not listener.signals(ConnectionEventKind.CHECKSUM)
    assert await control(sim, "replay") == {"ws.kraken.com": {"sent": 4321, "messages": 4321}}
    sim.reset()
    assert await control(sim, "replay") == {}


async def test_recorded_books_are_answered_when_the_replay_comes_to_them(
    sim: Simulation, market_data: Callable[[str], Path]
) -> None:
    sim.set_now(None)
    path = market_data("order-book/hftbacktest-binance-usdm-btcusdt_20240718.gz")
    replay = sim.streams.replay([path], "fstream.binance.com", speed=1000)
    venue = made("binance", {"base_url": sim.url})
    (connection,) = subscribed(venue, ["BTC-USDT-PERP"], (_BOOK,))
    async with Listener(venue, connection) as listener:
        await listener.until(lambda: replay.sent == replay.total and bool(listener.rows.snapshots), "everything")
        last = next(
            json.loads(message.data)["data"]["u"]
            for message in reversed(replay.frames)
            if b"depthUpdate" in message.data
        )
        await listener.until(lambda: listener.rows.updates[-1][6] == last, "the last change")
        # What was on its way when the book came is older than it, and not stored after it.
        assert 3000 < len(listener.rows.updates) <= 3326
        assert not listener.signals(ConnectionEventKind.SEQUENCE)
        assert [row[6] for row in listener.rows.snapshots] == ["subscribed"]


def test_a_book_is_the_same_in_every_process_and_has_the_last_trade_at_its_best() -> None:
    one, other = (Exchange(7, ["BTC-USD"]) for _ in range(2))
    item = one.instruments["BTC-USD"]
    moment = round(_BEGIN.timestamp() * 1000)
    for exchange in (one, other):
        exchange.set_now(moment + 10**7)
    for step in range(0, 60_000, 1_300):
        book = book_at(one, item, moment + step)
        assert book is not None
        assert book == book_at(other, item, moment + step)
        (trade,) = one.trades(item.code, moment - 60_000, moment + step, 1, newest=True)
        best_bid, best_ask = max(book.bids), min(book.asks)
        assert best_bid < best_ask
        assert trade[2] == (best_bid if trade[4] else best_ask)
