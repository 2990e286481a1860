"""The simulated Alpaca, judged by the vendor's own client, whose rows are our provider's rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, CorporateActionsType, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.requests import CorporateActionsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import AssetStatus
from alpaca.trading.requests import GetAssetsRequest

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.alpaca.provider import AlpacaProvider
from gb_pipeline.providers.base import ActionsProvider, InstrumentsProvider, Provider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation

AAPL, KO = Symbol.equity("AAPL"), Symbol.equity("KO")
# Twelve sessions of 04:00 to 20:00, one of them until 17:00: two pages of 10,000 minutes.
DAYS = Window.of("2023-11-16T05:00Z", "2023-12-05T05:00Z")
QUICK = Policy(timeout=10, retries=1, shortest_wait=0.001, longest_wait=0.002)
FIELDS = ("o", "h", "l", "c", "v", "n", "vw")


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
def client(sim: Simulation) -> StockHistoricalDataClient:
    made = StockHistoricalDataClient("AK1", "secret", url_override=f"{sim.url}/data.alpaca.markets", raw_data=True)
    # Without it a refusal takes nine seconds of waiting.
    made._retry = 0
    return made


@pytest.fixture
async def provider(sim: Simulation) -> AsyncIterator[AlpacaProvider]:
    made = AlpacaProvider("AK1", "secret", base_url=sim.url, policy=QUICK)
    yield made
    await made.aclose()


def asked(symbols: list[str], timeframe: Any, start: datetime, end: datetime, **named: Any) -> StockBarsRequest:
    named = {"adjustment": Adjustment.RAW, "feed": DataFeed.SIP, **named}
    return StockBarsRequest(symbol_or_symbols=symbols, timeframe=timeframe, start=start, end=end, **named)


def judged(bars: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What the vendor's client read, floats and all."""
    return [(datetime.fromisoformat(bar["t"]), *(Decimal(str(bar[name])) for name in FIELDS)) for bar in bars]


def ours(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    columns = ("open", "high", "low", "close", "volume", "trade_count", "vwap")
    return [(row[0], *map(Decimal, row[1:])) for row in frame.select("timestamp", *columns).rows()]


def test_the_provider_keeps_every_promise(provider: AlpacaProvider) -> None:
    assert isinstance(provider, Provider)
    assert isinstance(provider, ActionsProvider)
    assert isinstance(provider, InstrumentsProvider)


async def test_pages_of_several_symbols_are_the_same_for_both(
    sim: Simulation, client: StockHistoricalDataClient, provider: AlpacaProvider
) -> None:
    bars = client.get_stock_bars(asked(["KO", "AAPL"], TimeFrame.Minute, DAYS.start, DAYS.end))
    assert len(sim.requests) == 3
    assert list(bars) == ["AAPL", "KO"], "ordered by symbol"
    for symbol in (AAPL, KO):
        fetched = await provider.fetch_bars(symbol, DAYS, Resolution.MINUTE)
        assert ours(fetched.frame) == judged(bars[symbol.code])
        assert fetched.frame.height == 11 * 960 + 780
        assert fetched.calls == provider.requests(DAYS, Resolution.MINUTE) == 2


@pytest.mark.parametrize(("amount", "unit", "resolution"), [
    (5, TimeFrameUnit.Minute, Resolution.MINUTE_5), (15, TimeFrameUnit.Minute, Resolution.MINUTE_15),
    (30, TimeFrameUnit.Minute, Resolution.MINUTE_30), (1, TimeFrameUnit.Hour, Resolution.HOUR),
])  # fmt: skip
async def test_longer_intraday_bars_are_the_same_for_both(
    sim: Simulation,
    client: StockHistoricalDataClient,
    provider: AlpacaProvider,
    amount: int,
    unit: TimeFrameUnit,
    resolution: Resolution,
) -> None:
    sim.stocks.page_limit = 100
    window = Window.of("2024-03-08T05:00Z", "2024-03-12T04:00Z")
    bars = client.get_stock_bars(asked(["AAPL"], TimeFrame(amount, unit), window.start, window.end))["AAPL"]
    assert ours((await provider.fetch_bars(AAPL, window, resolution)).frame) == judged(bars)


@pytest.mark.parametrize(("timeframe", "resolution", "first"), [
    (TimeFrame.Day, Resolution.DAY, "2023-11-01"), (TimeFrame.Week, Resolution.WEEK, "2023-10-30"),
    (TimeFrame.Month, Resolution.MONTH, "2023-11-01"),
])  # fmt: skip
async def test_days_and_longer_are_the_same_under_our_dates(
    client: StockHistoricalDataClient, provider: AlpacaProvider, timeframe: Any, resolution: Resolution, first: str
) -> None:
    start, end = datetime(2023, 10, 30, tzinfo=UTC), datetime(2024, 3, 30, tzinfo=UTC)
    if resolution is not Resolution.WEEK:
        start = datetime(2023, 11, 1, tzinfo=UTC)
    bars = client.get_stock_bars(asked(["AAPL"], timeframe, start, end))["AAPL"]
    fetched = await provider.fetch_bars(AAPL, Window.of(first, "2024-03-30"), resolution)
    assert [row[1:] for row in ours(fetched.frame)] == [row[1:] for row in judged(bars)]
    assert str(fetched.frame["timestamp"][0].date()) == first
    assert {bar["t"][11:] for bar in bars} == {"04:00:00Z", "05:00:00Z"}, "midnights in New York"


def test_both_ends_are_inclusive(client: StockHistoricalDataClient) -> None:
    start, end = datetime(2024, 1, 2, 15, tzinfo=UTC), datetime(2024, 1, 2, 15, 10, tzinfo=UTC)
    bars = client.get_stock_bars(asked(["AAPL"], TimeFrame.Minute, start, end))["AAPL"]
    assert [bars[0]["t"], bars[-1]["t"], len(bars)] == ["2024-01-02T15:00:00Z", "2024-01-02T15:10:00Z", 11]


def test_models_of_the_client_accept_every_bar(sim: Simulation) -> None:
    client = StockHistoricalDataClient("AK1", "secret", url_override=f"{sim.url}/data.alpaca.markets")
    start = datetime(2024, 1, 2, 15, tzinfo=UTC)
    bars = client.get_stock_bars(asked(["AAPL"], TimeFrame.Hour, start, start.replace(hour=20)))
    assert len(bars["AAPL"]) == 6
    assert bars["AAPL"][0].timestamp == start


def test_one_exchange_sees_a_fraction_of_the_tape(client: StockHistoricalDataClient) -> None:
    start, end = datetime(2024, 1, 2, 5, tzinfo=UTC), datetime(2024, 1, 3, 4, tzinfo=UTC)
    tape, iex = (
        client.get_stock_bars(asked(["AAPL"], TimeFrame.Day, start, end, feed=feed))["AAPL"][0]
        for feed in (DataFeed.SIP, DataFeed.IEX)
    )
    assert tape["c"] == iex["c"]
    assert tape["v"] > 30 * iex["v"]


async def test_actions_are_the_same_for_both(sim: Simulation, provider: AlpacaProvider) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="3", from_="2")
    sim.plant("split", "AAPL", ex_date="2024-03-11", to="1", from_="10")
    sim.plant("dividend", "AAPL", ex_date="2024-05-10", amount="0.2405")
    sim.plant("dividend", "AAPL", ex_date="2024-05-10", amount="1.5", label="special")
    sim.plant("dividend", "KO", ex_date="2024-05-10", amount="0.485")
    client = CorporateActionsClient("AK1", "secret", url_override=f"{sim.url}/data.alpaca.markets")
    wanted = [CorporateActionsType(name) for name in ("forward_split", "reverse_split", "cash_dividend")]
    request = CorporateActionsRequest(
        symbols=["AAPL"], types=wanted, start=date(2024, 1, 1), end=date(2025, 1, 1), limit=1
    )
    request.limit = None
    actions = client.get_corporate_actions(request).data
    fetched = await provider.fetch_corporate_actions(AAPL, date(2024, 1, 1), date(2025, 1, 1))
    splits = fetched.frame.filter(pl.col("kind") == "split")
    assert splits.select("ex_date", "label", "split_to", "split_from").rows() == [
        (item.ex_date, item.corporate_action_type.removesuffix("s"), f"{item.new_rate:g}", f"{item.old_rate:g}")
        for item in [*actions["reverse_splits"], *actions["forward_splits"]]
    ]
    paid = fetched.frame.filter(pl.col("kind") == "cash_dividend")
    assert paid.select("ex_date", "label", "amount", "record_date", "pay_date").rows() == [
        (item.ex_date, "special" if item.special else "regular", f"{item.rate:g}", item.record_date, item.payable_date)
        for item in sorted(actions["cash_dividends"], key=lambda item: item.special)
    ]
    assert paid["amount"].to_list() == ["0.2405", "1.5"]


async def test_assets_are_the_same_for_both(sim: Simulation, provider: AlpacaProvider) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    client = TradingClient("AK1", "secret", url_override=f"{sim.url}/api.alpaca.markets")
    listed = [
        *client.get_all_assets(GetAssetsRequest(status=AssetStatus.ACTIVE)),
        *client.get_all_assets(GetAssetsRequest(status=AssetStatus.INACTIVE)),
    ]
    found = await provider.instruments()
    assert [(item.vendor, item.name, item.active) for item in found] == [
        (item.symbol, item.name, item.status is AssetStatus.ACTIVE)
        for item in sorted(listed, key=lambda item: item.symbol)
    ]
    assert [(item.symbol.exchange, item.quote) for item in found] == [
        ("XNAS", "USD"), ("XNYS", "USD"), ("XNYS", "USD"), ("XNAS", "USD"),
    ]  # fmt: skip
    assert client.get_asset("BRK.B").symbol == "BRK.B"
    with pytest.raises(APIError, match="asset not found for NOPE"):
        client.get_asset("NOPE")


def test_keys_are_wanted_and_paper_keys_belong_to_the_paper_side(sim: Simulation) -> None:
    bad = StockHistoricalDataClient("unknown", "secret", url_override=f"{sim.url}/data.alpaca.markets")
    start = datetime(2024, 1, 2, 15, tzinfo=UTC)
    with pytest.raises(APIError, match="401 Authorization Required"):
        bad.get_stock_bars(asked(["AAPL"], TimeFrame.Hour, start, start))
    TradingClient("PK1", "secret", url_override=f"{sim.url}/paper-api.alpaca.markets").get_all_assets()
    with pytest.raises(APIError, match="forbidden"):
        TradingClient("PK1", "secret", url_override=f"{sim.url}/api.alpaca.markets").get_all_assets()
