"""Which rows of Yahoo's charts are bars, and in which digits."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import (
    HistoryNotAvailable,
    PermanentVendorError,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window, instant
from gb_pipeline.providers.yahoo.actions import actions
from gb_pipeline.providers.yahoo.bars import Page, bars
from gb_pipeline.providers.yahoo.chart import float32_text, read_chart
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline_tests.providers.yahoo.bodies import Row, body, seconds

AAPL = Symbol.equity("AAPL")
MINUTE, HOUR, DAY = Resolution.MINUTE, Resolution.HOUR, Resolution.DAY


def read(
    *bodies: bytes, window: tuple[str, str], resolution: Resolution = DAY, symbol: Symbol = AAPL, **named: Any
) -> pl.DataFrame:
    return YahooProvider(**named).normalise(symbol, Window.of(*window), resolution, bodies)


def opens(frame: pl.DataFrame) -> list[str]:
    return [f"{moment:%m-%d %H:%M}" for moment in frame["timestamp"].to_list()]


def flat(stamp: str, price: Any = 1.5, volume: Any = 10) -> Row:
    return stamp, price, price, price, price, volume


# --- digits -----------------------------------------------------------------------------------------------------------


@given(st.floats(width=32, min_value=0, max_value=2**100, allow_subnormal=False))
def test_a_price_is_the_shortest_decimal_of_the_float_that_yahoo_sent(price: float) -> None:
    (text,) = float32_text([repr(float(np.float32(price)))])
    assert text is not None
    assert "e" not in text
    assert np.float32(text) == np.float32(price)
    assert len(text.replace(".", "").strip("0")) <= 9


@given(st.integers(1, 999_999), st.integers(0, 4))
def test_a_price_of_six_digits_is_itself_again(mantissa: int, decimals: int) -> None:
    text = f"{mantissa / 10**decimals:.{decimals}f}"
    sent = [repr(float(np.float32(text))), f"{float(np.float32(text)):.6f}"]
    shortest = text.rstrip("0").rstrip(".") if "." in text else text
    assert float32_text(sent) == [shortest, shortest]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("266.0400085449219", "266.04"),
        ("266.040009", "266.04"),
        ("0.0998", "0.0998"),
        ("0.09979999810457230", "0.0998"),
        ("1e-07", "0.0000001"),
        ("1.0000000116860974E-7", "0.0000001"),
        (189, "189"),
        # More digits than a 32-bit float has: these were never one.
        ("1234567.89", "1234567.89"),
        (123456789, "123456789"),
        ("Infinity", "Infinity"),
        (True, "true"),
        (None, None),
    ],
)
def test_only_the_noise_of_floats_is_removed(sent: Any, meant: str | None) -> None:
    assert float32_text([sent]) == [meant]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_day_is_its_sessions_date_however_yahoo_stamps_it() -> None:
    rows = [
        flat("2024-03-07T00:00-05:00"),
        flat("2024-03-08T09:30-05:00"),
        flat("2024-03-11T09:30-04:00"),
        flat("2024-03-12T10:12:33-04:00"),
    ]
    frame = read(body(rows), window=("2024-03-01", "2024-03-20"))
    assert opens(frame) == ["03-07 00:00", "03-08 00:00", "03-11 00:00", "03-12 00:00"]
    assert frame.schema == RECEIVED


@pytest.mark.parametrize(
    ("zone", "stamp", "session"),
    [
        ("Europe/London", "2024-07-02T00:00+01:00", "07-02 00:00"),
        ("Asia/Tokyo", "2024-07-02T09:00+09:00", "07-02 00:00"),
        ("Pacific/Auckland", "2024-01-16T10:00+13:00", "01-16 00:00"),
        ("America/New_York", "2024-11-04T00:00-05:00", "11-04 00:00"),
        # Yahoo's midnights after Brazil gave up daylight saving.
        ("America/Sao_Paulo", "2022-01-17T23:00-03:00", "01-18 00:00"),
    ],
)
def test_a_day_is_the_exchanges_day_in_every_zone(zone: str, stamp: str, session: str) -> None:
    year = stamp[:4]
    frame = read(body([flat(stamp)], zone=zone), window=(f"{year}-01-01", f"{year}-12-31"))
    assert opens(frame) == [session]


def test_what_lies_outside_the_window_is_cut_by_the_exchanges_date() -> None:
    rows = [flat(f"2024-03-{day:02}T09:00+09:00") for day in (4, 5, 6, 7)]
    frame = read(body(rows, zone="Asia/Tokyo"), window=("2024-03-05", "2024-03-07"))
    assert opens(frame) == ["03-05 00:00", "03-06 00:00"]


def test_the_row_that_yahoo_adds_after_the_end_is_cut() -> None:
    rows = [flat("2024-03-05T09:30-05:00"), flat("2024-03-20T15:12:01-04:00")]
    assert opens(read(body(rows, traded="2024-03-20T15:12:01-04:00"), window=("2024-03-05", "2024-03-06"))) == [
        "03-05 00:00"
    ]


def test_a_row_without_any_price_is_said_to_be_no_bar_and_one_that_lacks_some_is_left_to_be_judged() -> None:
    rows: list[Row] = [
        ("2024-03-05T09:30-05:00", None, None, None, None, None),
        ("2024-03-05T09:31-05:00", None, None, None, None, 0),
        ("2024-03-05T09:32-05:00", 1.5, None, 1.5, 1.5, 7),
        ("2024-03-05T09:33-05:00", 1.5, 1.5, 1.5, 1.5, None),
    ]
    frame = read(body(rows, interval="1m"), window=("2024-03-05", "2024-03-06"), resolution=MINUTE)
    assert frame.select("open", "high", "volume", "fault").rows() == [
        (None, None, None, "no_bar"),
        (None, None, "0", "no_bar"),
        ("1.5", None, "7", None),
        ("1.5", "1.5", None, None),
    ]


def test_rows_come_in_order_and_the_same_row_once() -> None:
    rows = [flat(f"2024-03-05T09:3{minute}-05:00", 1 + minute) for minute in (2, 0, 1, 2)]
    frame = read(body(rows, interval="1m"), window=("2024-03-05", "2024-03-06"), resolution=MINUTE)
    assert frame["open"].to_list() == ["1", "2", "3"]


def test_rows_that_contradict_each_other_are_left_to_be_judged() -> None:
    rows = [flat("2024-03-05T09:30-05:00", 1), flat("2024-03-05T09:30-05:00", 2)]
    frame = read(body(rows, interval="1m"), window=("2024-03-05", "2024-03-06"), resolution=MINUTE)
    assert frame["open"].to_list() == ["1", "2"]


def test_volumes_are_yahoos_own_digits() -> None:
    rows = [flat("2024-03-05T09:30-05:00", 1, 35_123_456_789_012_345)]
    assert read(body(rows), window=("2024-03-05", "2024-03-06"))["volume"].to_list() == ["35123456789012345"]


# --- the quote and the bar in progress --------------------------------------------------------------------------------

SESSION = ("2024-03-05T09:30-05:00", "2024-03-05T16:00-05:00")
GRID = [flat("2024-03-05T09:30-05:00"), flat("2024-03-05T10:30-05:00", 2)]


@pytest.mark.parametrize(
    "quote",
    ["2024-03-05T10:47:12-05:00", "2024-03-05T10:47-05:00", "2024-03-05T11:00-05:00"],
    ids=["at a second", "at a minute", "at an hour that no bar starts at"],
)
def test_the_last_quote_is_no_bar(quote: str) -> None:
    frame = read(
        body([*GRID, flat(quote, 3, 0)], interval="1h", traded=quote, regular=SESSION),
        window=("2024-03-05", "2024-03-05T16:12Z"),
        resolution=HOUR,
    )
    # The bar in progress is there: it is for the quality layer to see by the clock that it is open.
    assert opens(frame) == ["03-05 14:30", "03-05 15:30"]
    assert frame["open"].to_list() == ["1.5", "2"]


def test_the_close_said_again_is_no_bar() -> None:
    close = "2024-03-05T16:00-05:00"
    rows = [flat("2024-03-05T15:58-05:00"), flat("2024-03-05T15:59-05:00"), flat(close, 2, 0)]
    frame = read(body(rows, interval="1m", traded=close), window=("2024-03-05", "2024-03-06"), resolution=MINUTE)
    assert opens(frame) == ["03-05 20:58", "03-05 20:59"]


def test_a_bar_whose_only_trade_came_on_its_first_second_is_one() -> None:
    rows = [flat("2024-03-05T15:57-05:00"), flat("2024-03-05T15:58-05:00", 2, 100)]
    frame = read(
        body(rows, interval="1m", traded="2024-03-05T15:58-05:00", regular=SESSION),
        window=("2024-03-05", "2024-03-06"),
        resolution=MINUTE,
    )
    assert frame.height == 2


@pytest.mark.parametrize(
    ("asked_until", "bars"),
    [
        ("2024-03-05T15:40Z", 2),  # within the bar: open by the clock, which the quality layer knows
        ("2024-03-05T16:31Z", 1),  # over by the clock, while the feed is at 11:14 of 11:30
        ("2024-03-05T21:10Z", 1),  # just after the close
        ("2024-03-05T21:31Z", 2),  # over for every feed: nobody traded after 11:14
        ("2024-03-06T05:00Z", 2),
    ],
)
def test_a_bar_that_a_delayed_feed_has_not_finished_is_not_taken_for_a_closed_one(asked_until: str, bars: int) -> None:
    frame = read(
        body(GRID, interval="1h", traded="2024-03-05T11:14:08-05:00", regular=SESSION),
        window=("2024-03-05", asked_until),
        resolution=HOUR,
    )
    assert frame.height == bars


def test_a_day_that_a_delayed_feed_has_not_finished_is_not_taken_for_a_closed_one() -> None:
    rows = [flat("2024-03-04T09:30-05:00"), flat("2024-03-05T15:44:09-05:00", 2)]
    answer = body(rows, traded="2024-03-05T15:44:09-05:00", regular=SESSION)
    assert read(answer, window=("2024-03-04", "2024-03-05T20:50Z")).height == 2
    assert read(answer, window=("2024-03-04", "2024-03-05T21:15Z")).height == 1


def test_of_a_day_that_comes_twice_the_second_row_holds() -> None:
    rows = [flat("2024-03-05T09:30-05:00", 1, 10), flat("2024-03-05T16:00:01-05:00", 1, 11)]
    frame = read(body(rows, traded="2024-03-05T16:00:01-05:00"), window=("2024-03-05", "2024-03-06"))
    assert frame["volume"].to_list() == ["11"]


def test_trading_after_an_early_close_that_nobody_asked_for_is_left_out() -> None:
    rows = [flat(f"2024-07-03T{time}-04:00") for time in ("08:30", "09:30", "12:30", "13:00", "13:30")]
    rows.append(flat("2024-07-05T15:30-04:00"))
    periods = [("2024-07-03T09:30-04:00", "2024-07-03T13:00-04:00")]
    answer = body(rows, interval="30m", periods=periods)
    window, half = ("2024-07-03", "2024-07-06"), Resolution.MINUTE_30
    assert opens(read(answer, window=window, resolution=half)) == ["07-03 13:30", "07-03 16:30", "07-05 19:30"]
    assert read(answer, window=window, resolution=half, extended_hours=True).height == 6


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_chart_without_times_is_empty() -> None:
    assert read(body([]), window=("2024-03-09", "2024-03-11")).is_empty()


def test_before_its_first_trade_a_share_has_no_history() -> None:
    meta = {"firstTradeDate": seconds("2024-03-20T09:30-04:00")}
    with pytest.raises(HistoryNotAvailable) as caught:
        read(body([], meta=meta), window=("2024-03-09", "2024-03-11"))
    assert caught.value.first == datetime(2024, 3, 20, 13, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"null",
        b"[]",
        b"<html>Will be right back</html>",
        b'{"chart":null}',
        b'{"chart":{"result":null,"error":null}}',
        b'{"chart":{"result":[],"error":null}}',
        body(GRID)[:-30],
        body(GRID, symbol="MSFT"),
        body(GRID, interval="1wk"),
        body(GRID, zone="Mars/Olympus"),
        body(GRID).replace(b'"volume": [10, 10]', b'"volume": [10]'),
        body(GRID).replace(b'"high"', b'"hihg"'),
        body(GRID).replace(b'"timestamp": [1709649000', b'"timestamp": [null'),
        body(GRID).replace(b'"timestamp": [1709649000', b'"timestamp": [17096490001709649000'),
        body(GRID).replace(b'"timestamp": [1709649000', b'"timestamp": [1709649000.5'),
        json.dumps({"chart": {"result": [{"meta": {}}, {"meta": {}}], "error": None}}).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_chart_of_what_was_asked_for_is_an_error(broken: bytes) -> None:
    with pytest.raises(TransientVendorError):
        read(broken, window=("2024-03-05", "2024-03-06"))


def test_a_chart_of_another_time_is_an_error() -> None:
    rows = [flat(f"2023-01-{day:02}T09:30-05:00") for day in (3, 4, 5, 6)]
    with pytest.raises(TransientVendorError, match="2023-01-03"):
        read(body(rows), window=("2024-03-05", "2024-03-06"))


def test_hours_that_yahoo_calls_half_hours_are_refused() -> None:
    rows = [flat(f"2024-03-05T{hour:02}:30-05:00") for hour in range(9, 16)]
    window, half = ("2024-03-05", "2024-03-06"), Resolution.MINUTE_30
    with pytest.raises(TransientVendorError, match="half hours"):
        read(body(rows, interval="30m"), window=window, resolution=half)
    honest = [*rows, flat("2024-03-05T10:00-05:00", None, None)]
    assert read(body(honest, interval="30m"), window=window, resolution=half)["open"].count() == 7


def test_pairs_with_the_dollar_may_come_under_their_short_name() -> None:
    answer = body([flat("2024-03-05T00:00+00:00")], symbol="JPY=X", zone="Europe/London")
    assert read(answer, window=("2024-03-05", "2024-03-06"), symbol=Symbol.forex("USD-JPY")).height == 1


def _refused(description: str, code: str = "Bad Request", root: str = "chart") -> bytes:
    return json.dumps({root: {"result": None, "error": {"code": code, "description": description}}}).encode()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_refused("No data found, symbol may be delisted", "Not Found"), UnknownSymbol),
        (_refused("5m data not available. The requested range must be within the last 60 days."), HistoryNotAvailable),
        (
            _refused(
                "1m data not available. Only 7 days worth of 1m granularity data are allowed to be fetched per request."
            ),
            HistoryNotAvailable,
        ),
        (_refused("Data doesn't exist for startDate = 1, endDate = 2"), HistoryNotAvailable),
        (_refused("Invalid Crumb", "Unauthorized", "finance"), TransientVendorError),
        (_refused("something new"), TransientVendorError),
        (b'{"chart":{"result":null,"error":"gone"}}', TransientVendorError),
    ],
)
def test_errors_with_status_200_are_typed_by_their_words(answer: bytes, kind: type[VendorError]) -> None:
    with pytest.raises(kind) as caught:
        read(answer, window=("2024-03-05", "2024-03-06"))
    assert type(caught.value) is kind
    assert caught.value.fix


def test_the_bodies_of_another_fetch_are_refused() -> None:
    with pytest.raises(PermanentVendorError, match="2 answers for 1 pages"):
        read(body(GRID), body(GRID), window=("2024-03-05", "2024-03-06"))


def test_infinite_numbers_in_columns_that_nobody_reads_do_no_harm() -> None:
    answer = body([flat("2024-03-05T09:30-05:00")]).replace(
        b'"indicators": {', b'"indicators": {"adjclose": [Infinity], '
    )
    assert read(answer, window=("2024-03-05", "2024-03-06")).height == 1


WHOLE = json.loads(
    body(
        [*GRID, flat("2024-03-05T11:00:07-05:00")],
        interval="1h",
        traded="2024-03-05T11:00:07-05:00",
        regular=SESSION,
        periods=[SESSION],
        meta={"firstTradeDate": seconds("2001-01-02T09:30-05:00")},
        events={
            "splits": {"1": {"date": seconds(SESSION[0]), "numerator": 4, "denominator": 1, "splitRatio": "4:1"}},
            "dividends": {"1": {"date": seconds(SESSION[0]), "amount": 0.25, "currency": "USD"}},
        },
    )
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in inner for place in _places(value, (*path, key)))]


_JUNK = st.sampled_from(
    [None, True, -1, 10**18, 10**40, 1e300, "x", "", "1", [], [None], {}, {"start": 1}, [[[]]], "1e999"]
)


@given(st.sampled_from([place for place in _places(WHOLE) if place]), _JUNK)
def test_whatever_stands_in_a_place_of_an_answer_it_is_read_or_refused(place: tuple[Any, ...], junk: Any) -> None:
    document = json.loads(json.dumps(WHOLE))
    node = document
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = junk
    try:
        chart = read_chart(json.dumps(document).encode(), "AAPL", HOUR)
        page = Page(
            instant("2024-03-05"), instant("2024-03-06"), (seconds("2024-03-05T00:00Z"), seconds("2024-03-06T00:00Z"))
        )
        assert bars(chart, page, HOUR).schema == RECEIVED
        assert actions(chart, date(2020, 1, 1), date(2025, 1, 1)).schema == ACTIONS_RECEIVED
    except VendorError as error:
        assert error.fix


def test_decades_of_days_are_one_page() -> None:
    days = pl.date_range(date(1990, 1, 1), date(2024, 1, 1), eager=True).to_list()
    rows = [flat(f"{day}T09:30-05:00", 100 + at / 7) for at, day in enumerate(days)]
    assert read(body(rows), window=("1990-01-01", "2024-01-02")).height == len(days)
