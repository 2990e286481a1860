"""The unmodified yfinance judges the simulated Yahoo, and its rows are our provider's rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
import yfinance

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.simulation import Simulation

# pandas tells yfinance about its own plans.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
NOW = "2024-03-20T22:00:00Z"
# DST began on the 10th, between two of its sessions.
WEEKS = (date(2024, 3, 4), date(2024, 3, 16))


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USD"], stocks=["AAPL", "KO", "BRK.B", "SPY"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The library as its users have it, but for where its files go and that it says what is wrong."""
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))
    yfinance.config.debug.hide_exceptions = False
    yield yfinance
    yfinance.config.debug.hide_exceptions = True
    _forget()


def _forget() -> None:
    """Its state belongs to the whole process: one session, and what was answered before."""
    from yfinance.data import SingletonMeta, YfData

    SingletonMeta._instances.pop(YfData, None)
    YfData.cache_get.cache_clear()


@pytest.fixture
def session(sim: Simulation, judge: Any) -> Iterator[Any]:
    """A session as any user may pass one, which only goes to loopback."""
    from curl_cffi import requests

    class Loopback(requests.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, *rest: Any, **named: Any) -> Any:
            parts = urlsplit(url)
            return super().request(method, f"{sim.url}/{parts.netloc}{parts.path}", *rest, **named)

    _forget()
    with Loopback(impersonate="chrome") as opened:
        yield opened
    _forget()


def _judged(judge: Any, session: Any, code: str, **named: Any) -> pl.DataFrame:
    """yfinance's rows as epoch seconds (or dates, as midnight in UTC) and 32-bit floats."""
    history = judge.Ticker(code, session=session).history(auto_adjust=False, **named)
    stamps = [moment.timestamp() for moment in history.index.to_pydatetime()]
    if named["interval"] == "1d":
        stamps = [datetime(item.year, item.month, item.day, tzinfo=UTC).timestamp() for item in history.index]
    columns = {name: history[name.title()].to_numpy(np.float32) for name in PRICES}
    return pl.DataFrame({"stamp": np.array(stamps, np.int64), **columns, "volume": history["Volume"].to_numpy()})


def _ours(sim: Simulation, symbol: Symbol, window: Window, resolution: Resolution) -> pl.DataFrame:
    async def fetch() -> pl.DataFrame:
        provider = YahooProvider(base_url=sim.url)
        try:
            return (await provider.fetch_bars(symbol, window, resolution)).frame
        finally:
            await provider.aclose()

    frame = asyncio.run(fetch())
    stamps = pl.col("timestamp").dt.epoch("s").alias("stamp")
    return frame.select(stamps, pl.col(*PRICES).cast(pl.Float32), pl.col("volume").cast(pl.Int64))


@pytest.mark.parametrize(("code", "vendor"), [("AAPL", "AAPL"), ("BRK.B", "BRK-B"), ("SPY", "SPY")])
def test_daily_rows_are_those_of_yfinance(sim: Simulation, judge: Any, session: Any, code: str, vendor: str) -> None:
    sim.plant("split", "AAPL", ex_date="2024-03-12", to="7", from_="3")
    theirs = _judged(judge, session, vendor, start=WEEKS[0], end=WEEKS[1], interval="1d")
    ours = _ours(sim, Symbol.equity(code), Window.of(*WEEKS), Resolution.DAY)
    assert ours.equals(theirs)
    assert ours.height == 10


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "30m", "1h"])
def test_intraday_rows_are_those_of_yfinance(sim: Simulation, judge: Any, session: Any, interval: str) -> None:
    sim.plant("split", "AAPL", ex_date="2024-03-12", to="4")
    sim.plant("gap", "AAPL", start="2024-03-11T15:30Z", end="2024-03-11T15:50Z")
    days = date(2024, 3, 8), date(2024, 3, 14)
    # yfinance makes 30m of 15m, by its own arithmetic; we ask Yahoo for them.
    theirs = _judged(judge, session, "AAPL", start=days[0], end=days[1], interval=interval)
    ours = _ours(sim, Symbol.equity("AAPL"), Window.of(*days), Resolution.parse(interval))
    if interval == "30m":
        # It sums and resamples over nights and the weekend as well.
        theirs = theirs.filter(pl.col("open").is_not_nan())
    # Rows without a price, which it drops, come through as what they are.
    assert ours.filter(pl.col("open").is_not_null() & pl.col("open").is_not_nan()).equals(theirs)
    assert ours.height >= 4 * 7 - 1


def test_an_early_close_is_the_same_for_both(sim: Simulation, judge: Any, session: Any) -> None:
    sim.set_now("2023-11-30T22:00:00Z")
    days = date(2023, 11, 22), date(2023, 11, 28)
    theirs = _judged(judge, session, "KO", start=days[0], end=days[1], interval="5m")
    ours = _ours(sim, Symbol.equity("KO"), Window.of(*days), Resolution.MINUTE_5)
    assert ours.equals(theirs)
    assert ours.height == 78 + 42 + 78


def test_while_the_market_is_open_all_but_the_bar_in_progress_are_the_same(
    sim: Simulation, judge: Any, session: Any
) -> None:
    sim.set_now("2024-03-14T15:07:21Z")
    days = date(2024, 3, 13), date(2024, 3, 15)
    for interval, closed in [("5m", 78 + 19), ("1d", 1)]:
        theirs = _judged(judge, session, "KO", start=days[0], end=days[1], interval=interval)
        ours = _ours(sim, Symbol.equity("KO"), Window.of(*days), Resolution.parse(interval))
        assert ours.height == theirs.height == closed + 1
        assert ours.head(closed).equals(theirs.head(closed))
        assert ours["stamp"].to_list() == theirs["stamp"].to_list()


def test_splits_and_dividends_are_those_of_yfinance(sim: Simulation, judge: Any, session: Any) -> None:
    sim.plant("dividend", "KO", ex_date="2024-01-16", amount="0.46")
    sim.plant("split", "KO", ex_date="2024-02-13", to="3", from_="2")
    sim.plant("dividend", "KO", ex_date="2024-03-07", amount="0.485")
    sim.plant("split", "KO", ex_date="2024-03-13", to="1", from_="8")
    ticker = judge.Ticker("KO", session=session)
    splits, dividends = ticker.splits, ticker.dividends

    async def fetch() -> pl.DataFrame:
        provider = YahooProvider(base_url=sim.url)
        try:
            return (await provider.fetch_corporate_actions(Symbol.equity("KO"), *_ever())).frame
        finally:
            await provider.aclose()

    ours = asyncio.run(fetch())
    ratios = {
        row["ex_date"]: Fraction(row["split_to"]) / Fraction(row["split_from"])
        for row in ours.filter(pl.col("kind") == "split").iter_rows(named=True)
    }
    assert {moment.date(): ratio for moment, ratio in splits.items()} == {
        day: float(one) for day, one in ratios.items()
    }
    paid = {
        row["ex_date"]: row["amount"] for row in ours.filter(pl.col("kind") == "cash_dividend").iter_rows(named=True)
    }
    assert paid == {date(2024, 1, 16): "0.46", date(2024, 3, 7): "0.485"}
    for moment, amount in dividends.items():
        later = np.prod([float(ratio) for day, ratio in ratios.items() if day > moment.date()])
        assert amount == pytest.approx(float(paid[moment.date()]) / later, abs=1e-6)


def _ever() -> tuple[date, date]:
    return date(1960, 1, 1), date(2024, 3, 21)


def test_a_search_finds_what_yfinance_finds(sim: Simulation, judge: Any, session: Any) -> None:
    theirs = judge.Search("co", session=session).quotes

    async def search() -> list[str]:
        provider = YahooProvider(base_url=sim.url)
        try:
            return [found.vendor for found in await provider.search("co")]
        finally:
            await provider.aclose()

    assert asyncio.run(search()) == [quote["symbol"] for quote in theirs] == ["KO"]
