"""None of yfinance's habits becomes an answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yfinance
from curl_cffi import requests as curl
from yfinance.data import YfData

from gb_pipeline.errors import (
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.yahoo.client import YahooClient
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.yahoo.vendor import AAPL, CHART, KO, NOW, WEEK, requests_for

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


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
    before = len(requests_for(sim))
    with pytest.raises(ValueError, match=r"Expecting value|JSON"):
        judge("AAPL", interval="1d")
    assert len(requests_for(sim)) == before
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
    asked_before = len(requests_for(sim))
    with pytest.raises(RateLimited) as caught:
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()
    assert caught.value.retry_after == 17
    # Whoever is told to wait does not ask again at once.
    assert len(requests_for(sim)) == asked_before + 1


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
    assert len(requests_for(sim, f"{CHART}/NOPE")) == 1
    assert not requests_for(sim, "guce.yahoo.com")
    sim.requests.clear()
    judge("AAPL", interval="1d")
    with pytest.raises(Exception, match="404"):
        judge("NOPE", interval="1d")
    # Its way to a cookie changes for all symbols, and every question is asked twice.
    assert len(requests_for(sim, f"{CHART}/NOPE")) > 1
    assert requests_for(sim, "guce.yahoo.com")


async def test_cookies_that_are_refused_are_replaced(sim: Simulation, provider: YahooProvider) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    refusal = '{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}'
    sim.faults.add(match=CHART, status=401, body=refusal)
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert requests_for(sim, "guce.yahoo.com")


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
    assert "crumb" not in requests_for(sim)[0]["query"]
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert len(sim.requests) == helpers + 2
    await provider.aclose()


async def test_the_text_of_an_error_never_becomes_a_crumb(sim: Simulation, provider: YahooProvider, judge: Any) -> None:
    sim.faults.add(match="getcrumb", status=429, body="Too Many Requests", times=2)
    judge("AAPL", interval="1d")
    judge("KO", interval="1d")
    assert "Too Many Requests" in [entry["query"].get("crumb") for entry in requests_for(sim)]
    sim.requests.clear()
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    provider._client._data.bare_until = 0.0
    await provider.fetch_bars(KO, WEEK, Resolution.DAY)
    crumbs = [entry["query"].get("crumb") for entry in requests_for(sim)]
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
