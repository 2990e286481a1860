"""The simulated Massive, judged by the vendor's own client, whose rows are our provider's rows."""

from __future__ import annotations

import json
import types
from collections.abc import AsyncIterator, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import massive
import polars as pl
import pytest

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import ActionsProvider, InstrumentsProvider, Provider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.massive.provider import MassiveProvider
from gb_pipeline.simulation import Simulation

AAPL = Symbol.equity("AAPL")
# Both ends of a page of 5,000 minutes lie within, and so does a half day on Friday the 24th.
NOVEMBER = Window.of("2023-11-01T04:00Z", "2023-12-01T05:00Z")
QUICK = Policy(timeout=10, retries=1, shortest_wait=0.001, longest_wait=0.002)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, stocks=["AAPL", "BRK.B", "KO", "ODD"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now("2024-06-20T21:00Z")
    return running


@pytest.fixture
def client(sim: Simulation) -> massive.RESTClient:
    exact = types.SimpleNamespace(loads=lambda text: json.loads(text, parse_float=str))
    return massive.RESTClient("key", base=f"{sim.url}/api.massive.com", retries=0, custom_json=exact)


@pytest.fixture
async def provider(sim: Simulation) -> AsyncIterator[MassiveProvider]:
    made = MassiveProvider("key", base_url=sim.url, policy=QUICK)
    yield made
    await made.aclose()


def judged(bars: list[Any]) -> list[tuple[Any, ...]]:
    """What the vendor's client read, field by field."""
    fields = ("open", "high", "low", "close", "volume", "transactions", "vwap")
    return [(bar.timestamp, *(str(getattr(bar, name)) for name in fields)) for bar in bars]


def ours(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    columns = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
    return frame.select(pl.col("timestamp").dt.epoch("ms"), *columns).rows()


def test_the_provider_keeps_every_promise(provider: MassiveProvider) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, ActionsProvider)
    assert isinstance(provider, InstrumentsProvider)


async def test_a_month_of_minutes_in_pages_is_the_same_for_both(
    sim: Simulation, client: massive.RESTClient, provider: MassiveProvider
) -> None:
    bars = list(client.list_aggs("AAPL", 1, "minute", "2023-11-01", "2023-11-30", adjusted=False, limit=5000))
    assert len(sim.requests) == 4, "three pages lead to the next one"
    # A vendor may send smaller pages than it was asked for.
    sim.stocks.page_limit = 5000
    fetched = await provider.fetch_bars(AAPL, NOVEMBER, Resolution.MINUTE)
    assert fetched.calls == 4
    assert ours(fetched.frame) == judged(bars)
    assert len(bars) == 20 * 960 + 780, "half a day less on the day after Thanksgiving"


@pytest.mark.parametrize(("multiplier", "span", "resolution"), [
    (5, "minute", Resolution.MINUTE_5), (15, "minute", Resolution.MINUTE_15), (30, "minute", Resolution.MINUTE_30),
    (1, "hour", Resolution.HOUR),
])  # fmt: skip
async def test_longer_intraday_bars_are_the_same_for_both(
    client: massive.RESTClient, provider: MassiveProvider, multiplier: int, span: str, resolution: Resolution
) -> None:
    # The limit counts the minutes that bars are made of: a thousand of them are one session and a bit.
    bars = list(client.list_aggs("AAPL", multiplier, span, "2023-11-20", "2023-11-28", adjusted=False, limit=1000))
    window = Window.of("2023-11-20T05:00Z", "2023-11-29T05:00Z")
    fetched = await provider.fetch_bars(AAPL, window, resolution)
    assert ours(fetched.frame) == judged(bars)
    assert fetched.calls == 1


@pytest.mark.parametrize(("span", "resolution", "first"), [
    ("day", Resolution.DAY, "2023-11-01"), ("week", Resolution.WEEK, "2023-10-30"), ("month", Resolution.MONTH, "2023-11-01"),
])  # fmt: skip
async def test_days_and_longer_are_the_same_under_our_dates(
    client: massive.RESTClient, provider: MassiveProvider, span: str, resolution: Resolution, first: str
) -> None:
    bars = list(client.list_aggs("AAPL", 1, span, "2023-11-01", "2024-03-30", adjusted=False))
    fetched = await provider.fetch_bars(AAPL, Window.of(first, "2024-04-01"), resolution)
    assert [row[1:] for row in ours(fetched.frame)] == [row[1:] for row in judged(bars)]
    assert str(fetched.frame["timestamp"][0].date()) == first


def test_descending_pages_are_the_same_bars(client: massive.RESTClient) -> None:
    def asked(sort: str, limit: int) -> list[Any]:
        return list(client.list_aggs("KO", 30, "minute", "2024-03-07", "2024-03-12", sort=sort, limit=limit))

    assert asked("desc", 700)[::-1] == asked("asc", 50_000)


def test_adjusted_bars_are_the_default_and_change_with_a_split(sim: Simulation, client: massive.RESTClient) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="4")
    adjusted = next(iter(client.list_aggs("AAPL", 1, "day", "2024-06-07", "2024-06-07")))
    raw = next(iter(client.list_aggs("AAPL", 1, "day", "2024-06-07", "2024-06-07", adjusted=False)))
    assert Decimal(adjusted.close) * 4 == Decimal(raw.close)
    assert adjusted.volume == raw.volume * 4


async def test_splits_and_dividends_are_the_same_for_both(
    sim: Simulation, client: massive.RESTClient, provider: MassiveProvider
) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="3", from_="2")
    sim.plant("dividend", "AAPL", ex_date="2024-05-10", amount="0.2405")
    sim.plant("dividend", "AAPL", ex_date="2024-05-10", amount="1.5", label="special")
    sim.plant("dividend", "KO", ex_date="2024-05-10", amount="0.485")
    fetched = await provider.fetch_corporate_actions(AAPL, date(2024, 1, 1), date(2025, 1, 1))
    splits, dividends = list(client.list_splits("AAPL", limit=1)), list(client.list_dividends("AAPL", limit=1))
    rows = fetched.frame.select(
        "ex_date", "kind", "label", "split_to", "split_from", "amount", "currency", "pay_date"
    ).rows()
    assert rows == [
        *(
            (date.fromisoformat(item.ex_dividend_date), "cash_dividend", item.dividend_type, None, None,
             item.cash_amount, item.currency, date.fromisoformat(item.pay_date))
            for item in sorted(dividends, key=lambda item: item.dividend_type)
        ),
        *(
            (date.fromisoformat(item.execution_date), "split", "", str(item.split_to), str(item.split_from), None, None, None)
            for item in splits
        ),
    ]  # fmt: skip
    assert [row[5] for row in rows] == ["0.2405", "1.5", None]


async def test_the_list_of_tickers_is_the_same_for_both(
    sim: Simulation, client: massive.RESTClient, provider: MassiveProvider
) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    listed = [
        *client.list_tickers(market="stocks", limit=2),
        *client.list_tickers(market="stocks", active=False, limit=2),
    ]
    found = await provider.instruments()
    assert [(item.vendor, item.name, item.active, item.symbol.exchange) for item in found] == [
        (item.ticker, item.name, item.active, item.primary_exchange)
        for item in sorted(listed, key=lambda item: item.ticker)
    ]
    assert {item.symbol.code: item.listed_until for item in found}["ODD"] == date(2024, 6, 11)
    assert {item.quote for item in found} == {"USD"}


def test_a_tickers_record_has_its_listing_date(sim: Simulation, client: massive.RESTClient) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    assert client.get_ticker_details("AAPL").list_date == "2000-01-03"
    assert client.get_ticker_details("ODD", date="2024-06-10").ticker == "ODD"
    with pytest.raises(massive.exceptions.BadResponse, match="Ticker not found"):
        client.get_ticker_details("ODD")


def test_a_key_is_wanted(sim: Simulation) -> None:
    client = massive.RESTClient("unknown", base=f"{sim.url}/api.massive.com", retries=0)
    with pytest.raises(massive.exceptions.BadResponse, match="Unknown API Key"):
        list(client.list_tickers())
