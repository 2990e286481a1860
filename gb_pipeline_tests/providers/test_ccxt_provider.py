"""Bars of ccxt's exchanges: whole and exact, or an error; never empty for want of a better answer."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.exchange import Bar

DAY = Window.of("2024-01-02", "2024-01-03")
HOUR = Window.of("2024-01-02T10:00Z", "2024-01-02T11:00Z")
SYMBOLS = ["BTC-USDT", "ETH-USDT", "DOGE-USDT", "BTC-USDT-PERP", "BTC-USD", "ETH-USD", "DOGE-USD"]
VENDORS = [("binance", "USDT"), ("coinbase", "USD")]
MINUTE = Resolution.MINUTE
QUICK = Policy(timeout=5, retries=2, shortest_wait=0.001, longest_wait=0.002)
CANDLES = "klines|candles|OHLC"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=SYMBOLS) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.exchange.set_now("2024-06-01T00:00:30Z")
    return running


class Providers:
    """Providers on the simulation, all closed at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[CcxtProvider] = []

    def __call__(self, exchange: str, policy: Policy = QUICK, **named: Any) -> CcxtProvider:
        self.made.append(CcxtProvider(exchange, policy=policy, **{"base_url": self.url, **named}))
        return self.made[-1]


@pytest.fixture
async def providers(sim: Simulation) -> AsyncIterator[Providers]:
    factory = Providers(sim.url)
    yield factory
    for provider in factory.made:
        await provider.aclose()


def served(sim: Simulation, code: str, window: Window = DAY, interval: str = "1m") -> list[Bar]:
    start, end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
    return sim.exchange.bars(code, interval, start, end - 1, 1_000_000, count_call=False)


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select(pl.col("timestamp").dt.epoch("ms"), *RECEIVED.names()[1:]).rows()


def expected(bars: list[Bar], vendor: str) -> list[tuple[Any, ...]]:
    def digits(text: str) -> str:
        # Binance prints eight decimals, the others what the instrument has.
        return f"{Decimal(text):.8f}" if vendor == "binance" else text

    return [(bar.start, *(digits(value) for value in bar[1:6])) for bar in bars]


# --- whole and exact --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
async def test_a_day_with_gaps_is_exactly_what_was_served(
    sim: Simulation, providers: Providers, vendor: str, quote: str
) -> None:
    code = f"BTC-{quote}"
    for start, end in (("00:00", "00:03"), ("04:58", "05:01"), ("09:00", "16:45"), ("23:59", "24:00")):
        day, last = DAY.start, end == "24:00"
        moments = [day.replace(hour=int(t[:2]), minute=int(t[3:])) for t in (start, "23:59" if last else end)]
        sim.plant("gap", code, start=moments[0], end=moments[1] + timedelta(minutes=last))
    provider = providers(vendor)
    got = await provider.fetch_bars(Symbol.crypto(code), DAY, MINUTE)
    assert isinstance(provider, Provider)
    assert {name: got.frame.schema[name] for name in RECEIVED} == dict(RECEIVED)
    assert rows(got.frame) == expected(served(sim, code), vendor)
    assert got.frame.height == 1440 - 3 - 3 - 465 - 1


@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
@pytest.mark.parametrize("code", ["BTC", "DOGE"])
@pytest.mark.parametrize(("resolution", "window"), [
    (Resolution.MINUTE_5, DAY),
    (Resolution.HOUR, Window.of("2024-01-01", "2024-03-01")),
    (Resolution.DAY, Window.of("2024-02-20", "2024-03-10")),
])  # fmt: skip
async def test_every_resolution_has_the_vendors_digits(
    sim: Simulation, providers: Providers, vendor: str, quote: str, code: str, resolution: Resolution, window: Window
) -> None:
    got = await providers(vendor).fetch_bars(Symbol.crypto(f"{code}-{quote}"), window, resolution)
    assert rows(got.frame) == expected(served(sim, f"{code}-{quote}", window, str(resolution)), vendor)
    assert got.frame.height > 0


async def test_weeks_and_months_begin_where_the_vendor_begins_them(sim: Simulation, providers: Providers) -> None:
    provider, window = providers("binance"), Window.of("2024-01-01", "2024-05-01")
    weeks = await provider.fetch_bars(Symbol.crypto("BTC-USDT"), window, Resolution.WEEK)
    months = await provider.fetch_bars(Symbol.crypto("BTC-USDT"), window, Resolution.MONTH)
    assert weeks.frame["timestamp"].dt.weekday().unique().to_list() == [1]
    assert months.frame["timestamp"].dt.to_string("%Y-%m-%d").to_list() == [
        f"2024-0{month}-01" for month in (1, 2, 3, 4)
    ]
    assert months.frame["trade_count"].dtype == pl.String


@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
async def test_the_window_is_half_open(sim: Simulation, providers: Providers, vendor: str, quote: str) -> None:
    provider, symbol = providers(vendor), Symbol.crypto(f"BTC-{quote}")
    got = await provider.fetch_bars(symbol, Window.of("2024-01-02T10:00Z", "2024-01-02T10:02Z"), MINUTE)
    assert got.frame["timestamp"].dt.minute().to_list() == [0, 1]
    between = await provider.fetch_bars(
        symbol, Window.of("2024-01-02T10:00:01Z", "2024-01-02T10:02:00.000001Z"), MINUTE
    )
    assert between.frame["timestamp"].dt.minute().to_list() == [1, 2]
    nothing = await provider.fetch_bars(symbol, Window.of("2024-01-02", "2024-01-02"), MINUTE)
    assert (nothing.frame.height, nothing.calls) == (0, 0)


@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
async def test_a_well_formed_empty_answer_is_empty(
    sim: Simulation, providers: Providers, vendor: str, quote: str
) -> None:
    sim.plant("gap", f"BTC-{quote}", start=DAY.start, end=DAY.end)
    got = await providers(vendor).fetch_bars(Symbol.crypto(f"BTC-{quote}"), DAY, MINUTE)
    assert got.frame.height == 0
    assert got.frame.schema == {**RECEIVED, **got.frame.schema}
    assert got.calls == {"binance": 2, "coinbase": 5}[vendor]
    later = await providers(vendor).fetch_bars(
        Symbol.crypto(f"BTC-{quote}"), Window.of("2025-01-01", "2025-01-02"), MINUTE
    )
    assert later.frame.height == 0


async def test_bad_rows_come_through_as_they_are(sim: Simulation, providers: Providers) -> None:
    sim.plant("bad", "BTC-USD", start="2024-01-02T10:05Z", values={"high": "1", "volume": "-0.5", "open": "n/a"})
    sim.plant("bad", "BTC-USD", start="2024-01-02T10:06Z", repeat=2)
    sim.plant("bad", "BTC-USD", start="2024-01-02T10:07Z", shift_ms=11_000)
    got = await providers("coinbase").fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
    assert rows(got.frame) == [(row[0] // 1000 * 1000, *row[1:]) for row in expected(served(sim, "BTC-USD", HOUR), "")]
    assert got.frame.height == 63
    assert got.frame.filter(pl.col("open") == "n/a")["volume"].to_list() == ["-0.5"]


async def test_numbers_and_odd_values_keep_their_digits(sim: Simulation, providers: Providers) -> None:
    start = round(HOUR.start.timestamp())
    body = (
        f'{{"candles":[{{"start":"{start}","low":1e-8,"high":12345678901234567.891,"open":0.10,"close":7,"volume":null}},'
        f'{{"start":"soon","low":"1","high":"2","open":true,"close":[1],"volume":""}}]}}'
    )
    sim.faults.add(match=CANDLES, body=body)
    # What follows the last bar of the page is asked for, and is nothing.
    sim.faults.add(match=CANDLES, body='{"candles":[]}')
    got = await providers("coinbase").fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
    unread, read = got.frame.rows(named=True)
    assert read == {
        "timestamp": HOUR.start, "open": "0.10", "high": "12345678901234567.891", "low": "1e-8", "close": "7", "volume": None,
    }  # fmt: skip
    assert unread == {"timestamp": None, "open": "true", "high": "2", "low": "1", "close": "[1]", "volume": ""}


async def test_the_facts_of_a_fetch_are_counted(sim: Simulation, providers: Providers) -> None:
    provider, symbol = providers("binance"), Symbol.crypto("BTC-USDT")
    begun = time.perf_counter()
    first = await provider.fetch_bars(symbol, DAY, MINUTE)
    whole = time.perf_counter() - begun
    again = await provider.fetch_bars(symbol, DAY, MINUTE)
    sim.faults.add(match=CANDLES, status=503)
    repeated = await provider.fetch_bars(symbol, DAY, MINUTE)
    assert (first.calls, again.calls, repeated.calls) == (2, 2, 3)
    assert first.response_hash == again.response_hash == repeated.response_hash
    assert len(first.response_hash) == 64
    assert first.bytes == again.bytes > 100_000
    # In seconds, and of the requests alone.
    assert 0 < first.latency < whole
    sim.plant("restatement", "BTC-USDT", start="2024-01-02T10:00Z", values={"close": "1.00"})
    assert (await provider.fetch_bars(symbol, DAY, MINUTE)).response_hash != first.response_hash


async def test_many_symbols_at_once_do_not_mix(sim: Simulation, providers: Providers) -> None:
    provider = providers("coinbase")
    sim.faults.add(match="BTC-USD/candles", status=429, headers={"Retry-After": "0.1"}, times=2)
    sim.faults.add(match="ETH-USD/candles", status=400, body='{"error":"INVALID_ARGUMENT","message":"no"}', times=-1)
    codes = ["BTC-USD", "ETH-USD", "DOGE-USD"]
    tasks = (provider.fetch_bars(Symbol.crypto(code), DAY, MINUTE) for code in codes)
    btc, eth, doge = await asyncio.gather(*tasks, return_exceptions=True)
    assert not isinstance(btc, BaseException) and not isinstance(doge, BaseException)
    assert rows(btc.frame) == expected(served(sim, "BTC-USD"), "coinbase")
    assert rows(doge.frame) == expected(served(sim, "DOGE-USD"), "coinbase")
    assert isinstance(eth, PermanentVendorError)
    assert (btc.calls, doge.calls) == (7, 5)
    # One list of markets for all of them; Coinbase's is in two parts.
    assert sum(request["path"].endswith("/products") for request in sim.requests) == 2


# --- symbols ----------------------------------------------------------------------------------------------------------


async def test_a_perpetual_is_another_market(sim: Simulation, providers: Providers) -> None:
    provider = providers("binance")
    spot = await provider.fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)
    swap = await provider.fetch_bars(Symbol.crypto("BTC/USDT:USDT"), HOUR, MINUTE)
    assert rows(swap.frame) == expected(served(sim, "BTC-USDT-PERP", HOUR), "binance")
    assert rows(spot.frame) == expected(served(sim, "BTC-USDT", HOUR), "binance")
    assert Symbol.crypto("BTC-USDT-PERP", "binance") in [item.symbol for item in await provider.instruments()]


async def test_an_unknown_symbol_comes_with_near_matches(sim: Simulation, providers: Providers) -> None:
    with pytest.raises(UnknownSymbol, match="did you mean") as caught:
        await providers("coinbase").fetch_bars(Symbol.crypto("BTT-USD"), HOUR, MINUTE)
    assert "BTC-USD" in caught.value.fix


@pytest.mark.parametrize("spelling", ["BTCUSDT", "BTC/USDT"])
async def test_the_vendors_spelling_can_be_given(sim: Simulation, providers: Providers, spelling: str) -> None:
    provider = providers("binance", vendor_symbols={"XBT-USDT": spelling, "NO-USDT": "NOUSDT"})
    got = await provider.fetch_bars(Symbol.crypto("XBT-USDT"), HOUR, MINUTE)
    assert rows(got.frame) == expected(served(sim, "BTC-USDT", HOUR), "binance")
    with pytest.raises(UnknownSymbol, match="NOUSDT"):
        await provider.fetch_bars(Symbol.crypto("NO-USDT"), HOUR, MINUTE)


def test_support_is_known_without_a_request(sim: Simulation, providers: Providers) -> None:
    provider = providers("coinbase")
    assert provider.supports(Symbol.crypto("NO-SUCH"), Resolution.MINUTE)
    assert not provider.supports(Symbol.crypto("BTC-USD"), Resolution.MONTH)
    assert not provider.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
    assert not sim.requests


async def test_an_unsupported_resolution_is_refused(providers: Providers) -> None:
    with pytest.raises(PermanentVendorError, match="no bars of 1mo"):
        await providers("coinbase").fetch_bars(Symbol.crypto("BTC-USD"), HOUR, Resolution.MONTH)


# --- history ------------------------------------------------------------------------------------------------------------


async def test_kraken_says_where_its_history_begins_instead_of_answering_something_else(
    sim: Simulation, providers: Providers
) -> None:
    provider, symbol = providers("kraken"), Symbol.crypto("BTC-USD")
    begins = datetime(2024, 5, 31, 12, 1, tzinfo=UTC)
    for start in (DAY.start, begins - timedelta(hours=1), begins - timedelta(minutes=1)):
        with pytest.raises(HistoryNotAvailable) as caught:
            await provider.fetch_bars(symbol, Window(start, start + timedelta(minutes=90)), MINUTE)
        assert caught.value.first == begins
    window = Window(begins, begins + timedelta(hours=11))
    got = await provider.fetch_bars(symbol, window, MINUTE)
    assert rows(got.frame) == expected(served(sim, "BTC-USD", window), "kraken")
    assert {"vwap", "trade_count"} <= set(got.frame.columns)


async def test_a_page_of_another_time_is_an_error(sim: Simulation, providers: Providers) -> None:
    start = round(DAY.start.timestamp() * 1000)
    body = f'[[{start},"1","1","1","1","1",0,"1",1,"0","0","0"]]'
    sim.faults.add(match=CANDLES, body=body, times=-1)
    with pytest.raises(TransientVendorError, match="answered bars of 2024-01-02 00:00 when asked for 2024-01-02 10:00"):
        await providers("binance").fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)


@pytest.mark.parametrize("page_limit", [None, 1000, 333, 100])
async def test_an_exchange_that_nobody_tried_is_asked_until_nothing_is_missing(
    sim: Simulation, providers: Providers, page_limit: int | None
) -> None:
    sim.plant("gap", "BTC-USDT", start="2024-01-02T00:00Z", end="2024-01-02T03:00Z")
    sim.plant("gap", "BTC-USDT", start="2024-01-02T20:00Z", end="2024-01-02T21:00Z")
    whole = expected(served(sim, "BTC-USDT"), "binance")
    sim.exchange.page_limit = page_limit
    got = await providers("binanceus").fetch_bars(Symbol.crypto("BTC-USDT"), DAY, MINUTE)
    assert rows(got.frame) == whole
    assert got.calls < 30


# --- faults -------------------------------------------------------------------------------------------------------------


PASSING = {
    "429 in seconds": {"status": 429, "headers": {"Retry-After": "0.05"}},
    "429 until a date": {"status": 429, "headers": {"Retry-After": format_datetime(datetime(2024, 1, 1, tzinfo=UTC), usegmt=True)}},
    "429 without a time": {"status": 429},
    "418": {"status": 418, "headers": {"Retry-After": "0"}},
    "408": {"status": 408},
    "500": {"status": 500, "body": '{"code": -1000, "msg": "unknown"}'},
    "503": {"status": 503},
    "520": {"status": 520},
    "html with 200": {"body": "<html><body>Be right back</body></html>"},
    "html with 503": {"status": 503, "body": "<html><body>Be right back</body></html>"},
    "half a JSON": {"action": "cut"},
    "half a body": {"action": "truncate"},
    "nothing": {"body": ""},
    "null": {"body": "null"},
    "another object": {"body": '{"message": "maintenance"}'},
    "a list of something else": {"body": '["maintenance"]'},
    "short rows": {"body": "[[1704189600000]]"},
    "reset": {"action": "reset"},
}  # fmt: skip


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
async def test_a_passing_fault_delays_the_data_and_a_lasting_one_is_an_error(
    sim: Simulation, providers: Providers, vendor: str, quote: str, fault: dict[str, Any]
) -> None:
    provider, symbol = providers(vendor), Symbol.crypto(f"BTC-{quote}")
    sim.faults.add(match=CANDLES, **fault)
    got = await provider.fetch_bars(symbol, HOUR, MINUTE)
    assert rows(got.frame) == expected(served(sim, symbol.code, HOUR), vendor)
    sim.faults.add(match=CANDLES, times=-1, **fault)
    with pytest.raises(TransientVendorError) as caught:
        await provider.fetch_bars(symbol, HOUR, MINUTE)
    assert caught.value.fix
    assert isinstance(caught.value, RateLimited) == (fault.get("status") in {418, 429})


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize(("vendor", "quote"), VENDORS)
async def test_a_passing_fault_of_the_list_of_markets_does_not_last(
    sim: Simulation, providers: Providers, vendor: str, quote: str, fault: dict[str, Any]
) -> None:
    sim.faults.add(match="exchangeInfo|products$", **fault)
    got = await providers(vendor).fetch_bars(Symbol.crypto(f"BTC-{quote}"), HOUR, MINUTE)
    assert got.frame.height == 60


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_goes_wrong_the_answer_is_exact_or_an_error(
    sim: Simulation, providers: Providers, seed: int
) -> None:
    chance = random.Random(seed)
    symbols = [Symbol.crypto(f"{base}-USD") for base in ("BTC", "ETH", "DOGE")]
    sim.plant("gap", "BTC-USD", start="2024-01-02T03:00Z", end="2024-01-02T12:00Z")
    provider = providers(
        "coinbase", Policy(timeout=5, retries=chance.choice([0, 1, 3]), shortest_wait=0.001, longest_wait=0.002)
    )
    outcomes = []
    for _ in range(8):
        for _ in range(chance.randrange(6)):
            fault = chance.choice(list(PASSING.values()))
            sim.faults.add(match=chance.choice([CANDLES, "BTC-USD", "products$"]), skip=chance.randrange(8), **fault)
        got = await asyncio.gather(*(provider.fetch_bars(s, DAY, MINUTE) for s in symbols), return_exceptions=True)
        sim.faults.clear()
        for symbol, answer in zip(symbols, got, strict=True):
            outcomes.append(type(answer).__name__)
            if not isinstance(answer, BaseException):
                assert rows(answer.frame) == expected(served(sim, symbol.code), "coinbase")
            else:
                assert isinstance(answer, TransientVendorError), answer
    assert "Fetched" in outcomes


LASTING: dict[str, tuple[dict[str, Any], type[VendorError]]] = {
    "400": ({"status": 400}, PermanentVendorError),
    "401": ({"status": 401}, NotEntitled),
    "403": ({"status": 403}, NotEntitled),
    "404": ({"status": 404, "body": "<html>404</html>"}, PermanentVendorError),
    "451": ({"status": 451}, PermanentVendorError),
    "unknown symbol": ({"status": 400, "body": '{"code":-1121,"msg":"Invalid symbol."}'}, UnknownSymbol),
    "a day's ban": ({"status": 418, "headers": {"Retry-After": "86400"}}, RateLimited),
}


@pytest.mark.parametrize(("fault", "kind"), LASTING.values(), ids=LASTING)
async def test_what_cannot_succeed_is_asked_once(
    sim: Simulation, providers: Providers, fault: dict[str, Any], kind: type[VendorError]
) -> None:
    planted = sim.faults.add(match=CANDLES, times=-1, **fault)
    with pytest.raises(VendorError) as caught:
        await providers("binance").fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)
    assert type(caught.value) is kind
    assert planted.hits == 1


async def test_errors_inside_a_good_status_are_errors(sim: Simulation, providers: Providers) -> None:
    sim.exchange.set_now("2024-01-02T11:00Z")
    symbol, kraken, binance = Symbol.crypto("BTC-USD"), providers("kraken"), providers("binance")
    sim.faults.add(match=CANDLES, body='{"error":["EAPI:Rate limit exceeded"]}', times=-1)
    with pytest.raises(RateLimited):
        await kraken.fetch_bars(symbol, HOUR, MINUTE)
    sim.faults.clear()
    sim.faults.add(match=CANDLES, body='{"error":["EQuery:Unknown asset pair"]}', times=-1)
    with pytest.raises(PermanentVendorError, match="Unknown asset pair"):
        await kraken.fetch_bars(symbol, HOUR, MINUTE)
    sim.faults.clear()
    sim.faults.add(match=CANDLES, body='{"error":[],"result":{}}', times=-1)
    with pytest.raises(TransientVendorError, match="no list of bars"):
        await kraken.fetch_bars(symbol, HOUR, MINUTE)
    sim.faults.clear()
    sim.faults.add(match=CANDLES, body='{"code":-1003,"msg":"Too much request weight used"}', times=-1)
    with pytest.raises(RateLimited):
        await binance.fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)


async def test_silence_and_slowness_end_in_a_time_out(sim: Simulation, providers: Providers) -> None:
    provider = providers("coinbase", Policy(timeout=60, retries=0))
    await provider.fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
    # Patience of milliseconds, for what never ends; whatever does end has all the time that a busy machine takes.
    patient, provider._client.timeout = provider._client.timeout, 300
    assert patient == 60_000
    for fault in ({"action": "hang"}, {"action": "slow", "delay": 3600.0}):
        planted = sim.faults.add(match=CANDLES, **fault)
        with pytest.raises(TransientVendorError, match="did not answer within 60 s"):
            await provider.fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
        assert planted.hits == 1
    provider._client.timeout = patient
    sim.faults.add(match=CANDLES, action="slow", delay=0.1)
    assert (await provider.fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)).frame.height == 60


# --- never off loopback, never in silence --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    "https://api.binance.com", "http://10.0.0.1:80", "http://127.0.0.1.example.com", "127.0.0.1:80", "ftp://127.0.0.1",
    "http://user:pw@127.0.0.1:80", "http://127.0.0.1@example.com", "",
])  # fmt: skip
def test_a_base_url_is_on_loopback(url: str) -> None:
    with pytest.raises(ConfigError, match="not a simulated vendor") as caught:
        CcxtProvider("binance", base_url=url)
    assert "pw" not in str(caught.value)


async def test_a_redirect_does_not_leave_loopback(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=CANDLES, status=302, headers={"Location": "https://example.com/?key=secret"}, times=-1)
    with pytest.raises(TransientVendorError, match=r"redirects to https://example\.com/") as caught:
        await providers("binance").fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)
    assert "secret" not in str(caught.value)


async def test_every_exchange_of_ccxt_can_be_named_and_stays_on_loopback(sim: Simulation) -> None:
    import ccxt

    sim.faults.add(status=403, times=-1)
    hosts = set()
    for name in ccxt.exchanges[::9]:
        provider = CcxtProvider(name, base_url=sim.url, policy=Policy(retries=0, timeout=5))
        try:
            with pytest.raises(VendorError):
                await provider.fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, Resolution.HOUR)
        finally:
            await provider.aclose()
        hosts |= {request["path"].split("/")[1] for request in sim.requests}
    assert len(hosts) > 5
    assert all("." in host for host in hosts)


def test_an_unknown_exchange_comes_with_near_matches() -> None:
    with pytest.raises(ConfigError, match="did you mean coinbase"):
        CcxtProvider("coinbse")


async def test_a_closed_port_is_a_passing_error_that_a_person_understands() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        provider = CcxtProvider("coinbase", base_url=url, policy=Policy(retries=0))
        try:
            with pytest.raises(
                TransientVendorError, match=r"127\.0\.0\.1:\d+ \(in place of api\.coinbase\.com\) cannot be reached"
            ):
                await provider.fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
        finally:
            await provider.aclose()


async def test_without_a_network_the_real_exchange_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    # The resolver of a machine without a network, without its waiting.
    def nowhere(*_args: object, **_named: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    provider = CcxtProvider("coinbase", policy=Policy(retries=0))
    try:
        with pytest.raises(TransientVendorError, match=r"^api\.coinbase\.com cannot be reached: Temporary failure"):
            await provider.fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
    finally:
        await provider.aclose()


async def test_a_closed_provider_says_so(providers: Providers) -> None:
    provider = providers("binance")
    await provider.aclose()
    with pytest.raises(PermanentVendorError, match="is closed"):
        await provider.fetch_bars(Symbol.crypto("BTC-USDT"), HOUR, MINUTE)
