"""Alpaca: whole and exact, or an error; where the vendor's own client is silent, ours is not."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window, instant
from gb_pipeline.providers.alpaca import responses as alpaca_answers
from gb_pipeline.providers.alpaca.provider import AlpacaProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.simulation import Simulation

AAPL, ODD = Symbol.equity("AAPL"), Symbol.equity("ODD")
HOUR = Window.of("2024-01-02T15:00Z", "2024-01-02T16:00Z")
SESSION = Window.of("2024-01-02T05:00Z", "2024-01-03T05:00Z")
YEAR = (date(2024, 1, 1), date(2025, 1, 1))
MINUTE = Resolution.MINUTE
QUICK = Policy(timeout=5, retries=1, shortest_wait=0.001, longest_wait=0.002)
BARS, ACTIONS = "/v2/stocks/bars", "/v1/corporate-actions"
BAR = {"t": "2024-01-02T15:00:00Z", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "n": 1, "vw": 1}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, stocks=["AAPL", "BRK.B", "ODD"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now("2024-06-20T21:00Z")
    return running


class Providers:
    """Providers on the simulation, all closed at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.made: list[AlpacaProvider] = []

    def __call__(self, key: str = "AKs3cr3t1d", secret: str = "s3cr3tk3y", **named: Any) -> AlpacaProvider:
        self.made.append(AlpacaProvider(key, secret, **{"base_url": self.url, "policy": QUICK, **named}))
        return self.made[-1]


@pytest.fixture
async def providers(sim: Simulation) -> AsyncIterator[Providers]:
    factory = Providers(sim.url)
    yield factory
    for provider in factory.made:
        await provider.aclose()


def vendors_own(sim: Simulation) -> dict[str, list[dict[str, Any]]]:
    """What the vendor's own client makes of the hour."""
    client = StockHistoricalDataClient("AK1", "secret", url_override=f"{sim.url}/data.alpaca.markets", raw_data=True)
    client._retry = 0
    request = StockBarsRequest(
        symbol_or_symbols=["AAPL"], timeframe=TimeFrame.Minute, start=HOUR.start, end=HOUR.end - timedelta(seconds=1),
        adjustment=Adjustment.RAW, feed=DataFeed.SIP,
    )  # fmt: skip
    return client.get_stock_bars(request)


def served(sim: Simulation, window: Window, interval: str = "1m") -> list[tuple[Any, ...]]:
    start, end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
    bars = sim.stocks.bars("AAPL", interval, start, end, extended=True, count_call=False)
    return [(bar.start, *map(Decimal, bar[1:6])) for bar in bars]


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    assert frame.schema == RECEIVED | {"trade_count": pl.String(), "vwap": pl.String()}
    found = frame.select(pl.col("timestamp").dt.epoch("ms"), *RECEIVED.names()[1:]).rows()
    return [(row[0], *map(Decimal, row[1:])) for row in found]


def body(bars: object, token: object = None) -> str:
    return json.dumps({"bars": bars, "next_page_token": token})


# --- answers that say nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bars", [{}, None, {"AAPL": []}, {"AAPL": None}])
async def test_the_vendors_empty_answers_are_empty(sim: Simulation, providers: Providers, bars: object) -> None:
    sim.faults.add(match=BARS, body=body(bars))
    assert rows((await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame) == []


@pytest.mark.parametrize(("text", "said"), [
    ("<html>maintenance</html>", "instead of its data"), ('{"bars":{"AAPL":[', "instead of its data"), ("[]", "no next_page"),
    ('{"message":"internal server error"}', "internal server error"), ('{"next_page_token":null}', "no bars"),
    ('{"bars":{}}', "no next_page_token"), ('{"bars":[],"next_page_token":null}', "a list in place of bars"),
    ('{"bars":{},"next_page_token":7}', "no text"), (body({"AAPL": {"t": 1}}), "no list of bars"),
    (body({"AAPL": ["bar"]}), "no list of bars"), (body({"MSFT": [BAR]}), "bars of 'MSFT'"),
    (body({"AAPL": [{**BAR, "t": "2024-01-04T15:00:00Z"}]}), "another time"),
    ('{"bars":{},"next_page_token":null,"message":"delayed by 15 minutes"}', "no bars of AAPL but 'delayed"),
])  # fmt: skip
async def test_anything_else_is_an_error(sim: Simulation, providers: Providers, text: str, said: str) -> None:
    sim.faults.add(match=BARS, body=text, times=-1)
    with pytest.raises(TransientVendorError, match=said):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_a_full_page_without_a_next_one_is_not_the_end(sim: Simulation, providers: Providers) -> None:
    sim.stocks.page_limit = 1000
    sim.faults.add(match=BARS, action="no_next", times=-1)
    days = Window.of("2024-01-02T05:00Z", "2024-01-04T05:00Z")
    fetched = await providers().fetch_bars(AAPL, days, MINUTE)
    assert rows(fetched.frame) == served(sim, days)
    assert fetched.calls == 2


async def test_a_doubtful_answer_is_asked_for_again(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=BARS, body='{"bars":{}}')
    fetched = await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert rows(fetched.frame) == served(sim, HOUR)
    assert fetched.calls == 2


async def test_a_rate_limit_says_how_long_where_the_vendors_client_waits_its_own_time(
    sim: Simulation, providers: Providers
) -> None:
    sim.faults.add(
        match=BARS, status=429, headers={"Retry-After": "500"}, body='{"message":"too many requests."}', times=-1
    )
    with pytest.raises(APIError):
        vendors_own(sim)
    with pytest.raises(RateLimited, match=r"too many requests\.") as caught:
        await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert caught.value.retry_after == 500


async def test_silence_ends_after_the_sources_timeout(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=BARS, action="hang", times=-1)
    impatient = Policy(timeout=0.2, retries=0)
    with pytest.raises(TransientVendorError, match=r"did not answer within 0\.2 s"):
        await providers(policy=impatient).fetch_bars(AAPL, HOUR, MINUTE)


# --- unknown, not covered ---------------------------------------------------------------------------------------------


async def test_an_unknown_symbol_is_not_taken_for_a_quiet_one(sim: Simulation, providers: Providers) -> None:
    with pytest.raises(UnknownSymbol, match="lists no asset NOPE"):
        await providers().fetch_bars(Symbol.equity("NOPE"), HOUR, MINUTE)
    with pytest.raises(UnknownSymbol, match="lists no asset NOPE"):
        await providers().fetch_corporate_actions(Symbol.equity("NOPE"), *YEAR)
    with pytest.raises(UnknownSymbol, match="invalid symbol: A_B"):
        await providers().fetch_bars(Symbol.equity("A_B"), HOUR, MINUTE)


async def test_the_list_is_asked_once_per_quiet_symbol_on_the_keys_side(sim: Simulation, providers: Providers) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    for key, host in (("AK1", "api.alpaca.markets"), ("PK1", "paper-api.alpaca.markets")):
        provider = providers(key)
        sim.requests.clear()
        for day in ("2024-06-12", "2024-06-13"):
            window = Window.of(f"{day}T13:00Z", f"{day}T20:00Z")
            assert (await provider.fetch_bars(ODD, window, MINUTE)).frame.is_empty()
        asked = [entry["path"] for entry in sim.requests if "assets" in entry["path"]]
        assert asked == [f"/{host}/v2/assets/ODD"]


async def test_who_may_not_ask_for_assets_keeps_the_vendors_silence(
    sim: Simulation, providers: Providers, caplog: pytest.LogCaptureFixture
) -> None:
    sim.faults.add(match="assets", status=403, body='{"message":"forbidden."}', times=-1)
    with caplog.at_level(logging.WARNING):
        assert (await providers().fetch_bars(Symbol.equity("NOPE"), HOUR, MINUTE)).frame.is_empty()
    assert "is not known" in caplog.text


async def test_the_newest_quarter_of_an_hour_of_the_tape_takes_a_subscription(
    sim: Simulation, providers: Providers
) -> None:
    sim.set_now("2024-06-20T15:00Z")
    recent = Window.of("2024-06-20T14:00Z", "2024-06-20T15:00Z")
    with pytest.raises(NotEntitled, match="subscription does not permit querying recent SIP data") as caught:
        await providers().fetch_bars(AAPL, recent, MINUTE)
    assert "feed: iex" in caught.value.fix
    assert (await providers(feed="iex").fetch_bars(AAPL, recent, MINUTE)).frame.height == 60
    assert (await providers("AKPLUS").fetch_bars(AAPL, recent, MINUTE)).frame.height == 60
    sim.set_now("2024-06-20T15:16Z")
    assert rows((await providers().fetch_bars(AAPL, recent, MINUTE)).frame) == served(sim, recent)


async def test_a_session_that_is_over_is_served_a_quarter_of_an_hour_after_its_close(
    sim: Simulation, providers: Providers
) -> None:
    sim.set_now("2024-06-20T20:16Z")
    day = Window(instant("2024-06-20T04:00Z"), instant("2024-06-20T20:16Z"))
    with pytest.raises(NotEntitled):
        await providers().fetch_bars(AAPL, day, MINUTE)
    assert (await providers(hours=get_calendar("XNYS")).fetch_bars(AAPL, day, MINUTE)).frame.height == 390


async def test_a_refused_key_never_shows(sim: Simulation, providers: Providers) -> None:
    with pytest.raises(NotEntitled, match="401 Authorization Required"):
        await providers("unknown").fetch_bars(AAPL, HOUR, MINUTE)
    sim.faults.add(match=BARS, status=403, body='{"message":"AKs3cr3t1d with s3cr3tk3y is forbidden"}')
    with pytest.raises(VendorError, match="is forbidden") as caught:
        await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert "s3cr3t" not in str(caught.value)


# --- windows ----------------------------------------------------------------------------------------------------------


async def test_the_inclusive_end_is_not_asked_for(sim: Simulation, providers: Providers) -> None:
    fetched = await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert rows(fetched.frame) == served(sim, HOUR)
    assert fetched.frame.height == 60
    query = sim.requests[0]["query"]
    assert (query["start"], query["end"]) == ("2024-01-02T15:00:00Z", "2024-01-02T15:59:59Z")
    assert (query["adjustment"], query["feed"], query["limit"]) == ("raw", "sip", "10000")


async def test_a_window_within_bars_gets_whole_bars_that_open_in_it(sim: Simulation, providers: Providers) -> None:
    window = Window.of("2024-01-02T15:07Z", "2024-01-02T15:52Z")
    fetched = await providers().fetch_bars(AAPL, window, Resolution.MINUTE_15)
    assert rows(fetched.frame) == served(sim, window, "15m")
    assert sim.requests[0]["query"]["start"] == "2024-01-02T15:00:00Z"


async def test_days_are_named_by_their_session_across_a_clock_change(sim: Simulation, providers: Providers) -> None:
    fetched = await providers().fetch_bars(AAPL, Window.of("2024-03-08", "2024-03-13"), Resolution.DAY)
    assert [str(stamp) for stamp in fetched.frame["timestamp"].dt.date()] == ["2024-03-08", "2024-03-11", "2024-03-12"]
    query = sim.requests[0]["query"]
    assert (query["start"], query["end"]) == ("2024-03-08T05:00:00Z", "2024-03-13T03:59:59Z")


@pytest.mark.parametrize("stamp", ["2024-01-07T05:00:00Z", "2024-01-08T05:00:00Z"])
async def test_a_week_may_begin_on_sunday_or_monday(sim: Simulation, providers: Providers, stamp: str) -> None:
    sim.faults.add(match=BARS, body=body({"AAPL": [{**BAR, "t": stamp}]}))
    fetched = await providers().fetch_bars(AAPL, Window.of("2024-01-08", "2024-01-15"), Resolution.WEEK)
    assert fetched.frame["timestamp"].to_list() == [instant("2024-01-08")]


async def test_regular_hours_are_what_the_calendar_says(sim: Simulation, providers: Providers) -> None:
    whole = Window.of("2023-11-22T05:00Z", "2023-11-28T05:00Z")
    cut = (await providers(hours=get_calendar("XNYS")).fetch_bars(AAPL, whole, MINUTE)).frame
    everything = (await providers().fetch_bars(AAPL, whole, MINUTE)).frame
    assert (cut.height, everything.height) == (390 + 210 + 390, 960 + 780 + 960)
    assert cut.join(everything, on="timestamp", how="anti").is_empty()


@pytest.mark.parametrize(("window", "resolution", "most"), [
    (SESSION, MINUTE, 1), (Window.of("2024-01-01", "2024-02-01"), MINUTE, 3), (Window.of("2024-01-01", "2025-01-01"), MINUTE, 26),
    (Window.of("1980-01-01", "2025-01-01"), Resolution.DAY, 2), (Window.of("2024-01-06", "2024-01-07"), MINUTE, 1),
])  # fmt: skip
def test_a_plan_counts_full_pages(window: Window, resolution: Resolution, most: int) -> None:
    assert AlpacaProvider("k", "s").requests(window, resolution) == most


# --- digits -----------------------------------------------------------------------------------------------------------


async def test_the_vendors_digits_are_kept(sim: Simulation, providers: Providers) -> None:
    numbers = '"o":0.00000001,"h":12345678901234567.891,"l":1e-8,"c":1.50,"v":9099.618093'
    sim.faults.add(match=BARS, body=body({"AAPL": []}).replace("[]", f'[{{{numbers},"t":"2024-01-02T15:00:00Z"}}]'))
    frame = (await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame
    assert frame.row(0)[1:] == ("0.00000001", "12345678901234567.891", "1e-8", "1.50", "9099.618093", None, None)


@pytest.mark.parametrize(
    "stamp", [None, "", "soon", 1704207600, "2024-01-02T15:00:00", "2024-01-02T15:00:00.0005Z", {}]
)
async def test_a_time_that_cannot_be_read_is_left_to_the_quality_layer(
    sim: Simulation, providers: Providers, stamp: object
) -> None:
    sim.faults.add(match=BARS, body=body({"AAPL": [BAR, {**BAR, "t": stamp}, {"t": "2024-01-02T10:01:00-05:00"}]}))
    frame = (await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame
    found = frame.sort("timestamp", nulls_last=True)["timestamp"].to_list()
    assert found == [HOUR.start, HOUR.start + timedelta(minutes=1), None]


# --- pages ------------------------------------------------------------------------------------------------------------


async def test_every_page_is_followed_with_the_same_question(sim: Simulation, providers: Providers) -> None:
    sim.stocks.page_limit = 25
    fetched = await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert rows(fetched.frame) == served(sim, HOUR)
    assert fetched.calls == 3
    first, *others = [entry["query"] for entry in sim.requests]
    assert all({**query, "page_token": None} == {**first, "page_token": None} for query in others)


async def test_pages_that_go_in_circles_or_never_end_are_an_error(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=BARS, action="endless_next", times=-1)
    with pytest.raises(TransientVendorError, match="ever more pages"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert len(sim.requests) == 10
    sim.faults.clear()
    sim.faults.add(match=BARS, body=body({}, "again"), times=-1)
    with pytest.raises(TransientVendorError, match="was there before"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_a_page_that_came_before_is_an_error_where_the_vendors_client_takes_it_twice(
    sim: Simulation, providers: Providers
) -> None:
    sim.stocks.page_limit = 20
    sim.faults.add(match="page_token=.", action="duplicate_page")
    twice = vendors_own(sim)["AAPL"]
    assert len({bar["t"] for bar in twice}) < len(twice)
    sim.faults.add(match="page_token=.", action="duplicate_page", times=-1)
    with pytest.raises(TransientVendorError, match="there before"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


@pytest.mark.parametrize("trouble", ["overlap_page", "shuffle_rows"])
async def test_pages_that_overlap_or_are_out_of_order_lose_nothing(
    sim: Simulation, providers: Providers, trouble: str
) -> None:
    sim.stocks.page_limit = 20
    sim.faults.add(match=BARS, action=trouble, times=-1)
    found = rows((await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame)
    assert found == sorted(found)
    # Rows that came twice are the same, which is for the quality layer to see.
    assert list(dict.fromkeys(found)) == served(sim, HOUR)


# --- reading again ----------------------------------------------------------------------------------------------------


async def test_kept_bodies_make_the_same_frame_without_vendor_and_keys(sim: Simulation, providers: Providers) -> None:
    sim.stocks.page_limit = 100
    nyse = get_calendar("XNYS")
    keeping = Policy(timeout=5, keep_raw=True)
    for resolution, window in ((MINUTE, SESSION), (Resolution.WEEK, Window.of("2024-01-02", "2024-03-02"))):
        fetched = await providers(hours=nyse, policy=keeping).fetch_bars(AAPL, window, resolution)
        assert fetched.bodies
        alone = AlpacaProvider(_no_key, _no_key, hours=nyse)
        assert alone.normalise(AAPL, window, resolution, fetched.bodies).equals(fetched.frame)
    with pytest.raises(TransientVendorError):
        alone.normalise(AAPL, SESSION, MINUTE, [b"<html>"])


def _no_key() -> str:
    raise AssertionError("reading needs no key")


# --- what there is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("symbol", "resolutions"), [
    (AAPL, "1m 5m 15m 30m 1h 1d 1w 1mo"), (Symbol.crypto("BTC-USD"), "1m 5m 15m 30m 1h"), (Symbol.forex("EUR-USD"), ""),
    (Symbol.crypto("BTC-USDT-PERP"), ""),
])  # fmt: skip
def test_bars_are_offered_where_they_mean_what_ours_mean(symbol: Symbol, resolutions: str) -> None:
    provider = AlpacaProvider("key", "secret")
    assert [str(item) for item in Resolution if provider.supports(symbol, item)] == resolutions.split()


async def test_what_is_not_offered_is_refused(providers: Providers) -> None:
    with pytest.raises(PermanentVendorError, match="no bars of 4h"):
        await providers().fetch_bars(AAPL, SESSION, Resolution.HOUR_4)
    with pytest.raises(PermanentVendorError, match="no corporate actions"):
        await providers().fetch_corporate_actions(Symbol.crypto("BTC-USD"), *YEAR)


async def test_pairs_have_a_list_of_their_own(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match="/v1beta3/crypto/us/bars", body=body({"BTC/USD": [BAR]}))
    fetched = await providers(asset_class=AssetClass.CRYPTO).fetch_bars(Symbol.crypto("BTC-USD"), HOUR, MINUTE)
    assert fetched.frame["timestamp"].to_list() == [HOUR.start]
    query = sim.requests[0]["query"]
    assert query["symbols"] == "BTC/USD"
    assert not {"feed", "adjustment"} & set(query), "that list refuses them"
    sim.faults.add(
        match="assets.*asset_class=crypto", body=json.dumps([{"symbol": "BTC/USD", "status": "active"}]), times=2
    )
    (pair,) = await providers(asset_class=AssetClass.CRYPTO).instruments()
    assert (pair.symbol, pair.vendor, pair.quote) == (Symbol.crypto("BTC-USD"), "BTC/USD", "USD")


# --- actions and lists ------------------------------------------------------------------------------------------------


async def test_a_dividend_is_found_by_its_ex_date_though_the_vendor_files_it_under_its_payment(
    sim: Simulation, providers: Providers
) -> None:
    sim.plant("dividend", "AAPL", ex_date="2024-02-29", amount="0.24", pay="2024-08-15")
    sim.plant("dividend", "AAPL", ex_date="2024-01-31", amount="0.23", pay="2024-02-15")
    found = await providers().fetch_corporate_actions(AAPL, date(2024, 2, 1), date(2024, 3, 1))
    assert found.frame.schema == ACTIONS_RECEIVED
    assert found.frame.select("ex_date", "amount", "currency", "pay_date").rows() == [
        (date(2024, 2, 29), "0.24", "USD", date(2024, 8, 15))
    ]


async def test_a_stock_dividend_is_a_split(sim: Simulation, providers: Providers) -> None:
    row = {"symbol": "AAPL", "cusip": "1", "rate": 0.05, "process_date": "2024-03-15", "ex_date": "2024-03-01"}
    answer = {
        "corporate_actions": {"stock_dividends": [row], "spin_offs": [{"source_symbol": "AAPL"}]},
        "next_page_token": None,
    }
    sim.faults.add(match=ACTIONS, body=json.dumps(answer))
    found = (await providers().fetch_corporate_actions(AAPL, *YEAR)).frame
    assert found.select("ex_date", "kind", "label", "split_to", "split_from").rows() == [
        (date(2024, 3, 1), "split", "stock_dividend", "1.05", "1")
    ]


@given(rate=st.decimals("0.000001", "10", places=6))
def test_a_stock_dividend_of_any_rate_is_exact(rate: Decimal) -> None:
    row = {"symbol": "AAPL", "rate": str(rate), "ex_date": "2024-03-01"}
    (made,) = alpaca_answers.actions({"corporate_actions": {"stock_dividends": [row]}}, "AAPL")
    assert Decimal(made["split_to"]) == 1 + rate


@pytest.mark.parametrize("lists", [{}, None, {"cash_dividends": []}])
async def test_a_share_without_actions_has_none(sim: Simulation, providers: Providers, lists: object) -> None:
    sim.faults.add(match=ACTIONS, body=json.dumps({"corporate_actions": lists, "next_page_token": None}))
    assert (await providers().fetch_corporate_actions(AAPL, *YEAR)).frame.is_empty()


@pytest.mark.parametrize("lists", [
    [], {"cash_dividends": {}}, {"cash_dividends": ["paid"]}, {"cash_dividends": [{"symbol": "MSFT", "rate": 1}]},
    {"cash_dividends": [{"symbol": "AAPL", "rate": 1}]}, {"cash_dividends": [{"symbol": "AAPL", "ex_date": "2024-03-01"}]},
    {"cash_dividends": [{"symbol": "AAPL", "ex_date": "2024-02-30", "rate": 1}]},
    {"forward_splits": [{"symbol": "AAPL", "ex_date": "2024-03-01", "new_rate": 2}]},
    {"stock_dividends": [{"symbol": "AAPL", "ex_date": "2024-03-01", "rate": "some"}]},
])  # fmt: skip
async def test_a_broken_action_is_an_error(sim: Simulation, providers: Providers, lists: object) -> None:
    sim.faults.add(match=ACTIONS, body=json.dumps({"corporate_actions": lists, "next_page_token": None}), times=-1)
    with pytest.raises(TransientVendorError):
        await providers().fetch_corporate_actions(AAPL, *YEAR)


async def test_delisted_assets_stay_in_the_list(sim: Simulation, providers: Providers) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    found = {item.symbol.code: item.active for item in await providers().instruments()}
    assert found == {"AAPL": True, "BRK.B": True, "ODD": False}


@pytest.mark.parametrize("text", ['{"message":"try later"}', '["AAPL"]', '[{"status":"active"}]', "<html>"])
async def test_a_broken_list_is_an_error_and_never_a_short_one(
    sim: Simulation, providers: Providers, text: str
) -> None:
    sim.faults.add(match="status=active", body=text, times=-1)
    with pytest.raises(TransientVendorError):
        await providers().instruments()


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> SourceSettings:
    given_settings = {
        "name": "us",
        "provider": "alpaca",
        "calendar": "XNYS",
        "start": "2024-01-01",
        "symbols": ["AAPL"],
    }
    return SourceSettings.model_validate(given_settings | changes)


async def test_a_source_is_asked_with_its_feed_and_cut_to_its_hours(sim: Simulation) -> None:
    options = {"key": "AK1", "secret": "s", "feed": "iex", "base_url": sim.url}
    provider = build_provider(settings(options=options, symbols=[{"code": "APPLE", "vendor": "AAPL"}]))
    fetched = await provider.fetch_bars(Symbol.equity("APPLE"), SESSION, MINUTE)
    assert fetched.frame.height == 390
    assert sim.requests[0]["query"]["feed"] == "iex"
    await provider.aclose()


@pytest.mark.parametrize("options", [{}, {"key": "AK1"}])
async def test_keys_are_only_missed_by_a_request(options: dict[str, str]) -> None:
    provider = build_provider(settings(options=options))
    assert provider.requests(SESSION, MINUTE) == 1
    with pytest.raises(ConfigError, match="secret" if options else "key"):
        await provider.fetch_bars(AAPL, SESSION, MINUTE)
    await provider.aclose()


@pytest.mark.parametrize(("options", "said"), [
    ({"plan": "free"}, "plan"), ({"feed": "nyse"}, "no feed 'nyse'"), ({"base_url": "https://api.example.com"}, "base_url"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_provider(settings(options=options))
