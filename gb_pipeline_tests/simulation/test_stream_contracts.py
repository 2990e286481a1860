"""Unmodified clients of the venues hear the simulated exchange, and what they hear agrees with its bars and its REST answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gb_pipeline.simulation.server import Simulation

_SYMBOLS = ["BTC-USDT", "BTC-USD", "BTC-USDT-PERP"]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(7, _SYMBOLS) as simulation:
        yield simulation


def websocket(sim: Simulation, address: str) -> str:
    return f"{sim.url.replace('http', 'ws', 1)}/{address}"


def rest_trades(sim: Simulation, symbol: str = "BTCUSDT") -> dict[int, tuple[str, str, int]]:
    url = f"{sim.url}/api.binance.com/api/v3/historicalTrades?symbol={symbol}&limit=1000"
    return {row["id"]: (row["price"], row["qty"], row["time"]) for row in httpx.get(url).json()}


# Clients still import what websockets deprecates.
_OLD_WEBSOCKETS = pytest.mark.filterwarnings("ignore:.*websockets:DeprecationWarning")


@_OLD_WEBSOCKETS
async def test_python_binance_hears_the_trades_that_rest_has_and_keeps_a_book(sim: Simulation) -> None:
    from binance import AsyncClient, BinanceSocketManager
    from binance.ws.depthcache import DepthCacheManager

    client = AsyncClient()
    client.API_URL = f"{sim.url}/api.binance.com/api"
    try:
        manager = BinanceSocketManager(client)
        manager.STREAM_URL = websocket(sim, "stream.binance.com/")
        async with manager.trade_socket("BTCUSDT") as socket:
            heard = [await asyncio.wait_for(socket.recv(), 20) for _ in range(5)]
        kept = rest_trades(sim)
        assert [kept[trade["t"]] for trade in heard] == [(trade["p"], trade["q"], trade["T"]) for trade in heard]
        assert [trade["t"] for trade in heard] == list(range(heard[0]["t"], heard[0]["t"] + 5))
        async with DepthCacheManager(client, "BTCUSDT", bm=manager, limit=1000, conv_type=str) as depth:
            for _ in range(8):
                book = await asyncio.wait_for(depth.recv(), 20)
            bids = sorted((float(price) for price, _ in book.get_bids()), reverse=True)
            asks = sorted(float(price) for price, _ in book.get_asks())
            assert bids[0] < asks[0]
            assert len(bids) > 50
    finally:
        await client.close_connection()


async def test_kraken_sdk_proves_every_book_by_its_checksum(sim: Simulation) -> None:
    from kraken.spot import SpotOrderBookClient

    class Pairs:
        """It asks the real exchange for the digits of a pair, at an address that cannot have a path."""

        def get_asset_pairs(self, pair: str) -> Any:
            url = f"{sim.url}/api.kraken.com/0/public/AssetPairs"
            return httpx.get(url, params={"pair": pair}).json()["result"]

    updates: list[dict[str, Any]] = []
    told = asyncio.Event()

    class Book(SpotOrderBookClient):
        async def on_book_update(self, pair: str, message: dict[str, Any]) -> None:
            if message.get("type") == "update" or "error" in message:
                assert self.get(pair)["valid"], message
                updates.append(message)
            if len(updates) >= 10:
                told.set()

    Book.WS_URL = websocket(sim, "ws.kraken.com")
    client = Book(depth=25)
    client._SpotOrderBookClient__market = Pairs()
    try:
        await client.start()
        await client.add_book(["BTC/USD"])
        await asyncio.wait_for(told.wait(), 30)
    finally:
        await client.close()
    assert not [message for message in updates if "error" in message]


@_OLD_WEBSOCKETS
def test_coinbase_advanced_py_hears_books_trades_and_heartbeats(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    import websockets.legacy.client
    from coinbase.websocket import WSClient

    # It passes `extra_headers`, which only the old one of the two implementations in websockets 14 and later knows.
    monkeypatch.setattr("websockets.connect", websockets.legacy.client.connect)

    heard: list[dict[str, Any]] = []
    enough = threading.Event()

    def on_message(text: str) -> None:
        heard.append(json.loads(text))
        channels = [message["channel"] for message in heard]
        if channels.count("market_trades") >= 3 and channels.count("l2_data") >= 3 and "heartbeats" in channels:
            enough.set()

    client = WSClient(base_url=websocket(sim, "advanced-trade-ws.coinbase.com"), on_message=on_message, retry=False)
    client.open()
    try:
        client.subscribe(["BTC-USD"], ["market_trades", "level2", "heartbeats"])
        assert enough.wait(30)
    finally:
        client.close()
    numbers = [message["sequence_num"] for message in heard]
    assert numbers == list(range(len(numbers)))
    trades = {
        trade["trade_id"]: (trade["price"], trade["size"], trade["side"])
        for message in heard
        if message["channel"] == "market_trades"
        for event in message["events"]
        for trade in event["trades"]
    }
    url = f"{sim.url}/api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/ticker?limit=1000"
    asked = {row["trade_id"]: (row["price"], row["size"], row["side"]) for row in httpx.get(url).json()["trades"]}
    assert len(trades) > 3
    assert trades.items() <= asked.items()


@pytest.mark.parametrize(
    ("name", "pair", "addresses"),
    [
        ("binance", "BTC/USDT", {"api.public": "api.binance.com/api/v3", "ws.spot": "stream.binance.com/stream/ws"}),
        ("coinbase", "BTC/USD", {"rest": "api.coinbase.com", "ws": "advanced-trade-ws.coinbase.com"}),
        ("kraken", "BTC/USD", {"public": "api.kraken.com", "ws.publicV2": "ws.kraken.com/v2"}),
    ],
)
async def test_ccxt_pro_hears_trades_and_books(
    sim: Simulation, name: str, pair: str, addresses: dict[str, str]
) -> None:
    import ccxt.pro

    client = getattr(ccxt.pro, name)({"has": {"fetchCurrencies": False}})
    client.options["fetchMarkets"] = {"types": ["spot"]}
    api = client.urls["api"]
    for place, address in addresses.items():
        *path, last = place.split(".")
        target = api
        if path == ["api"]:
            path = []
        for part in path:
            target = target[part]
        is_socket = place.startswith("ws")
        target[last] = websocket(sim, address) if is_socket else f"{sim.url}/{address}"
    if name == "coinbase":
        client.options["fetchMarkets"] = "fetchMarketsV3"
    try:
        trades = await asyncio.wait_for(client.watch_trades(pair), 40)
        book = await asyncio.wait_for(client.watch_order_book(pair), 40)
        book = await asyncio.wait_for(client.watch_order_book(pair), 40)
        assert trades[-1]["price"] > 0
        assert book["bids"][0][0] < book["asks"][0][0]
    finally:
        await client.close()
