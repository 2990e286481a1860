"""Alpha Vantage's reports and listings through the simulation: exact, whole, and told from what the vendor does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from gb_pipeline.config.settings import DailyQuota
from gb_pipeline.errors import NotEntitled, QuotaExhausted, RateLimited, TransientVendorError, UnknownSymbol
from gb_pipeline.market.fundamental_schema import FUNDAMENTALS_RECEIVED, LISTINGS_RECEIVED, Statement
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.alpha_vantage.items import item_name
from gb_pipeline.providers.alpha_vantage.provider import AlphaVantageProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation

AAPL, BRK, SPY = (Symbol.equity(code) for code in ("AAPL", "BRK.B", "SPY"))
EVERY = tuple(Statement)
KEY = "S3CRETKEY1234567"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=[], stocks=["AAPL", "BRK.B", "SPY"]) as running:
        yield running


@pytest.fixture
def sim(vendor: Simulation) -> Simulation:
    vendor.reset()
    vendor.set_now("2024-06-13T01:00:00Z")
    vendor.plant("listing", "AAPL", start="2022-01-03T00:00:00Z")
    return vendor


def made(sim: Simulation, key: str = KEY, calls: int = 1000, **more: Any) -> AlphaVantageProvider:
    policy = Policy(retries=0, quota=DailyQuota(calls=calls), shortest_wait=0.001, longest_wait=0.001, **more)
    return AlphaVantageProvider(key, base_url=sim.url, policy=policy)


async def test_every_number_is_the_vendors_own_text(sim: Simulation) -> None:
    provider = made(sim)
    fetched = await provider.fetch_fundamentals(AAPL, EVERY)
    assert fetched.frame.schema == FUNDAMENTALS_RECEIVED
    assert fetched.calls == provider.fundamentals_requests(EVERY) == 5
    report = sim.stocks.companies.quarters(sim.stocks.listing("AAPL"), sim.stocks.now)[-1]
    rows = fetched.frame.filter(fiscal_period_end=report.ends, kind="quarterly")
    for statement, function in (
        ("income_statement", "INCOME_STATEMENT"),
        ("balance_sheet", "BALANCE_SHEET"),
        ("cash_flow", "CASH_FLOW"),
    ):
        told = dict(rows.filter(statement=statement).select("item", "value").rows())
        assert told == {item_name(item): text for item, text in report.values[function].items()}
    assert rows["reported_date"].unique().to_list() == [report.reported]
    await provider.aclose()


async def test_units_and_currencies_are_those_of_the_items(sim: Simulation) -> None:
    sim.plant("report_currency", "AAPL", start="2024-01-01", currency="EUR")
    provider = made(sim)
    frame = (await provider.fetch_fundamentals(AAPL, EVERY)).frame
    facts = {(row[0], row[1]): row[2:] for row in frame.select("statement", "item", "unit", "currency").unique().rows()}
    assert facts["balance_sheet", "common_stock_shares_outstanding"] == ("shares", None)
    assert facts["overview", "market_capitalization"] == ("money", "USD")
    assert facts["overview", "revenue_ttm"] == ("money", None)
    assert facts["overview", "sector"] == ("text", None)
    assert facts["earnings", "reported_eps"] == ("money_per_share", None)
    assert facts["earnings", "surprise_percentage"] == ("percent", None)
    revenue = frame.filter(item="total_revenue", kind="quarterly").sort("fiscal_period_end")
    assert revenue["currency"].unique(maintain_order=True).to_list() == ["USD", "EUR"]
    await provider.aclose()


async def test_a_fund_has_nothing_and_an_unknown_symbol_is_an_error(sim: Simulation) -> None:
    provider = made(sim)
    assert (await provider.fetch_fundamentals(SPY, EVERY)).frame.is_empty()
    with pytest.raises(UnknownSymbol):
        await provider.fetch_fundamentals(Symbol.equity("NOSUCH"), EVERY)
    await provider.aclose()


async def test_kept_answers_give_the_same_frame_in_any_order(sim: Simulation) -> None:
    provider = made(sim, keep_raw=True)
    fetched = await provider.fetch_fundamentals(BRK, EVERY)
    assert len(fetched.bodies) == 5
    again = provider.normalise_fundamentals(BRK, fetched.bodies[::-1])
    assert again.sort(pl.all()).equals(fetched.frame.sort(pl.all()))
    await provider.aclose()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"Information": "rate limit is 25 requests per day"}, QuotaExhausted),
        ({"Note": "Thank you! Our standard API call frequency is 5 calls per minute"}, RateLimited),
        ({"Information": "This is a premium endpoint"}, NotEntitled),
        (
            {
                "symbol": "MSFT",
                "annualReports": [],
                "quarterlyReports": [{"totalRevenue": "1", "fiscalDateEnding": "2024-03-31"}],
            },
            TransientVendorError,
        ),
        (
            {"symbol": "AAPL", "quarterlyReports": [{"totalAssets": "1", "fiscalDateEnding": "2024-03-31"}]},
            TransientVendorError,
        ),
        (
            {"symbol": "AAPL", "quarterlyReports": [{"totalRevenue": "1", "fiscalDateEnding": "soon"}]},
            TransientVendorError,
        ),
        (
            {"symbol": "AAPL", "quarterlyReports": [{"totalRevenue": ["1"], "fiscalDateEnding": "2024-03-31"}]},
            TransientVendorError,
        ),
        ({"symbol": "AAPL", "quarterlyReports": "none"}, TransientVendorError),
        ({"surprise": 1}, TransientVendorError),
    ],
)
async def test_an_answer_that_is_none_is_an_error_and_never_a_fact(
    sim: Simulation, body: dict, error: type[Exception]
) -> None:
    fault = sim.faults.add(match="function=INCOME_STATEMENT", body=json.dumps(body), status=200)
    provider = made(sim)
    with pytest.raises(error) as raised:
        await provider.fetch_fundamentals(AAPL, EVERY)
    assert fault.hits == 1
    assert KEY not in str(raised.value)
    await provider.aclose()


@pytest.mark.parametrize("action", ["cut", "truncate", "reset"])
async def test_half_an_answer_is_an_error(sim: Simulation, action: str) -> None:
    fault = sim.faults.add(match="function=CASH_FLOW", action=action)
    provider = made(sim)
    with pytest.raises(TransientVendorError):
        await provider.fetch_fundamentals(AAPL, EVERY)
    assert fault.hits == 1
    await provider.aclose()


async def test_a_number_keeps_every_digit_and_none_stays_a_word(sim: Simulation) -> None:
    sim.plant(
        "restated_report",
        "AAPL",
        period="2024-03-31",
        function="INCOME_STATEMENT",
        item="ebit",
        value="0.10000000000000000001",
    )
    sim.plant(
        "restated_report", "AAPL", period="2024-03-31", function="INCOME_STATEMENT", item="netIncome", value="None"
    )
    provider = made(sim)
    frame = (await provider.fetch_fundamentals(AAPL, [Statement.INCOME_STATEMENT])).frame
    told = dict(frame.filter(fiscal_period_end=date(2024, 3, 31), kind="quarterly").select("item", "value").rows())
    assert (told["ebit"], told["net_income"]) == ("0.10000000000000000001", "None")
    await provider.aclose()


async def test_listings_are_those_of_a_day_with_the_delisted_ones(sim: Simulation) -> None:
    sim.plant("delisting", "BRK.B", start="2024-05-01")
    provider = made(sim)
    frame = (await provider.fetch_listings()).frame
    assert frame.schema == LISTINGS_RECEIVED
    rows = {row["symbol"]: row for row in frame.rows(named=True)}
    assert (rows["BRK.B"]["status"], rows["BRK.B"]["delisting_date"], rows["BRK.B"]["vendor_symbol"]) == (
        "delisted", date(2024, 5, 1), "BRK-B",
    )  # fmt: skip
    assert (rows["SPY"]["asset_type"], rows["SPY"]["status"]) == ("ETF", "active")
    then = (await provider.fetch_listings(date(2021, 6, 1))).frame
    assert dict(then.select("symbol", "status").rows()) == {"BRK.B": "active", "SPY": "active"}
    await provider.aclose()


async def test_half_a_list_and_an_empty_one_are_errors(sim: Simulation) -> None:
    header = "symbol,name,exchange,assetType,ipoDate,delistingDate,status\r\n"
    for body in (header + "A,Agilent,NYSE,Sto", header.strip()):
        sim.faults.add(match="LISTING_STATUS", body=body, status=200)
        provider = made(sim)
        with pytest.raises(TransientVendorError):
            await provider.fetch_listings()
        await provider.aclose()
    with pytest.raises(TransientVendorError):
        made(sim).normalise_listings([header.encode()])


async def test_the_simulated_year_adds_up(sim: Simulation) -> None:
    sim.plant("listing", "AAPL", start="2020-01-03T00:00:00Z")
    provider = made(sim)
    frame = (await provider.fetch_fundamentals(AAPL, [Statement.INCOME_STATEMENT])).frame.filter(item="total_revenue")
    year = pl.col("fiscal_period_end").dt.year() == 2023
    [annual] = frame.filter(year, kind="annual")["value"]
    assert Decimal(annual) == sum(map(Decimal, frame.filter(year, kind="quarterly")["value"]))
    await provider.aclose()
