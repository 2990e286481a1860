"""Yahoo: whole and exact, or an error; and none of yfinance's habits."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest
import yfinance
from curl_cffi import requests as curl
from yfinance.data import SingletonMeta, YfData

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
)
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED, Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import ActionsProvider, Provider, SearchProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.providers.yahoo.client import YahooClient
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.providers.yahoo.symbols import instrument, vendor_code
from gb_pipeline.simulation import Simulation

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
NOW = "2024-03-20T22:00:00Z"
SHARES = ["AAPL", "KO", "BRK.B", "SPY", "IBM", "JPM", "META", "TSLA"]
AAPL, KO = Symbol.equity("AAPL"), Symbol.equity("KO")
WEEK = Window.of("2024-03-11", "2024-03-16")
DAY = Window.of("2024-03-14", "2024-03-15")
QUICK = Policy(timeout=5, retries=2, shortest_wait=0.001, longest_wait=0.002)
CHART = "v8/finance/chart"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USD"], stocks=SHARES) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


@pytest.fixture
async def provider(sim: Simulation) -> AsyncIterator[YahooProvider]:
    made = YahooProvider(base_url=sim.url, policy=QUICK)
    yield made
    await made.aclose()


def asked(sim: Simulation, part: str = CHART) -> list[dict[str, Any]]:
    return [entry for entry in sim.requests if part in entry["path"]]


@pytest.fixture
def judge(sim: Simulation, tmp_path: Path) -> Iterator[Any]:
    """What yfinance does by itself: `judge(code, ...)` is `Ticker(code).history(...)`, asked of the simulation."""

    class Loopback(curl.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, *rest: Any, **named: Any) -> Any:
            parts = urlsplit(url)
            return super().request(method, f"{sim.url}/{parts.netloc}{parts.path}", *rest, **named)

    def forget() -> None:
        SingletonMeta._instances.pop(YfData, None)
        YfData.cache_get.cache_clear()

    forget()
    yfinance.set_tz_cache_location(str(tmp_path))
    yfinance.config.debug.hide_exceptions = False
    with Loopback(impersonate="chrome") as session:
        yield lambda code, **named: yfinance.Ticker(code, session=session).history(
            **{"start": date(2024, 3, 11), "end": date(2024, 3, 16), "auto_adjust": False, **named}
        )
    yfinance.config.debug.hide_exceptions = True
    forget()


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_is_a_provider_of_bars_actions_and_searches() -> None:
    provider = YahooProvider()
    assert isinstance(provider, Provider)
    assert isinstance(provider, ActionsProvider)
    assert isinstance(provider, SearchProvider)
    assert (provider.name, provider.adjustment, provider.normaliser) == ("yahoo", Adjustment.SPLIT, "yahoo/1")


def test_it_is_built_from_settings_with_yahoos_pace_and_without_one_on_loopback() -> None:
    body = {"name": "y", "provider": "yahoo", "start": "2024-01-01", "symbols": [{"code": "GSPC", "vendor": "^GSPC"}]}
    real = build_provider(SourceSettings.model_validate(body))
    here = build_provider(SourceSettings.model_validate({**body, "options": {"base_url": "http://127.0.0.1:1"}}))
    assert isinstance(real, YahooProvider)
    assert isinstance(here, YahooProvider)
    assert real.policy.rate == RateLimit(calls=1, seconds=1.0)
    assert here.policy.rate is None
    assert real.spelling(Symbol.equity("GSPC")) == "^GSPC"


@pytest.mark.parametrize("options", [{"key": "x"}, {"base_url": "http://example.com"}])
def test_other_settings_are_refused(options: dict[str, Any]) -> None:
    body = {"name": "y", "provider": "yahoo", "start": "2024-01-01", "symbols": ["AAPL"], "options": options}
    with pytest.raises(ConfigError):
        build_provider(SourceSettings.model_validate(body))


def test_weeks_and_months_are_not_yahoos_to_say() -> None:
    provider = YahooProvider(vendor_symbols={"ESZ26": "ES=F"})
    served = [item.value for item in Resolution if provider.supports(AAPL, item)]
    assert served == ["1m", "5m", "15m", "30m", "1h", "1d"]
    assert provider.supports(Symbol.future("ESZ26"), Resolution.DAY)
    assert not provider.supports(Symbol.future("ESH27"), Resolution.DAY)
    assert not provider.supports(Symbol.crypto("BTC-USDT-PERP"), Resolution.DAY)


# --- bars -------------------------------------------------------------------------------------------------------------


async def test_bars_are_the_vendors_in_exact_text(sim: Simulation, provider: YahooProvider) -> None:
    fetched = await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE)
    start, end = (round(moment.timestamp() * 1000) for moment in (WEEK.start, WEEK.end))
    truth = sim.stocks.bars("AAPL", "1m", start, end, adjusted=True)
    assert fetched.frame.schema == RECEIVED
    assert fetched.frame["timestamp"].dt.epoch("ms").to_list() == [bar.start for bar in truth]
    texts = [bar.close.rstrip("0").rstrip(".") for bar in truth]
    assert fetched.frame["close"].to_list() == texts


async def test_a_long_window_is_asked_for_in_pages_that_yahoo_answers(sim: Simulation, provider: YahooProvider) -> None:
    window = Window.of("2024-02-26", "2024-03-20")
    fetched = await provider.fetch_bars(AAPL, window, Resolution.MINUTE)
    assert fetched.frame.height == fetched.frame["timestamp"].n_unique() == 17 * 390
    charts = asked(sim)
    assert len(charts) == provider.requests(window, Resolution.MINUTE) == 4
    spans = [int(entry["query"]["period2"]) - int(entry["query"]["period1"]) for entry in charts]
    assert max(spans) == 7 * 86_400


async def test_days_are_asked_for_with_one_to_spare_as_an_exchanges_day_may_begin_before_ours(
    sim: Simulation, provider: YahooProvider
) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.fetch_bars(AAPL, WEEK, Resolution.HOUR)
    start, end = (round(moment.timestamp()) for moment in (WEEK.start, WEEK.end))
    spans = [(int(entry["query"]["period1"]), int(entry["query"]["period2"])) for entry in asked(sim)]
    assert spans == [(start - 86_400, end + 86_400), (start, end)]


async def test_every_request_counts_also_those_for_cookies(sim: Simulation, provider: YahooProvider) -> None:
    first = await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    assert [urlsplit(entry["path"]).path.split("/")[1] for entry in sim.requests] == [
        "fc.yahoo.com",
        "query1.finance.yahoo.com",
        "query2.finance.yahoo.com",
    ]
    assert first.calls == len(sim.requests) == 3
    second = await provider.fetch_bars(KO, WEEK, Resolution.DAY)
    assert (second.calls, len(sim.requests)) == (1, 4)
    assert second.bytes > 500
    assert second.latency > 0


async def test_every_request_waits_for_its_turn(sim: Simulation) -> None:
    pace = RateLimit(calls=2, seconds=0.4)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=5, retries=0, rate=pace))
    begun = time.monotonic()
    await asyncio.gather(*(provider.fetch_bars(Symbol.equity(code), WEEK, Resolution.DAY) for code in SHARES[:6]))
    await provider.aclose()
    # Cookies and charts alike: eight requests, two at a time.
    assert len(sim.requests) == 2 + 6
    assert time.monotonic() - begun > 3 * 0.4


async def test_symbols_are_fetched_at_the_same_time(sim: Simulation, provider: YahooProvider) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    frames = await asyncio.gather(*(provider.fetch_bars(Symbol.equity(c), WEEK, Resolution.DAY) for c in SHARES))
    assert all(item.frame.height == 5 for item in frames)
    assert len({item.response_hash for item in frames}) == len(SHARES)
    # All are asked before any is answered: none of these ever is.
    sim.requests.clear()
    hanging = sim.faults.add(match=CHART, action="hang", times=-1)
    asking = [asyncio.create_task(provider.fetch_bars(Symbol.equity(c), WEEK, Resolution.DAY)) for c in SHARES]
    while hanging.hits < len(SHARES):
        assert not any(task.done() for task in asking)
        await asyncio.sleep(0.01)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_answers_are_read_again_without_yahoo(sim: Simulation) -> None:
    keeping = YahooProvider(base_url=sim.url, policy=Policy(keep_raw=True))
    window = Window.of("2024-03-01", "2024-03-14")
    fetched = await keeping.fetch_bars(AAPL, window, Resolution.MINUTE)
    await keeping.aclose()
    assert len(fetched.bodies) == 2
    assert YahooProvider().normalise(AAPL, window, Resolution.MINUTE, fetched.bodies).equals(fetched.frame)


async def test_hours_start_with_the_session_and_fill_it(sim: Simulation, tmp_path: Path) -> None:
    body = {
        "name": "yahoo",
        "provider": "yahoo",
        "options": {"base_url": sim.url},
        "calendar": "XNYS",
        "alignment": "session",
        "start": "2024-03-01",
        "symbols": ["KO"],
        "resolutions": ["1h"],
    }
    job = Job(KO, date(2024, 3, 8), date(2024, 3, 13))
    now = datetime(2024, 3, 20, 22, tzinfo=UTC)
    (outcome,) = await asyncio.to_thread(
        ingest, LakeStore.at(tmp_path, clock=lambda: now), SourceSettings.model_validate(body), Resolution.HOUR, [job]
    )
    traded = [(item.status, item.actual) for item in outcome.sessions if item.status is not SessionStatus.CLOSED]
    assert traded == [(SessionStatus.COMPLETE, 7)] * 3


async def test_extended_hours_are_asked_for_where_the_source_has_them(sim: Simulation) -> None:
    provider = YahooProvider(base_url=sim.url, policy=QUICK, extended_hours=True)
    fetched = await provider.fetch_bars(AAPL, DAY, Resolution.MINUTE_15)
    await provider.aclose()
    assert asked(sim)[0]["query"]["includePrePost"] == "true"
    assert fetched.frame.height == 16 * 4


# --- a split between two fetches --------------------------------------------------------------------------------------


async def test_a_split_restates_what_came_before_it_and_nothing_after(sim: Simulation, provider: YahooProvider) -> None:
    sim.plant("split", "AAPL", ex_date="2024-03-14", to="4")
    sim.plant("dividend", "AAPL", ex_date="2024-03-12", amount="0.24")
    sim.set_now("2024-03-13T21:00Z")
    before = await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    paid = await provider.fetch_corporate_actions(AAPL, date(2024, 3, 1), date(2024, 4, 1))
    sim.set_now("2024-03-15T21:00Z")
    after = await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    paid_after = await provider.fetch_corporate_actions(AAPL, date(2024, 3, 1), date(2024, 4, 1))
    old, new = (item.frame["close"].cast(pl.Decimal(38, 10)).to_list() for item in (before, after))
    assert (len(old), len(new)) == (3, 5)
    assert [value / 4 for value in old] == new[:3]
    # From the split on, prices are as traded: two decimals.
    assert all(value == round(value, 2) for value in new[3:])
    assert before.response_hash != after.response_hash
    # What was paid does not change, although Yahoo divides it as well.
    assert paid.frame["kind"].to_list() == ["cash_dividend"]
    assert paid_after.frame["kind"].to_list() == ["cash_dividend", "split"]
    assert paid.frame["amount"][0] == paid_after.frame["amount"][0] == "0.24"


# --- corporate actions ------------------------------------------------------------------------------------------------


async def test_actions_are_splits_dividends_and_the_first_bar(sim: Simulation, provider: YahooProvider) -> None:
    sim.plant("listing", "KO", start="2024-01-17")
    sim.plant("dividend", "KO", ex_date="2024-02-07", amount="0.485")
    sim.plant("split", "KO", ex_date="2024-03-13", to="1", from_="8")
    sim.plant("split", "KO", ex_date="2024-04-01", to="2")
    fetched = await provider.fetch_corporate_actions(KO, date(1990, 1, 1), date(2025, 1, 1))
    assert fetched.frame.schema == ACTIONS_RECEIVED
    columns = ("ex_date", "kind", "label", "split_to", "split_from", "amount", "currency")
    # What is announced is not there: Yahoo shows a split when it has happened.
    assert fetched.frame.select(columns).rows() == [
        (date(2024, 1, 17), "listing", "first_trade", None, None, None, None),
        (date(2024, 2, 7), "cash_dividend", "dividend", None, None, "0.485", "USD"),
        (date(2024, 3, 13), "split", "split", "1", "8", None, None),
    ]
    assert (fetched.calls, fetched.bytes > 100) == (3, True)


async def test_dividends_are_unadjusted_with_splits_after_the_end_that_was_asked_for(
    sim: Simulation, provider: YahooProvider
) -> None:
    sim.plant("dividend", "KO", ex_date="2024-02-07", amount="0.485")
    sim.plant("split", "KO", ex_date="2024-03-13", to="7", from_="3")
    fetched = await provider.fetch_corporate_actions(KO, date(2024, 2, 1), date(2024, 2, 29))
    assert fetched.frame["amount"].to_list() == ["0.485"]


# --- search and spelling ----------------------------------------------------------------------------------------------


async def test_a_search_finds_codes_and_names(provider: YahooProvider) -> None:
    by_code, by_name = await provider.search("BRK"), await provider.search("berkshire")
    assert [(item.symbol.code, item.vendor, item.symbol.exchange) for item in by_code] == [("BRK.B", "BRK-B", "XNYS")]
    assert by_name == by_code
    assert await provider.search("no such thing") == []


@pytest.mark.parametrize("body", ["{}", '{"quotes":null}', '{"quotes":["AAPL"]}', "<html>", "[]"])
async def test_a_search_is_never_empty_for_want_of_a_better_answer(
    sim: Simulation, provider: YahooProvider, body: str
) -> None:
    sim.faults.add(match="finance/search", body=body, times=-1)
    with pytest.raises(TransientVendorError):
        await provider.search("AAPL")


@pytest.mark.parametrize(
    ("symbol", "vendor"),
    [
        (Symbol.equity("AAPL"), "AAPL"),
        (Symbol.equity("BRK.B"), "BRK-B"),
        (Symbol.equity("VOD.L"), "VOD.L"),
        (Symbol.equity("7203.T"), "7203.T"),
        (Symbol.equity("SAP.DE"), "SAP.DE"),
        (Symbol.equity("ABC.L", "XNYS"), "ABC-L"),
        (Symbol.crypto("BTC-USD"), "BTC-USD"),
        (Symbol.forex("EUR-USD"), "EURUSD=X"),
        (Symbol.option("AAPL260116C00190000"), "AAPL260116C00190000"),
    ],
)
def test_symbols_are_spelled_as_yahoo_does(symbol: Symbol, vendor: str) -> None:
    assert vendor_code(symbol) == vendor


@pytest.mark.parametrize(
    ("quote", "code", "kind"),
    [
        ({"symbol": "BRK-B", "quoteType": "EQUITY", "exchange": "NYQ"}, "BRK.B", AssetClass.EQUITY),
        ({"symbol": "^GSPC", "quoteType": "INDEX"}, "GSPC", AssetClass.EQUITY),
        ({"symbol": "BTC-USD", "quoteType": "CRYPTOCURRENCY"}, "BTC-USD", AssetClass.CRYPTO),
        ({"symbol": "EURUSD=X", "quoteType": "CURRENCY"}, "EUR-USD", AssetClass.FOREX),
        ({"symbol": "JPY=X", "quoteType": "CURRENCY"}, "USD-JPY", AssetClass.FOREX),
        ({"symbol": "7203.T", "quoteType": "EQUITY", "exchange": "JPX"}, "7203.T", AssetClass.EQUITY),
    ],
)
def test_what_is_found_has_a_canonical_code(quote: dict[str, str], code: str, kind: AssetClass) -> None:
    found = instrument(quote)
    assert found is not None
    assert (found.symbol.code, found.symbol.asset_class, found.vendor) == (code, kind, quote["symbol"])


@pytest.mark.parametrize("quote", [{"symbol": "ES=F", "quoteType": "FUTURE"}, {"quoteType": "EQUITY"}, {}])
def test_what_has_no_canonical_code_is_left_out(quote: dict[str, str]) -> None:
    assert instrument(quote) is None


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resolution", "days"), [("1m", 30), ("5m", 60), ("15m", 60), ("30m", 60), ("1h", 730)])
async def test_what_yahoo_has_no_longer_is_not_asked_for(sim: Simulation, resolution: str, days: int) -> None:
    now = datetime(2024, 3, 20, 22, tzinfo=UTC)
    provider = YahooProvider(base_url=sim.url, policy=QUICK, clock=lambda: now)
    first = now - timedelta(days=days)
    with pytest.raises(HistoryNotAvailable) as caught:
        window = Window(first - timedelta(hours=1), first + timedelta(hours=1))
        await provider.fetch_bars(AAPL, window, Resolution.parse(resolution))
    assert caught.value.first == first
    assert not sim.requests
    await provider.fetch_bars(AAPL, Window(first, first + timedelta(days=3)), Resolution.parse(resolution))
    await provider.aclose()


def test_the_real_one_is_asked_by_the_wall_clock() -> None:
    with pytest.raises(HistoryNotAvailable):
        asyncio.run(YahooProvider().fetch_bars(AAPL, WEEK, Resolution.HOUR))


async def test_yahoos_own_limits_are_typed_the_same_way(sim: Simulation, provider: YahooProvider) -> None:
    with pytest.raises(HistoryNotAvailable, match="within the last 30 days") as caught:
        await provider.fetch_bars(AAPL, Window.of("2024-01-02", "2024-01-03"), Resolution.MINUTE)
    assert caught.value.first is not None
    text = "1m data not available for startTime=1. Only 7 days worth of 1m granularity data are allowed to be fetched"
    sim.faults.add(
        match=CHART, status=422, body='{"chart":{"result":null,"error":{"code":"x","description":"' + text + '"}}}'
    )
    with pytest.raises(HistoryNotAvailable, match="Only 7 days"):
        await provider.fetch_bars(AAPL, DAY, Resolution.MINUTE)


async def test_before_the_listing_there_is_no_history(provider: YahooProvider) -> None:
    with pytest.raises(HistoryNotAvailable):
        await provider.fetch_bars(AAPL, Window.of("1990-01-02", "1990-02-01"), Resolution.DAY)


async def test_a_window_across_the_listing_holds_what_there_is(sim: Simulation, provider: YahooProvider) -> None:
    sim.plant("listing", "KO", start="2024-03-13")
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 3


async def test_a_weekend_is_empty(provider: YahooProvider) -> None:
    for resolution in (Resolution.DAY, Resolution.MINUTE_5):
        assert (await provider.fetch_bars(AAPL, Window.of("2024-03-16", "2024-03-18"), resolution)).frame.is_empty()


# --- what yfinance does by itself, and what does not happen here --------------------------------------------------------


async def test_a_failure_is_not_remembered(sim: Simulation, provider: YahooProvider, judge: Any) -> None:
    assert len(judge("AAPL", interval="1d")) == 5
    sim.faults.add(match=CHART, status=503, body="maintenance", times=20)
    YfData.cache_get.cache_clear()
    with pytest.raises(ValueError, match=r"Expecting value|JSON"):
        judge("AAPL", interval="1d")
    with pytest.raises(TransientVendorError, match="503"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    sim.faults.clear()
    # Yahoo is well again. yfinance does not even ask.
    before = len(asked(sim))
    with pytest.raises(ValueError, match=r"Expecting value|JSON"):
        judge("AAPL", interval="1d")
    assert len(asked(sim)) == before
    assert (await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.height == 5


async def test_trouble_is_not_an_empty_frame(sim: Simulation, provider: YahooProvider, judge: Any) -> None:
    judge("AAPL", interval="1d")
    sim.faults.add(match=CHART, body="<html>Will be right back</html>", times=-1)
    YfData.cache_get.cache_clear()
    yfinance.config.debug.hide_exceptions = True
    assert judge("AAPL", interval="1d").empty
    with pytest.raises(TransientVendorError, match="html"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)


async def test_a_429_says_how_long_to_wait(sim: Simulation, judge: Any) -> None:
    judge("AAPL", interval="1d")
    YfData.cache_get.cache_clear()
    sim.faults.add(match=CHART, status=429, headers={"Retry-After": "17"}, body="Too Many Requests", times=-1)
    with pytest.raises(yfinance.exceptions.YFRateLimitError) as theirs:
        judge("AAPL", interval="1d")
    assert "17" not in str(theirs.value)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=5, retries=0))
    asked_before = len(asked(sim))
    with pytest.raises(RateLimited) as caught:
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()
    assert caught.value.retry_after == 17
    # Whoever is told to wait does not ask again at once.
    assert len(asked(sim)) == asked_before + 1


async def test_a_429_that_says_nothing_means_a_minute_at_the_real_one(sim: Simulation, provider: YahooProvider) -> None:
    assert YahooProvider()._client._default_wait == 60.0
    sim.faults.add(match=CHART, status=429, body="Too Many Requests", times=-1)
    client = YahooClient(provider.transport, base_url=sim.url, default_wait=60.0)
    with pytest.raises(RateLimited) as caught:
        await client.get(f"https://query2.finance.yahoo.com/{CHART}/AAPL", {"interval": "1d", "range": "5d"})
    await client.aclose()
    assert caught.value.retry_after == 60.0


async def test_one_time_limit_holds_for_all_that_one_question_takes(
    sim: Simulation, judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    request = curl.Session.request

    def noting(self: Any, *given: Any, **named: Any) -> Any:
        limits.append(named["timeout"])
        return request(self, *given, **named)

    monkeypatch.setattr(curl.Session, "request", noting)
    sim.faults.add(delay=1.2, times=-1)
    with pytest.raises(curl.exceptions.Timeout):
        judge("AAPL", interval="1d", timeout=0.6)
    # Neither the cookie nor the time zone that it asks for first know of the limit.
    assert min(limits) == limits[-1] == 0.6
    assert sum(limits) > 2 * 1.2
    limits.clear()
    sim.faults.clear()
    sim.faults.add(action="hang", times=-1)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=0.6, retries=0))
    with pytest.raises(TransientVendorError, match=r"did not answer within 0\.6 s"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()
    # Each is used up, as nothing answers; curl counts in milliseconds.
    assert len(limits) > 1
    assert sum(limits) <= 0.6 + 0.002 * len(limits)


async def test_a_share_that_is_unknown_costs_one_question_and_nobodys_cookies(
    sim: Simulation, provider: YahooProvider, judge: Any
) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    with pytest.raises(UnknownSymbol, match="No data found"):
        await provider.fetch_bars(Symbol.equity("NOPE"), WEEK, Resolution.DAY)
    assert len(asked(sim, f"{CHART}/NOPE")) == 1
    assert not asked(sim, "guce.yahoo.com")
    sim.requests.clear()
    judge("AAPL", interval="1d")
    with pytest.raises(Exception, match="404"):
        judge("NOPE", interval="1d")
    # Its way to a cookie changes for all symbols, and every question is asked twice.
    assert len(asked(sim, f"{CHART}/NOPE")) > 1
    assert asked(sim, "guce.yahoo.com")


async def test_cookies_that_are_refused_are_replaced(sim: Simulation, provider: YahooProvider) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    refusal = '{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'
    sim.faults.add(match=CHART, status=401, body=refusal)
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert asked(sim, "guce.yahoo.com")


async def test_cookies_that_stay_refused_are_an_error_that_may_pass(sim: Simulation, provider: YahooProvider) -> None:
    refusal = '{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'
    sim.faults.add(match=CHART, status=401, body=refusal, times=-1)
    with pytest.raises(TransientVendorError, match="Invalid Crumb"):
        await provider.fetch_bars(KO, WEEK, Resolution.DAY)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "no", NotEntitled),
        (403, "<html>blocked</html>", NotEntitled),
        (451, "not here", PermanentVendorError),
        (400, '{"chart":{"result":null,"error":{"code":"Bad Request","description":"bad"}}}', PermanentVendorError),
        (
            500,
            '{"chart":{"result":null,"error":{"code":"Internal Server Error","description":""}}}',
            TransientVendorError,
        ),
    ],
)
async def test_statuses_are_typed(
    sim: Simulation, provider: YahooProvider, status: int, body: str, kind: type[Exception]
) -> None:
    sim.faults.add(match=CHART, status=status, body=body, times=-1)
    with pytest.raises(kind) as caught:
        await provider.fetch_bars(KO, WEEK, Resolution.DAY)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "trouble",
    [
        {"match": "fc.yahoo.com|guce", "action": "reset"},
        {"match": "fc.yahoo.com|guce", "action": "hang"},
        {"match": "fc.yahoo.com|guce|consent", "action": "redirect"},
        {"match": "getcrumb", "status": 500, "body": "Internal Server Error"},
        {"match": "getcrumb", "status": 429, "body": "Too Many Requests"},
        {"match": "getcrumb", "body": '{"finance":{"error":"x"}}'},
        {"match": "getcrumb", "body": ""},
    ],
    ids=str,
)
async def test_a_chart_needs_no_cookie_and_no_crumb(sim: Simulation, trouble: dict[str, Any]) -> None:
    sim.faults.add(**trouble, times=-1)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=2, retries=0))
    if trouble.get("action") == "redirect":
        # Yet nobody is followed to another host, for a cookie least of all.
        with pytest.raises(TransientVendorError, match="redirects"):
            await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
        await provider.aclose()
        return
    assert (await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.height == 5
    helpers = len(sim.requests) - 1
    assert helpers >= 1
    # What an error said is not sent as a crumb, and Yahoo is not asked for one again and again.
    assert "crumb" not in asked(sim)[0]["query"]
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert len(sim.requests) == helpers + 2
    await provider.aclose()


async def test_the_text_of_an_error_never_becomes_a_crumb(sim: Simulation, provider: YahooProvider, judge: Any) -> None:
    sim.faults.add(match="getcrumb", status=429, body="Too Many Requests", times=2)
    judge("AAPL", interval="1d")
    judge("KO", interval="1d")
    assert "Too Many Requests" in [entry["query"].get("crumb") for entry in asked(sim)]
    sim.requests.clear()
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    provider._client._data.bare_until = 0.0
    await provider.fetch_bars(KO, WEEK, Resolution.DAY)
    crumbs = [entry["query"].get("crumb") for entry in asked(sim)]
    assert "Too Many Requests" not in crumbs
    assert crumbs[1] is not None


async def test_each_provider_has_its_own_session_and_no_ticker_takes_it(sim: Simulation, judge: Any) -> None:
    with Simulation(seed=8, stocks=["AAPL"]) as other:
        other.set_now(NOW)
        here, there = YahooProvider(base_url=sim.url), YahooProvider(base_url=other.url)
        mine = (await here.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame
        theirs = (await there.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame
        judged = judge("AAPL", interval="1d")
        assert (await here.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.equals(mine)
        assert (await there.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.equals(theirs)
        assert not mine.equals(theirs)
        assert judged["Close"].to_list() == pytest.approx([float(text) for text in mine["close"]])
        # yfinance itself has one session for the whole process: the last one that anybody passed.
        first, second = curl.Session(), curl.Session()
        YfData(session=first)
        assert YfData(session=second) is YfData()
        assert YfData()._session is second
        await here.aclose()
        await there.aclose()
        first.close()
        second.close()


_WRITES = """
import asyncio, sys, yfinance
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.yahoo.provider import YahooProvider

async def main():
    provider = YahooProvider(base_url=sys.argv[1])
    window = Window.of("2024-03-11", "2024-03-16")
    print((await provider.fetch_bars(Symbol.equity("AAPL"), window, Resolution.DAY)).frame.height)
    await provider.aclose()

asyncio.run(main())
"""


def test_nothing_is_written_to_the_users_cache_folder(sim: Simulation, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _WRITES, sim.url],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "5\n"
    assert list(tmp_path.rglob("*")) == []


async def test_proxies_of_the_environment_and_of_yfinance_are_not_for_loopback(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setitem(yfinance.config.network.data, "proxy", "http://127.0.0.1:9")
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=2, retries=0))
    assert (await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.height == 5
    await provider.aclose()


# --- on the way -------------------------------------------------------------------------------------------------------


async def test_no_other_host_is_ever_asked(sim: Simulation, provider: YahooProvider) -> None:
    sim.faults.add(
        match=CHART, status=302, headers={"Location": "https://yahoo.com.example.org/login?key=secret"}, times=-1
    )
    with pytest.raises(TransientVendorError, match=r"redirects to https://yahoo\.com\.example\.org/login") as caught:
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    assert "secret" not in str(caught.value)


async def test_yahoos_own_redirects_are_followed(sim: Simulation, provider: YahooProvider) -> None:
    place = f"https://query1.finance.yahoo.com/{CHART}/AAPL?period1=1710028800&period2=1710633600&interval=1d"
    sim.faults.add(match=CHART, status=307, headers={"Location": place})
    assert (await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.height == 5


async def test_redirects_in_circles_end(sim: Simulation, provider: YahooProvider) -> None:
    place = f"https://query2.finance.yahoo.com/{CHART}/AAPL"
    sim.faults.add(match=CHART, status=302, headers={"Location": place}, times=-1)
    with pytest.raises(TransientVendorError, match="circles"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "compressed"])
async def test_a_flood_is_cut_off(sim: Simulation, headers: dict[str, str]) -> None:
    sim.faults.add(match=CHART, action="flood", headers=headers, times=-1)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=60, retries=0))
    with pytest.raises(PermanentVendorError, match="64 MB"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate that nobody signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_certificate_that_nobody_signed_is_said_to_be_one(untrusted: str) -> None:
    provider = YahooProvider(base_url=untrusted, policy=Policy(timeout=5, retries=0))
    with pytest.raises(TransientVendorError, match=r"certificate of .* is not trusted"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()


async def test_a_closed_provider_says_so(sim: Simulation) -> None:
    provider = YahooProvider(base_url=sim.url, policy=QUICK)
    await provider.aclose()
    with pytest.raises(PermanentVendorError, match="closed"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)


async def test_a_fetch_that_is_given_up_asks_nothing_more(sim: Simulation, provider: YahooProvider) -> None:
    sim.faults.add(match="fc.yahoo", delay=0.5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider.fetch_bars(AAPL, WEEK, Resolution.DAY), 0.2)
    # The thread of the first one is done once the second one has its cookie.
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert not asked(sim, f"{CHART}/AAPL")


async def test_a_fetch_that_is_given_up_leaves_the_provider_usable(sim: Simulation, provider: YahooProvider) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    sim.faults.add(match=CHART, action="hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider.fetch_bars(AAPL, WEEK, Resolution.DAY), 0.2)
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5


def test_providers_of_several_threads_do_not_disturb_each_other(sim: Simulation) -> None:
    def fetch(code: str) -> list[str]:
        async def one() -> list[str]:
            provider = YahooProvider(base_url=sim.url, policy=QUICK)
            try:
                return (await provider.fetch_bars(Symbol.equity(code), WEEK, Resolution.DAY)).frame["close"].to_list()
            finally:
                await provider.aclose()

        return asyncio.run(one())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, SHARES))
    assert len({tuple(closes) for closes in found}) == len(SHARES)


async def test_trouble_of_the_rows_is_put_right_or_refused(sim: Simulation, provider: YahooProvider) -> None:
    exact = await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)
    for action in ("shuffle_rows", "overlap_page"):
        sim.faults.add(match=CHART, action=action)
        assert (await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)).frame.equals(exact.frame)
    sim.faults.add(match=CHART, action="duplicate_page", times=-1)
    with pytest.raises(TransientVendorError, match="when asked for"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)
