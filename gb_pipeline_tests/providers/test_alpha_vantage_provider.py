"""Alpha Vantage through the simulation: exact bars, as few calls as can be, and a plain client that reads the same."""

from __future__ import annotations

import asyncio
import csv
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from gb_pipeline.config.settings import DailyQuota, SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    QuotaExhausted,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
)
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.alpha_vantage.provider import AlphaVantageProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.registry import build_provider, daily_quota
from gb_pipeline.simulation import Simulation

AAPL, BRK, KO, NEW = (Symbol.equity(code) for code in ("AAPL", "BRK.B", "KO", "NEWCO"))
KEY = "S3CRETKEY1234567"
DAY = Window.of("2024-06-11", "2024-06-12")


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulation]:
    # Young companies: a whole history is short.
    with Simulation(seed=7, symbols=[], stocks=["AAPL", "BRK.B", "KO", "NEWCO"]) as running:
        yield running


@pytest.fixture
def sim(vendor: Simulation) -> Simulation:
    vendor.reset()
    vendor.set_now("2024-06-13T01:00:00Z")
    for code in ("AAPL", "BRK.B", "KO"):
        vendor.plant("listing", code, start="2023-06-01T00:00:00Z")
    vendor.plant("listing", "NEWCO", start="2024-04-15T04:00:00Z")
    return vendor


def made(sim: Simulation, key: str = KEY, calls: int = 1000, **more: Any) -> AlphaVantageProvider:
    policy = Policy(retries=0, quota=DailyQuota(calls=calls), shortest_wait=0.001, longest_wait=0.001)
    return AlphaVantageProvider(key, base_url=sim.url, policy=policy, hours=get_calendar("XNYS"), **more)


def served(sim: Simulation, symbol: Symbol, interval: str, window: Window) -> list[tuple[Any, ...]]:
    start, end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
    bars = sim.stocks.bars(symbol.code, interval, start, end, count_call=False)
    return [(datetime.fromtimestamp(bar.start / 1000, UTC), *bar[1:6]) for bar in bars]


@pytest.mark.parametrize("resolution", ["1m", "5m", "15m", "30m"])
async def test_a_session_of_intraday_bars_is_exact(sim: Simulation, resolution: str) -> None:
    provider = made(sim)
    fetched = await provider.fetch_bars(BRK, DAY, Resolution.parse(resolution))
    assert fetched.frame.rows() == served(sim, BRK, resolution, DAY)
    assert fetched.calls == 1
    query = sim.requests[-1]["query"]
    assert (query["adjusted"], query["extended_hours"], query["month"]) == ("false", "false", "2024-06")
    assert (query["symbol"], query["outputsize"]) == ("BRK-B", "full")
    await provider.aclose()


async def test_days_weeks_and_months_carry_our_dates(sim: Simulation) -> None:
    provider = made(sim)
    window = Window.of("2024-05-01", "2024-06-12")
    days = (await provider.fetch_bars(AAPL, window, Resolution.DAY)).frame
    assert days["timestamp"].dt.date().to_list() == get_calendar("XNYS").sessions(date(2024, 5, 1), date(2024, 6, 12))
    weeks = (await provider.fetch_bars(AAPL, window, Resolution.WEEK)).frame
    # 27 May was a holiday: the vendor stamps that week with its Friday, we with its Monday.
    assert weeks["timestamp"].dt.date().to_list() == [date(2024, 5, 6) + timedelta(weeks=n) for n in range(6)]
    months = (await provider.fetch_bars(AAPL, window, Resolution.MONTH)).frame
    assert months["timestamp"].dt.date().to_list() == [date(2024, 5, 1), date(2024, 6, 1)]
    assert months["open"][0] == days["open"][0]
    assert (
        months["volume"].cast(pl.Int64)[0]
        == days.filter(pl.col("timestamp").dt.month() == 5)["volume"].cast(pl.Int64).sum()
    )
    await provider.aclose()


async def test_bars_are_raw_and_the_split_is_told_apart(sim: Simulation) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="10")
    sim.plant("dividend", "AAPL", ex_date="2024-05-10", amount="0.25")
    provider = made(sim)
    days = (await provider.fetch_bars(AAPL, Window.of("2024-06-06", "2024-06-12"), Resolution.DAY)).frame
    closes = days["close"].cast(pl.Float64).to_list()
    assert closes[1] / closes[2] > 8
    fetched = await provider.fetch_corporate_actions(AAPL, date(2024, 1, 1), date(2025, 1, 1))
    assert fetched.frame.select("ex_date", "kind", "split_to", "split_from", "amount").rows() == [
        (date(2024, 5, 10), "cash_dividend", None, None, "0.25"),
        (date(2024, 6, 10), "split", "10", "1", None),
    ]
    await provider.aclose()


async def test_many_windows_of_one_answer_cost_one_call(sim: Simulation) -> None:
    provider = made(sim)
    months = [Window.of(date(2023, 7 + n, 1), date(2023, 8 + n, 1)) for n in range(5)]
    found = await asyncio.gather(*(provider.fetch_bars(KO, window, Resolution.DAY) for window in months))
    assert len(sim.requests) == 1
    assert sum(fetched.calls for fetched in found) == 1
    assert {fetched.response_hash for fetched in found} == {found[0].response_hash}
    assert pl.concat([item.frame for item in found])["timestamp"].dt.date().to_list() == get_calendar("XNYS").sessions(
        date(2023, 7, 1), date(2023, 12, 1)
    )

    sim.requests.clear()
    days = [Window.of(date(2024, 6, day), date(2024, 6, day + 1)) for day in range(3, 8)]
    found = await asyncio.gather(*(provider.fetch_bars(KO, window, Resolution.MINUTE_5) for window in days))
    assert [fetched.frame.height for fetched in found] == [78] * 5
    assert len(sim.requests) == 1
    await provider.aclose()


@pytest.mark.parametrize(
    ("window", "months"),
    [
        # Months are New York's: the first hours of July in UTC belong to June there.
        (Window.of("2024-07-01T00:00Z", "2024-07-01T04:00Z"), ["2024-06"]),
        (Window.of("2024-07-01T04:00Z", "2024-08-01T04:00Z"), ["2024-07"]),
        (Window.of("2023-12-31", "2024-02-01T05:00Z"), ["2023-12", "2024-01"]),
        (Window.of("2024-07-01", "2024-07-01"), []),
    ],
)
async def test_a_window_asks_for_its_months_of_new_york(sim: Simulation, window: Window, months: list[str]) -> None:
    provider = made(sim)
    assert provider.requests(window, Resolution.MINUTE) == len(months)
    await provider.fetch_bars(KO, window, Resolution.MINUTE_30)
    assert [request["query"]["month"] for request in sim.requests] == months
    await provider.aclose()


async def test_extended_hours_come_where_the_source_wants_them(sim: Simulation) -> None:
    provider = AlphaVantageProvider(KEY, base_url=sim.url, extended=True)
    frame = (await provider.fetch_bars(KO, Window.of("2024-06-11T08:00Z", "2024-06-12"), Resolution.MINUTE_30)).frame
    assert (frame["timestamp"][0].hour, frame.height) == (8, 32)  # from 04:00 to 20:00 in New York
    assert sim.requests[-1]["query"]["extended_hours"] == "true"
    await provider.aclose()


async def test_reading_again_needs_no_vendor_and_csv_reads_the_same(sim: Simulation) -> None:
    provider = AlphaVantageProvider(KEY, base_url=sim.url, policy=Policy(keep_raw=True))
    window = Window.of("2024-05-30", "2024-06-04")
    for resolution in (Resolution.MINUTE_15, Resolution.DAY):
        fetched = await provider.fetch_bars(KO, window, resolution)
        assert provider.normalise(KO, window, resolution, fetched.bodies).equals(fetched.frame)
        tables = []
        async with httpx.AsyncClient(trust_env=False) as client:
            asked = list(sim.requests)[-len(fetched.bodies) :]
            for request in asked:
                reply = await client.get(f"{sim.url}{request['path']}", params={**request["query"], "datatype": "csv"})
                tables.append(reply.content)
        assert provider.normalise(KO, window, resolution, tables).equals(fetched.frame)
    await provider.aclose()


async def test_a_plain_client_finds_the_same_bars(sim: Simulation) -> None:
    """The vendor's own documentation reads its answers with a few lines like these."""
    query = {"function": "TIME_SERIES_INTRADAY", "symbol": "KO", "interval": "5min", "month": "2024-06",
             "adjusted": "false", "extended_hours": "false", "outputsize": "full", "apikey": "demo"}  # fmt: skip
    async with httpx.AsyncClient(base_url=f"{sim.url}/www.alphavantage.co", trust_env=False) as client:
        data = (await client.get("/query", params=query)).json()
        lines = list(csv.reader(StringIO((await client.get("/query", params={**query, "datatype": "csv"})).text)))
    series = data["Time Series (5min)"]
    assert list(series) == sorted(series, reverse=True)  # newest first
    assert data["Meta Data"]["6. Time Zone"] == "US/Eastern"
    plain = [(stamp, *row.values()) for stamp, row in series.items() if stamp.startswith("2024-06-11")]
    assert [tuple(line) for line in lines[1:] if line[0].startswith("2024-06-11")] == plain
    provider = made(sim)
    frame = (await provider.fetch_bars(KO, DAY, Resolution.MINUTE_5)).frame
    ours = frame.with_columns(
        pl.col("timestamp").dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    )
    assert ours.rows() == plain[::-1]
    await provider.aclose()


async def test_a_symbol_that_is_unknown_is_told_from_a_month_before_the_listing(sim: Simulation) -> None:
    provider = made(sim)
    for resolution in (Resolution.MINUTE_5, Resolution.DAY):
        with pytest.raises(UnknownSymbol, match="does not list NOPE"):
            await provider.fetch_bars(Symbol.equity("NOPE"), DAY, resolution)
    with pytest.raises(HistoryNotAvailable, match="no bars of NEWCO in 2024-02"):
        await provider.fetch_bars(NEW, Window.of("2024-02-05", "2024-02-06"), Resolution.MINUTE_5)
    with pytest.raises(UnknownSymbol):
        await provider.fetch_corporate_actions(Symbol.equity("NOPE"), date(2024, 1, 1), date(2025, 1, 1))
    await provider.aclose()


async def test_a_free_key_gets_the_last_hundred_days_and_no_silence_about_the_rest(sim: Simulation) -> None:
    provider = made(sim, key="free-key-1234567")
    recent = Window.of("2024-05-01", "2024-06-12")
    assert (await provider.fetch_bars(KO, recent, Resolution.DAY)).frame.height == 29
    with pytest.raises(HistoryNotAvailable, match="the last 100 days of KO only") as raised:
        await provider.fetch_bars(KO, Window.of("2023-09-01", "2024-06-12"), Resolution.DAY)
    assert raised.value.first is not None
    # A company younger than that is there from its beginning.
    whole = await provider.fetch_bars(NEW, Window.of("2024-01-01", "2024-06-12"), Resolution.DAY)
    assert whole.frame["timestamp"][0].date() == date(2024, 4, 15)
    # Refused once, asked for briefly from then on.
    assert [request["query"]["outputsize"] for request in sim.requests] == ["full", "compact", "compact"]
    with pytest.raises(NotEntitled, match="premium endpoint"):
        await provider.fetch_bars(KO, DAY, Resolution.MINUTE_5)
    await provider.aclose()


@pytest.mark.parametrize(
    ("action", "window", "error", "says"),
    [
        ("newest_rows", Window.of("2023-09-01", "2023-09-05"), HistoryNotAvailable, "the last 100 days of KO only"),
        ("oldest_rows", DAY, PermanentVendorError, "100 days of KO that end on [0-9-]{10}: part of a history"),
    ],
)
async def test_part_of_a_history_that_was_asked_for_as_a_whole_proves_no_day_empty(
    sim: Simulation, action: str, window: Window, error: type[Exception], says: str
) -> None:
    provider = made(sim)
    sim.faults.add(action=action)
    try:
        with pytest.raises(error, match=says):
            await provider.fetch_bars(KO, window, Resolution.DAY)
    finally:
        await provider.aclose()


async def test_the_vendors_own_limit_ends_the_day_for_everybody(sim: Simulation, tmp_path: Path) -> None:
    policy = Policy(quota=DailyQuota(calls=25, zone="America/New_York"), state_dir=tmp_path)
    provider = AlphaVantageProvider("limited-key-1234", base_url=sim.url, policy=policy)
    with pytest.raises(QuotaExhausted, match="refuses more calls today; 1 of 25"):
        await provider.fetch_bars(KO, DAY, Resolution.DAY)
    other = AlphaVantageProvider("limited-key-1234", base_url=sim.url, policy=policy)
    with pytest.raises(QuotaExhausted, match="refused more calls today"):
        await other.fetch_bars(AAPL, DAY, Resolution.DAY)
    assert len(sim.requests) == 1
    for one in (provider, other):
        await one.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 200, "body": "<html>maintenance</html>"}, TransientVendorError),
        ({"action": "cut"}, TransientVendorError),
        ({"status": 503}, TransientVendorError),
        ({"status": 200, "body": '{"Note": "Our standard API call frequency is 5 calls per minute."}'}, RateLimited),
        ({"status": 200, "body": '{"Error Message": "Invalid API call for KO"}'}, PermanentVendorError),
    ],
)
async def test_what_is_no_answer_is_not_remembered(
    sim: Simulation, fault: dict[str, Any], kind: type[Exception]
) -> None:
    provider = made(sim)
    sim.faults.add(match="TIME_SERIES", **fault)
    with pytest.raises(kind):
        await provider.fetch_bars(KO, DAY, Resolution.MINUTE_5)
    assert (await provider.fetch_bars(KO, DAY, Resolution.MINUTE_5)).frame.height == 78
    await provider.aclose()


async def test_the_key_is_in_no_message_and_no_log(
    sim: Simulation, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    words = f"We have detected your API key as {KEY}. This is a premium endpoint."
    for fault, kind in (
        ({"status": 200, "body": f'{{"Information": "{words}"}}'}, NotEntitled),
        ({"status": 500, "body": words}, TransientVendorError),
        ({"action": "reset"}, TransientVendorError),
    ):
        provider = made(sim)
        sim.faults.add(match="TIME_SERIES", **fault)
        with pytest.raises(kind) as raised:
            await provider.fetch_bars(KO, DAY, Resolution.MINUTE_5)
        assert KEY not in repr(raised.value) + str(raised.value)
        await provider.aclose()
    assert KEY not in caplog.text
    stored = AlphaVantageProvider(KEY, base_url=sim.url, policy=Policy(state_dir=tmp_path))
    await stored.fetch_bars(KO, DAY, Resolution.MINUTE_5)
    await stored.aclose()
    assert not _files_with(KEY, tmp_path)


def _files_with(secret: str, folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert found
    return [path for path in found if secret in str(path) or secret.encode() in path.read_bytes()]


async def test_listings_and_search_speak_our_codes(sim: Simulation) -> None:
    sim.plant("delisting", "KO", start="2024-06-03")
    provider = made(sim)
    found = {item.symbol.code: item for item in await provider.instruments()}
    assert sorted(found) == ["AAPL", "BRK.B", "KO", "NEWCO"]
    assert (found["KO"].active, found["KO"].listed_until) == (False, date(2024, 6, 3))
    assert found["NEWCO"].listed_from == date(2024, 4, 15)
    assert [item.symbol for item in await provider.search("berkshire")] == [BRK]
    assert [(item.symbol.code, item.vendor) for item in await provider.search("BRK-B")] == [("BRK.B", "BRK-B")]
    calls = len(sim.requests)
    await provider.fetch_corporate_actions(KO, date(2024, 1, 1), date(2025, 1, 1))
    await provider.fetch_corporate_actions(AAPL, date(2024, 1, 1), date(2025, 1, 1))
    assert len(sim.requests) - calls == 4  # the lists are known
    await provider.aclose()


def test_gb_yaml_says_what_there_is(sim: Simulation) -> None:
    body = {"name": "av", "provider": "alpha_vantage", "calendar": "XNYS", "start": "2024-01-02", "symbols": ["KO"],
            "options": {"key": KEY, "base_url": sim.url}}  # fmt: skip
    source = SourceSettings.model_validate(body)
    provider = build_provider(source)
    assert isinstance(provider, AlphaVantageProvider)
    assert provider.supports(KO, Resolution.DAY)
    assert not provider.supports(KO, Resolution.HOUR)
    assert not provider.supports(Symbol.crypto("BTC-USD"), Resolution.DAY)
    assert daily_quota(source) == DailyQuota(calls=25, zone="America/New_York")
    own = SourceSettings.model_validate(body | {"daily_quota": {"calls": 500}})
    assert daily_quota(own) == DailyQuota(calls=500)
    with pytest.raises(ConfigError, match="no option feed"):
        build_provider(SourceSettings.model_validate(body | {"options": {"key": KEY, "feed": "x"}}))
    with pytest.raises(ConfigError, match="is not a simulated vendor"):
        AlphaVantageProvider(KEY, base_url="https://example.com")


def test_twenty_five_calls_a_day_are_a_backfill_that_stops_cleanly(sim: Simulation, tmp_path: Path) -> None:
    body = {"name": "av", "provider": "alpha_vantage", "calendar": "XNYS", "start": "2024-01-02", "retries": 0,
            "symbols": ["KO", "AAPL", "BRK.B"], "options": {"key": KEY, "base_url": sim.url},
            "resolutions": ["5m"], "daily_quota": {"calls": 4, "zone": "America/New_York"}, "max_concurrency": 1}  # fmt: skip
    source = SourceSettings.model_validate(body)
    store = LakeStore.at(tmp_path)
    jobs = [Job(symbol, date(2024, 4, 1), date(2024, 6, 1)) for symbol in (KO, AAPL, BRK)]
    outcomes = ingest(store, source, Resolution.MINUTE_5, jobs)

    assert len(sim.requests) == 4
    assert [outcome.ok for outcome in outcomes] == [True, True, False]
    assert outcomes[2].deferred_until is not None
    assert {session.status.value for session in outcomes[2].sessions} == {"deferred", "closed"}
    assert fetches.read(store.tables)["outcome"].to_list() == ["ok", "ok", "deferred"]
