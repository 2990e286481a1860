"""Kalshi's websocket: signatures, exact books from differences, numbers that say what is missing, contracts that come and go.

A published client judges the simulation; its books are ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from kalshi_clients import KalshiWebSocketClient
from orderbook_manager import OrderbookManager

from gb_pipeline.collectors import MessageRows
from gb_pipeline.collectors.venues.kalshi import Kalshi
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.collectors.listening import Listener, made, subscribed

NOON = "2024-06-20T12:00:00Z"
BOOK, TRADES = StreamDataset.BOOK_UPDATES, StreamDataset.TRADES
A, B = "KXBTCD-24JUN2013-T1999.99", "KXBTCD-24JUN2013-T2999.99"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
Books = dict[str, dict[tuple[str, Decimal], Decimal]]


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USD"], stocks=["AAPL"]) as simulation:
        simulation.prediction.public_keys["key-1"] = PUBLIC
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOON)
    return running


def venue_of(sim: Simulation, key: str = "key-1", **options: Any) -> Kalshi:
    made_venue = made("kalshi", {"key": key, "private_key": PEM.replace("\n", "\\n"), "base_url": sim.url, **options})
    assert isinstance(made_venue, Kalshi)
    return made_venue


@asynccontextmanager
async def hearing(sim: Simulation, tickers: list[str]) -> AsyncIterator[Listener]:
    venue = venue_of(sim)
    [connection] = subscribed(venue, tickers)
    async with Listener(venue, connection) as listener:
        await listener.until(lambda: len(listener.rows.snapshots) == len(tickers), "snapshots")
        yield listener


def books(rows: MessageRows) -> Books:
    """What snapshots and updates lead to; both are in the order of their sequence."""
    found: Books = {}
    events = [(row[5] or 0, row, True) for row in rows.snapshots] + [(row[6] or 0, row, False) for row in rows.updates]
    for _, row, whole in sorted(events, key=lambda event: event[0]):
        book = found.setdefault(str(row[0]), {})
        if whole:
            book.clear()
        for side, levels in (("bid", row[3]), ("ask", row[4])):
            for price, size in levels:  # type: ignore[union-attr]
                book[side, Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del book[side, Decimal(price)]
    return found


def real_book(sim: Simulation, ticker: str, second: int) -> dict[tuple[str, Decimal], Decimal]:
    contract = sim.prediction.contract(ticker, second * 1000)
    assert contract is not None
    cents = sim.prediction.book(contract, second)
    return {
        ("bid", Decimal(price) / 100) if side == "yes" else ("ask", 1 - Decimal(price) / 100): Decimal(size)
        for (side, price), size in cents.items()
    }


class Client(KalshiWebSocketClient):  # type: ignore[misc]
    """The published client; it is told where the simulation is, and its messages go into its own order book."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__("key-1", KEY)
        self.WS_BASE_URL = sim.url.replace("http", "ws") + "/api.elections.kalshi.com"
        self.manager = OrderbookManager()
        self.heard: list[dict[str, Any]] = []

    async def on_open(self) -> None:
        await self.subscribe_to_markets(["orderbook_delta"], [A, B])

    async def on_message(self, message: str) -> None:
        said = json.loads(message)
        self.heard.append(said)
        if said["type"] == "orderbook_snapshot":
            self.manager.handle_snapshot(said["msg"])
        if said["type"] == "orderbook_delta":
            self.manager.handle_delta(said["msg"])


async def test_a_published_client_and_ours_have_the_same_books_and_they_are_the_markets(
    sim: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(sim)
    task = asyncio.create_task(client.connect())
    try:
        async with hearing(sim, [A, B]) as ours:
            await ours.until(lambda: sum(said["type"] == "orderbook_snapshot" for said in client.heard) == 2, "theirs")
            sim.set_now("2024-06-20T12:02:00Z")
            last = 1718884800 + 119
            wanted = {ticker: real_book(sim, ticker, last) for ticker in (A, B)}
            await ours.until(lambda: books(ours.rows) == wanted, "our books")
            rows = ours.rows
            await ours.until(
                lambda: client.heard[-1].get("seq") == max(row[6] or 0 for row in rows.updates), "their books"
            )
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    for ticker in (A, B):
        theirs = client.manager.get_orderbook(ticker)
        assert {("bid", Decimal(cents) / 100): Decimal(size) for cents, size in theirs["yes"].items()} | {
            ("ask", 1 - Decimal(cents) / 100): Decimal(size) for cents, size in theirs["no"].items()
        } == wanted[ticker]
    assert rows.unreadable == 0
    # The venue says that the hour's contracts are open.
    kinds = {ConnectionEventKind.SUBSCRIBED, ConnectionEventKind.SNAPSHOT, ConnectionEventKind.VENUE}
    assert {signal.kind for signal in rows.signals} == kinds
    assert len(rows.updates) > 100
    capsys.readouterr()


async def test_trades_heard_are_those_asked_for_by_rest(sim: Simulation) -> None:
    async with hearing(sim, [A]) as ours:
        sim.set_now("2024-06-20T12:10:00Z")
        start, end = 1718884800 * 10**9, 1718885400 * 10**9
        fetched = await ours.venue.fetch_trades(A, start, end)
        assert fetched is not None
        assert fetched.height > 100, "more than one page"
        await ours.until(lambda: len(ours.rows.trades) == fetched.height, "trades")
    assert [(row[1], row[3], Decimal(row[4]), Decimal(row[5]), row[6]) for row in ours.rows.trades] == [
        (moment, side, Decimal(price), Decimal(size), identity)
        for moment, side, price, size, identity in fetched.rows()
    ]
    part = await ours.venue.fetch_trades(A, start + 60 * 10**9 + 1, start + 120 * 10**9)
    assert part is not None
    assert part.rows() == [row for row in fetched.rows() if start + 60 * 10**9 < row[0] < start + 120 * 10**9]


@pytest.mark.parametrize("action", ["drop", "reorder"])
async def test_a_message_that_is_missing_breaks_all_books_of_its_subscription_until_they_are_laid_anew(
    sim: Simulation, action: str
) -> None:
    async with hearing(sim, [A, B]) as ours:
        fault = sim.streams.faults.add(match="orderbook_delta.*" + A, action=action, skip=3)
        sim.set_now("2024-06-20T12:01:00Z")
        await ours.until(lambda: len(ours.rows.snapshots) == 4, "laid anew")
        sim.set_now("2024-06-20T12:02:00Z")
        wanted = {ticker: real_book(sim, ticker, 1718884800 + 119) for ticker in (A, B)}
        await ours.until(lambda: ours.rows.updates[-1][1] == (1718884800 + 119) * 10**9, "the last second")
        again = MessageRows(snapshots=ours.rows.snapshots[2:], updates=ours.rows.updates)
        # The new subscription counts from one again.
        start = again.snapshots[0][2]
        again.updates = [row for row in again.updates if row[2] >= start]
        await ours.until(lambda: books(again) == wanted, "the market's books")
    assert fault.hits == 1
    lost = ours.signals(ConnectionEventKind.SEQUENCE)
    assert {signal.symbol for signal in lost} == {A, B}
    assert all(signal.resubscribe and signal.first_sequence == signal.last_sequence for signal in lost)
    assert [row[6] for row in ours.rows.snapshots] == ["subscribed", "subscribed", "resync", "resync"]


async def test_a_message_that_comes_twice_counts_once(sim: Simulation) -> None:
    async with hearing(sim, [A]) as ours:
        sim.streams.faults.add(match="orderbook_delta|trade_id", action="duplicate", times=-1)
        sim.set_now("2024-06-20T12:01:00Z")
        await ours.until(lambda: books(ours.rows).get(A) == real_book(sim, A, 1718884800 + 59), "the market's book")
        trades = await ours.venue.fetch_trades(A, 1718884800 * 10**9, 1718884860 * 10**9)
        assert trades is not None
        await ours.until(lambda: len(ours.rows.trades) == trades.height, "trades")
    assert not ours.signals(ConnectionEventKind.SEQUENCE)


@pytest.mark.parametrize("key", ["unknown", "key-1"])
async def test_a_wrong_key_or_signature_refuses_the_handshake_and_says_what_to_do(sim: Simulation, key: str) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = base64.b64encode(
        other.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ).decode()
    venue = venue_of(sim, key, private_key=text)
    [connection] = subscribed(venue, [A])
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with Listener(venue, connection):
            pass
    assert refused.value.status == 401
    assert "private key" in venue.refused_handshake(401)
    assert "clock" in venue.refused_handshake(401)
    assert "later" in venue.refused_handshake(503)


async def test_a_clock_that_is_off_refuses_the_handshake(sim: Simulation) -> None:
    venue = Kalshi(lambda: "key-1", lambda: KEY, base_url=sim.url, clock=lambda: time.time_ns() - 60 * 10**9)
    [connection] = subscribed(venue, [A])
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with Listener(venue, connection):
            pass


async def test_open_contracts_of_all_series_with_a_prefix_are_found_and_change_with_the_hour(sim: Simulation) -> None:
    venue = venue_of(sim)
    found = await venue.discover(["KXBTC", "KXETH"])
    assert {ticker.partition("-")[0] for ticker in found} == {"KXBTC", "KXBTCD", "KXETHD"}
    assert A in found
    assert len(found) == len(set(found)) == 15
    assert await venue.discover(["KXNOTHING"]) == []
    sim.set_now("2024-06-20T13:00:00Z")
    assert not set(await venue.discover(["KXBTC", "KXETH"])) & set(found)


async def test_contracts_that_end_while_they_are_heard_are_told(sim: Simulation) -> None:
    sim.set_now("2024-06-20T12:59:30Z")
    async with hearing(sim, [A, B]) as ours:
        sim.set_now("2024-06-20T13:00:30Z")
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.VENUE)) == 2, "ended")
    assert {signal.symbol for signal in ours.signals(ConnectionEventKind.VENUE)} == {A, B}
    assert {
        (signal.detail["contract"], signal.detail["ended"]) for signal in ours.signals(ConnectionEventKind.VENUE)
    } == {("determined", True)}
    assert max(int(row[1] or 0) for row in ours.rows.updates) < 1718888400 * 10**9


async def test_a_contract_that_there_is_not_is_refused_by_name_and_the_others_are_heard(sim: Simulation) -> None:
    gone = "KXBTCD-24JUN2012-T999.99"
    venue = venue_of(sim)
    [connection] = subscribed(venue, [A, gone])
    async with Listener(venue, connection) as ours:
        await ours.until(lambda: len(ours.signals(ConnectionEventKind.REFUSED)) == 2, "refused")
        await ours.until(lambda: len(ours.rows.snapshots) == 1, "the other one's book")
        sim.set_now("2024-06-20T12:01:00Z")
        await ours.until(lambda: bool(ours.rows.trades), "the other one's trades")
    refused = ours.signals(ConnectionEventKind.REFUSED)
    assert {(signal.dataset, signal.symbol) for signal in refused} == {(BOOK, gone), (TRADES, gone)}
    assert refused[0].detail["permanent"] is True
    assert "code 16" in str(refused[0].detail["error"])
    # The next connection does not ask for it again.
    assert not any(gone.encode() in request for request in venue.opening(connection))


# --- decoding alone -----------------------------------------------------------------------------------------------------------

Deltas = list[tuple[str, int, int]]


def played(steps: Deltas, *, dollars: bool, faulty: dict[int, str] | None = None) -> tuple[MessageRows, list[bytes]]:
    """Rows of a snapshot and differences, in either of Kalshi's forms; some messages dropped, repeated or late."""
    venue = made("kalshi", {"key": "key-1", "private_key": "x"})
    [connection] = subscribed(venue, [A], [BOOK])
    decoder, rows = venue.decoder(connection), MessageRows()
    first = (
        {"yes_dollars_fp": [["0.4000", "1000.00"]], "no_dollars_fp": []} if dollars else {"yes": [[40, 1000]], "no": []}
    )
    messages = [
        {"id": 1, "type": "subscribed", "msg": {"channel": "orderbook_delta", "sid": 5}},
        {"type": "orderbook_snapshot", "sid": 5, "seq": 1, "msg": {"market_ticker": A, **first}},
    ]
    for number, (side, cents, delta) in enumerate(steps, 2):
        change: dict[str, Any] = {"price": cents, "delta": delta}
        if dollars:
            change = {"price_dollars": f"{cents / 100:.4f}", "delta_fp": f"{delta}.00"}
        messages.append(
            {"type": "orderbook_delta", "sid": 5, "seq": number, "msg": {"market_ticker": A, "side": side, **change}}
        )
    order = list(range(len(messages)))
    for place, what in sorted((faulty or {}).items(), reverse=True):
        if what == "drop":
            del order[place]
        elif what == "twice":
            order.insert(place, order[place])
        elif place + 1 < len(order):
            order[place], order[place + 1] = order[place + 1], order[place]
    for moment, at in enumerate(order, 1):
        decoder.decode(json.dumps(messages[at]).encode(), moment, rows)
    return rows, list(decoder.requests())


def summed(steps: Deltas) -> dict[tuple[str, Decimal], Decimal]:
    book = {("bid", Decimal("0.4")): Decimal(1000)}
    for side, cents, delta in steps:
        key = ("bid", Decimal(cents) / 100) if side == "yes" else ("ask", 1 - Decimal(cents) / 100)
        book[key] = book.get(key, Decimal(0)) + delta
    return {key: size for key, size in book.items() if size}


@st.composite
def steps_of_a_book(draw: st.DrawFn) -> Deltas:
    """Differences that never make a size negative."""
    sizes = {("yes", 40): 1000}
    steps = []
    for _ in range(draw(st.integers(1, 25))):
        key = draw(st.tuples(st.sampled_from(["yes", "no"]), st.integers(38, 42)))
        delta = draw(st.integers(-sizes.get(key, 0), 500).filter(bool))
        sizes[key] = sizes.get(key, 0) + delta
        steps.append((*key, delta))
    return steps


@given(steps_of_a_book(), st.booleans())
def test_differences_become_absolute_sizes_exactly_in_either_form(steps: Deltas, dollars: bool) -> None:
    rows, requests = played(steps, dollars=dollars)
    assert books(rows)[A] == summed(steps)
    assert (rows.unreadable, requests, len(rows.updates)) == (0, [], len(steps))
    assert rows.heard == {(BOOK, A): len(steps) + 1}


@given(steps_of_a_book(), st.data())
def test_whatever_is_dropped_repeated_or_late_is_told_or_the_book_is_exact(steps: Deltas, data: st.DataObject) -> None:
    places = st.integers(1, len(steps) + 1)
    faulty = data.draw(st.dictionaries(places, st.sampled_from(["drop", "twice", "late"]), max_size=3))
    rows, requests = played(steps, dollars=True, faulty=faulty)
    told = [
        signal for signal in rows.signals if signal.kind in {ConnectionEventKind.SEQUENCE, ConnectionEventKind.CHECKSUM}
    ]
    # The end of a stream that is cut off is known to nobody.
    received = len(steps) - sum(1 for place, what in faulty.items() if what == "drop")
    if not told:
        heard = [row[6] for row in rows.updates]
        assert heard == list(range(2, 2 + len(heard)))
        assert len(heard) >= received - 3
        assert books(rows).get(A, summed(steps[: len(heard)])) == summed(steps[: len(heard)])
    else:
        assert requests, "the book is asked for again"


def test_what_cannot_be_read_is_told_and_never_raises() -> None:
    venue = made("kalshi", {"key": "PLANTED+key/8kQz", "private_key": "x"})
    [connection] = subscribed(venue, [A])
    decoder, rows = venue.decoder(connection), MessageRows()
    for data in (
        b"{", b"[]", b'{"type":"trade","msg":{}}', b'{"type":"trade","msg":{"market_ticker":"%s"}}' % A.encode(),
        b'{"type":"orderbook_snapshot","msg":{"market_ticker":"%s","yes":[["x",1]]}}' % A.encode(),
        b'{"type":"trade","msg":{"echo":"PLANTED+key/8kQz"}}', b'{"type":"event_lifecycle","msg":{"a":1}}',
    ):  # fmt: skip
        decoder.decode(data, 1, rows)
    assert (rows.messages, rows.unreadable, rows.trades, rows.snapshots) == (7, 6, [], [])
    assert "PLANTED" not in str(rows.signals)


def test_keys_by_file_or_text_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(PEM, encoding="utf-8")
    venue = made("kalshi", {"key": "k123", "private_key_file": str(file), "environment": "demo"})
    [connection] = subscribed(venue, [A])
    assert connection.url == "wss://demo-api.kalshi.co/trade-api/ws/v2"
    assert set(venue.headers(connection)) == {f"KALSHI-ACCESS-{name}" for name in ("KEY", "SIGNATURE", "TIMESTAMP")}
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    secret = "PLANTEDnotakey" * 3
    for options, says in (
        ({}, "needs one of"), ({"private_key": secret}, "cannot be read"), ({"private_key_file": str(tmp_path / "no")}, "No such"),
        ({"private_key": elliptic.decode().replace("\n", "\\n")}, "not an RSA key"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says) as refused:
            made("kalshi", {"key": "k123", **options}).headers(connection)
        assert "PLANTED" not in str(refused.value)
        assert refused.value.__cause__ is None


def test_many_contracts_are_spread_over_connections() -> None:
    venue = made("kalshi", {"key": "k123", "private_key": "x"})
    tickers = [f"KXBTCD-24JUN2013-T{number}" for number in range(250)]
    connections = subscribed(venue, tickers)
    assert [len(item.subscriptions) for item in connections] == [200, 200, 100]
    assert len({item.name for item in connections}) == 3
