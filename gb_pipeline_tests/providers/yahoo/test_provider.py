"""Yahoo's bars and actions are whole and exact, or an error."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
)
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import ActionsProvider, Provider, SearchProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.yahoo.vendor import AAPL, CHART, DAY, KO, QUICK, SHARES, WEEK, requests_for

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_is_a_provider_of_bars_actions_and_searches() -> None:
    provider = YahooProvider()
    assert isinstance(provider, Provider)
    assert isinstance(provider, ActionsProvider)
    assert isinstance(provider, SearchProvider)
    assert (provider.name, provider.adjustment, provider.normaliser) == ("yahoo", Adjustment.SPLIT, "yahoo/2")


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
    charts = requests_for(sim)
    assert len(charts) == provider.requests(window, Resolution.MINUTE) == 4
    spans = [int(entry["query"]["period2"]) - int(entry["query"]["period1"]) for entry in charts]
    assert max(spans) == 7 * 86_400


async def test_days_are_asked_for_with_one_to_spare_as_an_exchanges_day_may_begin_before_ours(
    sim: Simulation, provider: YahooProvider
) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.fetch_bars(AAPL, WEEK, Resolution.HOUR)
    start, end = (round(moment.timestamp()) for moment in (WEEK.start, WEEK.end))
    spans = [(int(entry["query"]["period1"]), int(entry["query"]["period2"])) for entry in requests_for(sim)]
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
    assert requests_for(sim)[0]["query"]["includePrePost"] == "true"
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
