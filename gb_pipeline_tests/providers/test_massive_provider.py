"""Massive: whole and exact, or an error; where the vendor's own client is silent, ours is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import massive
import polars as pl
import pytest
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
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.massive import responses as massive_answers
from gb_pipeline.providers.massive.provider import MassiveProvider
from gb_pipeline.providers.massive.symbols import canonical_code, ticker
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.simulation import Simulation

AAPL = Symbol.equity("AAPL")
HOUR = Window.of("2024-01-02T15:00Z", "2024-01-02T16:00Z")
SESSION = Window.of("2024-01-02T05:00Z", "2024-01-03T05:00Z")
MINUTE = Resolution.MINUTE
QUICK = Policy(timeout=5, retries=1, shortest_wait=0.001, longest_wait=0.002)
AGGS = "/v2/aggs/"
EMPTY = {"ticker": "AAPL", "queryCount": 0, "resultsCount": 0, "adjusted": False, "status": "OK", "request_id": "x"}
BAR = {"v": 1, "vw": 1, "o": 1, "c": 1, "h": 1, "l": 1, "t": 1704207600000, "n": 1}


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
        self.made: list[MassiveProvider] = []

    def __call__(self, key: str = "s3cr3tk3y", **named: Any) -> MassiveProvider:
        self.made.append(MassiveProvider(key, **{"base_url": self.url, "policy": QUICK, **named}))
        return self.made[-1]


@pytest.fixture
async def providers(sim: Simulation) -> AsyncIterator[Providers]:
    factory = Providers(sim.url)
    yield factory
    for provider in factory.made:
        await provider.aclose()


def vendors_own(sim: Simulation, **window: str) -> list[Any]:
    """What the vendor's own client makes of the hour."""
    client = massive.RESTClient("key", base=f"{sim.url}/api.massive.com", retries=0)
    first, last = (round(moment.timestamp() * 1000) for moment in (HOUR.start, HOUR.end))
    return list(client.list_aggs("AAPL", 1, "minute", first, last - 1, adjusted=False, limit=50_000))


def served(sim: Simulation, window: Window, interval: str = "1m") -> list[tuple[Any, ...]]:
    start, end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
    bars = sim.stocks.bars("AAPL", interval, start, end, extended=True, count_call=False)
    return [(bar.start, *map(Decimal, bar[1:6])) for bar in bars]


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    assert frame.schema == RECEIVED | {"trade_count": pl.String(), "vwap": pl.String()}
    found = frame.select(pl.col("timestamp").dt.epoch("ms"), *RECEIVED.names()[1:]).rows()
    return [(row[0], *map(Decimal, row[1:])) for row in found]


# --- answers that say nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "kind", "text"), [
    ("<html>maintenance</html>", TransientVendorError, "instead of its data"),
    ('{"status":"OK","resultsCount":1,"results":[', TransientVendorError, "instead of its data"),
    ('{"status":"ERROR","error":"internal error"}', TransientVendorError, "internal error"),
    ('{"status":"NOT_AUTHORIZED","message":"You are not entitled to this data."}', NotEntitled, "not entitled"),
    ('{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}', RateLimited, "maximum requests"),
    ('{"status":"OK"}', TransientVendorError, "no results"),
    ('{"status":"OK","queryCount":5,"resultsCount":0}', TransientVendorError, "no results"),
    ('{"status":"OK","queryCount":0,"resultsCount":7}', TransientVendorError, "no results"),
    ("{}", TransientVendorError, "no status"),
])  # fmt: skip
async def test_an_answer_without_data_is_an_error_where_the_vendors_client_sees_no_bars(
    sim: Simulation, providers: Providers, body: str, kind: type[VendorError], text: str
) -> None:
    sim.faults.add(match=AGGS, body=body, times=-1)
    assert vendors_own(sim) == []
    with pytest.raises(kind, match=text) as caught:
        await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert type(caught.value) is kind
    assert caught.value.fix


@pytest.mark.parametrize("body", [
    json.dumps(EMPTY | {"resultsCount": 2, "queryCount": 2, "results": [BAR]}),
    json.dumps(EMPTY | {"results": [BAR]}),
    json.dumps(EMPTY | {"resultsCount": 1, "results": ["bar"]}),
    json.dumps(EMPTY | {"resultsCount": 1, "results": {"bar": BAR}}),
    json.dumps(EMPTY | {"ticker": "MSFT", "resultsCount": 1, "results": [BAR]}),
    json.dumps(EMPTY | {"resultsCount": 1, "results": [BAR | {"t": 1704380400000}]}),
    json.dumps([BAR]),
])  # fmt: skip
async def test_rows_that_cannot_be_the_answer_are_an_error(sim: Simulation, providers: Providers, body: str) -> None:
    sim.faults.add(match=AGGS, body=body, times=-1)
    with pytest.raises(TransientVendorError):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_a_full_page_without_a_next_one_is_not_the_end(sim: Simulation, providers: Providers) -> None:
    sim.stocks.page_limit = 5000
    sim.faults.add(match=AGGS, action="no_next", times=-1)
    weeks = Window.of("2024-01-02T05:00Z", "2024-01-13T05:00Z")
    fetched = await providers().fetch_bars(AAPL, weeks, MINUTE)
    assert rows(fetched.frame) == served(sim, weeks)
    assert fetched.calls == 2


async def test_a_full_page_of_days_without_a_next_one_is_not_the_end_either(
    sim: Simulation, providers: Providers
) -> None:
    decades = Window.of("1998-01-02T05:00Z", "2024-01-13T05:00Z")
    whole = await providers().fetch_bars(AAPL, decades, Resolution.DAY)
    assert whole.frame.height > 5000
    sim.stocks.page_limit = 5000
    sim.faults.add(match=AGGS, action="no_next", times=-1)
    fetched = await providers().fetch_bars(AAPL, decades, Resolution.DAY)
    assert rows(fetched.frame) == rows(whole.frame)
    assert fetched.calls == 2


async def test_a_doubtful_answer_is_asked_for_again(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=AGGS, action="drop_rows")
    fetched = await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert rows(fetched.frame) == served(sim, HOUR)
    assert fetched.calls == 2


@pytest.mark.parametrize(
    "body", [json.dumps(EMPTY), json.dumps(EMPTY | {"results": None}), json.dumps(EMPTY | {"results": []})]
)
async def test_a_silence_that_counts_to_zero_is_one(sim: Simulation, providers: Providers, body: str) -> None:
    sim.faults.add(match=AGGS, body=body, times=-1)
    assert rows((await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame) == []


@pytest.mark.parametrize("beside", [{"status": "DELAYED"}, {"message": "your plan is limited"}, {"error": "try later"}])
@pytest.mark.parametrize("results", [{}, {"results": []}])
async def test_no_results_are_not_believed_where_something_is_said_beside(
    sim: Simulation, providers: Providers, beside: dict[str, str], results: dict[str, Any]
) -> None:
    sim.faults.add(match=AGGS, body=json.dumps(EMPTY | results | beside), times=-1)
    with pytest.raises(TransientVendorError, match="answered no bars of AAPL, but"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_delayed_bars_are_bars(sim: Simulation, providers: Providers) -> None:
    one = EMPTY | {"status": "DELAYED", "queryCount": 1, "resultsCount": 1, "results": [BAR]}
    sim.faults.add(match=AGGS, body=json.dumps(one))
    assert (await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame.height == 1


async def test_a_holiday_is_empty(sim: Simulation, providers: Providers) -> None:
    holiday = Window.of("2024-01-01T05:00Z", "2024-01-02T05:00Z")
    assert (await providers(hours=get_calendar("XNYS")).fetch_bars(AAPL, holiday, MINUTE)).frame.is_empty()


# --- unknown, delisted, not covered -----------------------------------------------------------------------------------


async def test_an_unknown_ticker_is_not_taken_for_a_quiet_one(sim: Simulation, providers: Providers) -> None:
    with pytest.raises(UnknownSymbol, match="lists no ticker NOPE"):
        await providers().fetch_bars(Symbol.equity("NOPE"), HOUR, MINUTE)


async def test_the_list_is_asked_once_per_quiet_ticker(sim: Simulation, providers: Providers) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    provider = providers()
    for month in ("2024-06-12", "2024-06-13", "2024-06-14"):
        window = Window.of(f"{month}T13:00Z", f"{month}T20:00Z")
        assert (await provider.fetch_bars(Symbol.equity("ODD"), window, MINUTE)).frame.is_empty()
    asked = [entry["query"] for entry in sim.requests if entry["path"].endswith("/v3/reference/tickers")]
    assert [query["active"] for query in asked] == ["true", "false"]


async def test_what_the_plan_does_not_cover_is_said_in_the_vendors_words(sim: Simulation, providers: Providers) -> None:
    with pytest.raises(NotEntitled, match=r"Your plan doesn't include this data timeframe\. Please upgrade"):
        await providers("basic1").fetch_bars(AAPL, Window.of("2020-01-02", "2020-01-03"), Resolution.DAY)


async def test_a_key_never_shows_even_if_the_vendor_repeats_it(sim: Simulation, providers: Providers) -> None:
    for status, body in ((401, '{"status":"ERROR","error":"no plan for s3cr3tk3y"}'), (200, '{"status":"s3cr3tk3y"}')):
        sim.faults.add(match=AGGS, status=status, body=body, times=2)
        with pytest.raises(VendorError) as caught:
            await providers().fetch_bars(AAPL, HOUR, MINUTE)
        assert "s3cr3t" not in str(caught.value)
        sim.faults.clear()


# --- windows ----------------------------------------------------------------------------------------------------------


async def test_minutes_are_asked_for_by_the_month_with_room_for_all_of_them(
    sim: Simulation, providers: Providers
) -> None:
    window = Window.of("2023-12-30T05:00Z", "2024-03-02T05:00Z")
    provider = providers()
    fetched = await provider.fetch_bars(AAPL, window, Resolution.MINUTE_30)
    assert rows(fetched.frame) == served(sim, window, "30m")
    asked = [entry for entry in sim.requests if AGGS in entry["path"]]
    assert len(asked) == fetched.calls == provider.requests(window, Resolution.MINUTE_30) == 3
    for entry in asked:
        start, end = (int(text) for text in entry["path"].split("/")[-2:])
        # What the limit counts: all minutes of the stretch, around the clock.
        assert (end + 1 - start) // 60_000 <= 44_640 <= int(entry["query"]["limit"])
        assert entry["query"]["adjusted"] == "false"


async def test_a_window_within_bars_gets_the_bars_that_open_in_it(sim: Simulation, providers: Providers) -> None:
    window = Window.of("2024-01-02T15:07Z", "2024-01-02T15:52Z")
    fetched = await providers().fetch_bars(AAPL, window, Resolution.MINUTE_15)
    assert rows(fetched.frame) == served(sim, window, "15m")
    assert [str(stamp.time()) for stamp in fetched.frame["timestamp"]] == ["15:15:00", "15:30:00", "15:45:00"]
    # Full hours are asked for: bars of several minutes may be counted from where the question begins.
    assert sim.requests[0]["path"].endswith("/range/15/minute/1704207600000/1704211199999")


@pytest.mark.parametrize(("resolution", "interval", "dates"), [
    (Resolution.DAY, "1d", ["2024-03-08", "2024-03-11", "2024-03-12"]),
    (Resolution.WEEK, "1w", ["2024-03-11"]),
    (Resolution.MONTH, "1mo", []),
])  # fmt: skip
async def test_bars_are_named_by_their_session_across_a_clock_change(
    sim: Simulation, providers: Providers, resolution: Resolution, interval: str, dates: list[str]
) -> None:
    fetched = await providers().fetch_bars(AAPL, Window.of("2024-03-08", "2024-03-13"), resolution)
    assert [str(stamp.date()) for stamp in fetched.frame["timestamp"]] == dates
    everything = {row[0]: row[1:] for row in served(sim, Window.of("2024-01-01", "2024-06-01"), interval)}
    stamps = {str(date.fromtimestamp(stamp / 1000)): numbers for stamp, numbers in everything.items()}
    assert [row[1:] for row in rows(fetched.frame)] == [stamps[day] for day in dates]


async def test_regular_hours_are_what_the_calendar_says(sim: Simulation, providers: Providers) -> None:
    whole = Window.of("2023-11-22T05:00Z", "2023-11-28T05:00Z")
    fetched = await providers(hours=get_calendar("XNYS")).fetch_bars(AAPL, whole, MINUTE)
    assert fetched.frame.height == 390 + 210 + 390, "Wednesday, half of Friday, Monday"
    everything = await providers().fetch_bars(AAPL, whole, MINUTE)
    assert everything.frame.height == 960 + 780 + 960
    assert fetched.frame.join(everything.frame, on="timestamp", how="anti").is_empty()


async def test_the_bar_in_progress_is_kept_for_the_quality_layer(sim: Simulation, providers: Providers) -> None:
    sim.set_now("2024-06-20T15:00:30Z")
    window = Window.of("2024-06-20T14:58Z", "2024-06-20T15:05Z")
    found = rows((await providers().fetch_bars(AAPL, window, MINUTE)).frame)
    assert len(found) == 3
    sim.set_now("2024-06-20T15:10Z")
    assert rows((await providers().fetch_bars(AAPL, window, MINUTE)).frame)[2] != found[2]


# --- digits -----------------------------------------------------------------------------------------------------------


async def test_volumes_may_be_fractions_of_a_share(sim: Simulation, providers: Providers) -> None:
    sim.plant("fractional", "AAPL", start="2024-01-02")
    fetched = await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert rows(fetched.frame) == served(sim, HOUR)
    assert any("." in volume for volume in fetched.frame["volume"])


async def test_the_vendors_digits_are_kept(sim: Simulation, providers: Providers) -> None:
    numbers = '"o":0.00000001,"h":12345678901234567.891,"l":1e-8,"c":1.50,"v":7.0790813e+07'
    body = json.dumps(EMPTY | {"resultsCount": 1, "results": []}).replace("[]", f'[{{{numbers},"t":1704207600000}}]')
    sim.faults.add(match=AGGS, body=body)
    frame = (await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame
    assert frame.row(0)[1:] == ("0.00000001", "12345678901234567.891", "1e-8", "1.50", "7.0790813e+07", None, None)


async def test_a_row_without_a_price_or_a_time_is_left_to_the_quality_layer(
    sim: Simulation, providers: Providers
) -> None:
    broken = [BAR, {**BAR, "t": "soon"}, {"t": BAR["t"] + 60_000}, {**BAR, "t": None, "o": None}]
    sim.faults.add(match=AGGS, body=json.dumps(EMPTY | {"resultsCount": 4, "results": broken}))
    frame = (await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame
    assert frame["timestamp"].null_count() == 2
    assert frame["open"].null_count() == 2


# --- pages ------------------------------------------------------------------------------------------------------------


async def test_only_path_and_cursor_of_the_next_page_are_used(sim: Simulation, providers: Providers) -> None:
    path = f"{AGGS}ticker/AAPL/range/1/minute/1704208500000/1704211199999"
    link = f"https://elsewhere.example:8443{path}?cursor=abc&apiKey=theirs"
    sim.faults.add(match=AGGS, body=json.dumps(EMPTY | {"resultsCount": 1, "results": [BAR], "next_url": link}))
    sim.faults.add(match="cursor=abc", body=json.dumps(EMPTY))
    await providers().fetch_bars(AAPL, HOUR, MINUTE)
    second = sim.requests[-1]
    assert (second["path"], second["query"]) == (f"/api.massive.com{path}", {"cursor": "abc"})


@pytest.mark.parametrize("link", [
    "https://api.massive.com/v2/aggs/ticker/MSFT/range/1/minute/1/2?cursor=a",
    "https://api.massive.com/v2/aggs/ticker/AAPL/range/1/day/1/2?cursor=a",
    "https://api.massive.com/v2/aggs/ticker/AAPL/range/1/minute/../../../../v3/reference/tickers?cursor=a",
    "https://api.massive.com/v2/aggs/ticker/AAPL/range/1/minute/1/2", "https://[", 7, {"cursor": "a"},
])  # fmt: skip
async def test_a_next_page_of_something_else_is_an_error(sim: Simulation, providers: Providers, link: object) -> None:
    sim.faults.add(
        match=AGGS, body=json.dumps(EMPTY | {"resultsCount": 1, "results": [BAR], "next_url": link}), times=-1
    )
    with pytest.raises(TransientVendorError, match="leads away from the list"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_pages_that_go_in_circles_or_never_end_are_an_error(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match=AGGS, action="endless_next", times=-1)
    with pytest.raises(TransientVendorError, match="ever more pages"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)
    assert len(sim.requests) == 10
    sim.faults.clear()
    link = f"https://api.massive.com{AGGS}ticker/AAPL/range/1/minute/1/2?cursor=a"
    sim.faults.add(match=AGGS, body=json.dumps(EMPTY | {"next_url": link}), times=-1)
    with pytest.raises(TransientVendorError, match="was there before"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


async def test_a_page_that_came_before_is_an_error_where_the_vendors_client_takes_it_twice(
    sim: Simulation, providers: Providers
) -> None:
    sim.stocks.page_limit = 20
    sim.faults.add(match="cursor=", action="duplicate_page", times=-1)
    assert len({bar.timestamp for bar in vendors_own(sim)}) < 60 <= len(vendors_own(sim))
    with pytest.raises(TransientVendorError, match="there before"):
        await providers().fetch_bars(AAPL, HOUR, MINUTE)


@pytest.mark.parametrize("trouble", ["overlap_page", "shuffle_rows"])
async def test_pages_that_overlap_or_are_out_of_order_lose_nothing(
    sim: Simulation, providers: Providers, trouble: str
) -> None:
    sim.stocks.page_limit = 20
    sim.faults.add(match=AGGS, action=trouble, times=-1)
    found = rows((await providers().fetch_bars(AAPL, HOUR, MINUTE)).frame)
    assert found == sorted(found)
    # Rows that came twice are the same, which is for the quality layer to see.
    assert list(dict.fromkeys(found)) == served(sim, HOUR)


# --- reading again ----------------------------------------------------------------------------------------------------


async def test_kept_bodies_make_the_same_frame_without_vendor_and_key(sim: Simulation, providers: Providers) -> None:
    sim.stocks.page_limit = 100
    nyse = get_calendar("XNYS")
    keeping = Policy(timeout=5, keep_raw=True)
    for resolution, window in ((MINUTE, SESSION), (Resolution.DAY, Window.of("2024-01-02", "2024-03-02"))):
        fetched = await providers(hours=nyse, policy=keeping).fetch_bars(AAPL, window, resolution)
        assert fetched.bodies
        alone = MassiveProvider(_no_key, hours=nyse)
        assert alone.normalise(AAPL, window, resolution, fetched.bodies).equals(fetched.frame)
    with pytest.raises(TransientVendorError):
        alone.normalise(AAPL, SESSION, MINUTE, [b"<html>"])
    with pytest.raises(TransientVendorError, match="another time"):
        alone.normalise(AAPL, Window.of("2019-01-02", "2019-02-02"), Resolution.DAY, fetched.bodies)


def _no_key() -> str:
    raise AssertionError("reading needs no key")


# --- what there is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("symbol", "resolutions"), [
    (AAPL, "1m 5m 15m 30m 1h 1d 1w 1mo"), (Symbol.crypto("BTC-USD"), "1m 5m 15m 30m 1h 1d 1mo"),
    (Symbol.forex("EUR-USD"), "1m 5m 15m 30m 1h"), (Symbol.crypto("BTC-USDT-PERP"), ""), (Symbol.future("ESZ26"), ""),
])  # fmt: skip
def test_bars_are_offered_where_they_mean_what_ours_mean(symbol: Symbol, resolutions: str) -> None:
    provider = MassiveProvider("key")
    assert [str(item) for item in Resolution if provider.supports(symbol, item)] == resolutions.split()


async def test_what_is_not_offered_is_refused(providers: Providers) -> None:
    with pytest.raises(PermanentVendorError, match="no bars of 4h"):
        await providers().fetch_bars(AAPL, SESSION, Resolution.HOUR_4)
    with pytest.raises(PermanentVendorError, match="no corporate actions"):
        await providers().fetch_corporate_actions(Symbol.crypto("BTC-USD"), date(2024, 1, 1), date(2025, 1, 1))


async def test_pairs_are_asked_for_by_their_tickers_and_named_by_utc_days(
    sim: Simulation, providers: Providers
) -> None:
    day = {**BAR, "t": 1704153600000}
    body = json.dumps(EMPTY | {"ticker": "X:BTCUSD", "resultsCount": 1, "results": [day]})
    sim.faults.add(match=AGGS, body=body)
    window = Window.of("2024-01-02", "2024-01-03")
    fetched = await providers().fetch_bars(Symbol.crypto("BTC-USD"), window, Resolution.DAY)
    assert fetched.frame["timestamp"].to_list() == [instant("2024-01-02")]
    assert "/ticker/X:BTCUSD/range/1/day/2024-01-02/2024-01-02" in sim.requests[0]["path"]


# Names of Windows' devices are no codes.
ROOTS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=5).filter(
    lambda root: root not in {"AUX", "CON", "NUL", "PRN"}
)


@given(root=ROOTS, series=st.sampled_from(["", "A", "K", "PRA"]))
def test_preferred_shares_are_found_under_both_spellings(root: str, series: str) -> None:
    code = f"{root}.PR{series}"
    assert ticker(Symbol.equity(code)) == f"{root}p{series}"
    assert canonical_code(f"{root}p{series}", AssetClass.EQUITY) == code


@pytest.mark.parametrize("code", ["AAPL", "BRK.B", "BF.A", "P", "PRK", "AACT.U", "ABC.WS"])
def test_other_shares_are_spelled_as_they_are(code: str) -> None:
    assert ticker(Symbol.equity(code)) == code == canonical_code(code, AssetClass.EQUITY)


# --- actions and lists ------------------------------------------------------------------------------------------------


async def test_actions_are_those_of_the_days_that_were_asked_for(sim: Simulation, providers: Providers) -> None:
    for day in ("2024-01-31", "2024-02-01", "2024-02-29", "2024-03-01"):
        sim.plant("dividend", "AAPL", ex_date=day, amount="0.24")
    fetched = await providers().fetch_corporate_actions(AAPL, date(2024, 2, 1), date(2024, 3, 1))
    assert fetched.frame.schema == ACTIONS_RECEIVED
    assert fetched.frame["ex_date"].to_list() == [date(2024, 2, 1), date(2024, 2, 29)]
    assert fetched.frame["declared_date"][0] == date(2024, 1, 18)


async def test_listing_and_delisting_are_actions(sim: Simulation, providers: Providers) -> None:
    sim.plant("delisting", "ODD", start="2024-06-11")
    fetched = await providers().fetch_corporate_actions(Symbol.equity("ODD"), date(1990, 1, 1), date(2025, 1, 1))
    assert fetched.frame.select("ex_date", "kind").rows() == [
        (date(2000, 1, 3), "listing"),
        (date(2024, 6, 11), "delisting"),
    ]


async def test_an_unknown_ticker_has_no_actions(providers: Providers) -> None:
    with pytest.raises(UnknownSymbol):
        await providers().fetch_corporate_actions(Symbol.equity("NOPE"), date(2024, 1, 1), date(2025, 1, 1))


@pytest.mark.parametrize("row", [
    {"ticker": "AAPL", "execution_date": "2024-02-30", "split_from": 1, "split_to": 2},
    {"ticker": "AAPL", "split_from": 1, "split_to": 2}, {"ticker": "AAPL", "execution_date": "2024-02-01", "split_to": 2},
    {"ticker": "AAPL", "execution_date": "2024-02-01", "split_from": None, "split_to": [2]},
    {"ticker": "MSFT", "execution_date": "2024-02-01", "split_from": 1, "split_to": 2}, "split",
])  # fmt: skip
async def test_a_broken_action_is_an_error(sim: Simulation, providers: Providers, row: object) -> None:
    sim.faults.add(match="splits", body=json.dumps({"status": "OK", "results": [row]}), times=-1)
    with pytest.raises(TransientVendorError):
        await providers().fetch_corporate_actions(AAPL, date(2024, 1, 1), date(2025, 1, 1))


async def test_of_a_reused_ticker_the_newest_owner_is_listed(sim: Simulation, providers: Providers) -> None:
    def record(name: str, gone: str | None = None, **more: object) -> dict[str, object]:
        return {"ticker": "ODD", "name": name, "active": gone is None, "delisted_utc": gone, **more}

    former = [record("first", "2010-01-04T05:00:00Z"), record("third", "2020-01-03"), record("second", "2015-01-05")]
    unusable = [{"ticker": "ODD/WS", "active": False}]
    sim.faults.add(match="active=false", body=json.dumps({"status": "OK", "results": former + unusable}), times=2)
    sim.faults.add(match="active=true", body=json.dumps({"status": "OK", "results": []}))
    (third,) = await providers().instruments()
    assert (third.name, third.active, third.listed_until) == ("third", False, date(2020, 1, 4))
    sim.faults.add(match="active=true", body=json.dumps({"status": "OK", "results": [record("now")]}))
    (now,) = await providers().instruments()
    assert (now.name, now.active, now.listed_until) == ("now", True, None)


async def test_a_broken_list_is_an_error_and_never_a_short_one(sim: Simulation, providers: Providers) -> None:
    sim.faults.add(match="active=true", body='{"status":"OK"}', times=-1)
    with pytest.raises(TransientVendorError, match="no list of results"):
        await providers().instruments()


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> SourceSettings:
    given_settings = {
        "name": "us",
        "provider": "massive",
        "calendar": "XNYS",
        "start": "2024-01-01",
        "symbols": ["AAPL"],
    }
    return SourceSettings.model_validate(given_settings | changes)


async def test_a_source_is_asked_with_its_key_and_cut_to_its_hours(sim: Simulation) -> None:
    symbols = [{"code": "APPLE", "vendor": "AAPL"}]
    provider = build_provider(settings(options={"key": "mine", "base_url": sim.url}, symbols=symbols))
    fetched = await provider.fetch_bars(Symbol.equity("APPLE"), SESSION, MINUTE)
    assert fetched.frame.height == 390
    assert sim.requests[0]["headers"]["Authorization"] == "Bearer mine"
    await provider.aclose()


async def test_a_key_is_only_missed_by_a_request() -> None:
    provider = build_provider(settings())
    assert provider.requests(SESSION, MINUTE) == 1
    with pytest.raises(ConfigError, match="key"):
        await provider.fetch_bars(AAPL, SESSION, MINUTE)
    await provider.aclose()


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="feed"):
        build_provider(settings(options={"key": "k", "feed": "sip"}))
    with pytest.raises(ConfigError, match="base_url"):
        build_provider(settings(options={"key": "k", "base_url": "https://api.example.com"}))


# --- what the vendor really answered ----------------------------------------------------------------------------------

MarketData = Callable[[str], Path]


def test_recorded_days_on_both_sides_of_a_clock_change_are_their_sessions(market_data: MarketData) -> None:
    body = market_data("vendor-responses/polygon-aggs-AAPL-day-20050401-20050404.json").read_bytes()
    provider, window = MassiveProvider("key"), Window.of("2005-04-01", "2005-04-05")
    with pytest.raises(PermanentVendorError, match="adjusted prices"):
        provider.normalise(AAPL, window, Resolution.DAY, [body])
    raw = body.replace(b'"adjusted": true', b'"adjusted": false')
    frame = provider.normalise(AAPL, window, Resolution.DAY, [raw])
    assert frame.rows() == [
        (instant("2005-04-01"), "1.5032", "1.5064", "1.4489", "1.4604", "642646396.0", "82132", "1.469"),
        (instant("2005-04-04"), "1.4639", "1.4754", "1.4343", "1.4675", "578172308.0", "65543", "1.4589"),
    ]
    sessions = get_calendar("XNYS").sessions(date(2005, 4, 1), date(2005, 4, 5))
    assert frame["timestamp"].dt.date().to_list() == sessions


@pytest.mark.parametrize(
    ("name", "day", "trades"),
    [("aggs-AAPL-prev", "2022-04-26", "899965"), ("grouped-daily-20050404", "2020-10-14", "96")],
)
def test_recorded_single_days_are_read(market_data: MarketData, name: str, day: str, trades: str) -> None:
    body = market_data(f"vendor-responses/polygon-{name}.json").read_bytes().replace(b"true", b"false")
    # Both are stamped with the close, 16:00 in New York, which is no stamp of a day's bar.
    window = Window.of(day, date.fromisoformat(day) + timedelta(days=1))
    frame = MassiveProvider("key").normalise(AAPL, window, Resolution.DAY, [body])
    assert frame["timestamp"].to_list() == [None]
    assert frame["trade_count"].to_list() == [trades]


def test_recorded_pages_of_tickers_follow_each_other(market_data: MarketData) -> None:
    pages = [
        json.loads(market_data(f"vendor-responses/polygon-tickers-page{page}.json").read_text()) for page in (1, 2)
    ]
    following = massive_answers.cursor(pages[0], "/v3/reference/tickers")
    assert following is not None
    assert following[0] == "/v3/reference/tickers"
    assert following[1].startswith("YWN0aXZlPXRydWUm")
    assert massive_answers.cursor(pages[1], "/v3/reference/tickers") is None
    found = [
        massive_answers.instrument(row, AssetClass.EQUITY)
        for page in pages
        for row in massive_answers.objects(massive_answers.check_status(page))
    ]
    assert [(item.symbol.code, item.symbol.exchange, item.quote) for item in found if item] == [
        ("A", "XNYS", "USD"), ("AA", "XNYS", "USD"), ("AAA", "ARCX", "USD"), ("AAAU", "BATS", "USD"),
    ]  # fmt: skip


def test_recorded_splits_are_read_as_the_vendor_dated_them(market_data: MarketData) -> None:
    payload = json.loads(market_data("corporate-actions/polygon-splits.json").read_text(), parse_float=str)
    records = massive_answers.objects(massive_answers.check_status(payload))
    found = {
        name: massive_answers.splits([row for row in records if row["ticker"] == name], name)
        for name in {row["ticker"] for row in records}
    }
    assert sum(frame.height for frame in found.values()) == len(records) == 10
    assert found["BRW"].select("ex_date", "split_to", "split_from").rows() == [(date(2022, 5, 20), "1", "2")]
    assert found["CIG.C"].select("split_to", "split_from").rows() == [("4", "3")]
    assert found["SHOP"]["ex_date"].to_list() == [date(2022, 6, 29), date(2022, 6, 22)], "the date was revised"


def test_recorded_dividends_keep_their_digits(market_data: MarketData) -> None:
    payload = json.loads(market_data("corporate-actions/polygon-dividends.json").read_text(), parse_float=str)
    records = [
        row for row in massive_answers.objects(massive_answers.check_status(payload)) if row["ticker"] == "CSSEN"
    ]
    frame = massive_answers.dividends(records, "CSSEN")
    assert frame.schema == ACTIONS_RECEIVED
    assert set(frame["amount"]) == {"0.59375"}
    assert frame.row(0, named=True) == {
        "ex_date": date(2025, 6, 12), "kind": "cash_dividend", "label": "CD", "split_to": None, "split_from": None,
        "amount": "0.59375", "currency": None, "declared_date": date(2020, 9, 9), "record_date": date(2025, 6, 15),
        "pay_date": date(2025, 6, 30),
    }  # fmt: skip


def test_a_recorded_record_has_its_listing_date(market_data: MarketData) -> None:
    payload = json.loads(market_data("corporate-actions/polygon-ticker-AAPL.json").read_text())
    (record,) = massive_answers.single(massive_answers.check_status(payload))
    assert massive_answers.listing(record).select("ex_date", "kind").rows() == [(date(1980, 12, 12), "listing")]
    item = massive_answers.instrument(record, AssetClass.EQUITY)
    assert item is not None
    assert (item.listed_from, item.listed_until, item.active) == (date(1980, 12, 12), None, True)
