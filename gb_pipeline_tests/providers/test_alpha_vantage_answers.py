"""What Alpha Vantage's bodies mean: bars digit by digit, and errors that all come with status 200."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from gb_pipeline.errors import NotEntitled, RateLimited, TransientVendorError, VendorError
from gb_pipeline.providers.alpha_vantage import responses
from gb_pipeline.providers.alpha_vantage.symbols import canonical, spelling

KEY = "S3CRETKEY1234567"


def intraday(rows: dict[str, dict[str, str]], **about: str) -> bytes:
    told = {"2. Symbol": "IBM", "4. Interval": "1min", "6. Time Zone": "US/Eastern"} | about
    return json.dumps({"Meta Data": told, "Time Series (1min)": rows}).encode()


def bar(price: str = "185.1200", volume: str = "1000") -> dict[str, str]:
    return {"1. open": price, "2. high": price, "3. low": price, "4. close": price, "5. volume": volume}


def test_json_and_csv_are_the_same_bars_in_the_vendors_own_digits() -> None:
    rows = {"2024-01-05 10:00:00": bar("185.1200"), "2024-01-05 09:59:00": bar("0.09980", "12")}
    table = (
        b"timestamp,open,high,low,close,volume\r\n"
        b"2024-01-05 10:00:00,185.1200,185.1200,185.1200,185.1200,1000\r\n"
        b"2024-01-05 09:59:00,0.09980,0.09980,0.09980,0.09980,12\r\n"
    )
    read = responses.bars(intraday(rows), "IBM", interval="1min")
    assert read["open"].to_list() == ["185.1200", "0.09980"]
    assert read["volume"].to_list() == ["1000", "12"]
    assert responses.bars(table, "IBM", interval="1min").equals(read)


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        ("2024-03-08 09:30:00", datetime(2024, 3, 8, 14, 30, tzinfo=UTC)),
        ("2024-03-11 09:30:00", datetime(2024, 3, 11, 13, 30, tzinfo=UTC)),
        ("2024-11-01 19:59:00", datetime(2024, 11, 1, 23, 59, tzinfo=UTC)),
        ("2024-11-04 19:59:00", datetime(2024, 11, 5, 0, 59, tzinfo=UTC)),
        # Twice and never on the clocks of New York.
        ("2024-11-03 01:30:00", None),
        ("2024-03-10 02:30:00", None),
        ("2024-03-08", None),
        ("soon", None),
    ],
)
def test_a_stamp_is_new_yorks_clock_on_both_sides_of_its_changes(stamp: str, instant: datetime | None) -> None:
    assert responses.bars(intraday({stamp: bar()}), "IBM", interval="1min")["timestamp"].to_list() == [instant]


def test_a_day_is_its_date() -> None:
    body = b"timestamp,open,high,low,close,volume\r\n2024-07-01,1,1,1,1,5\r\n"
    assert responses.bars(body, "IBM")["timestamp"].to_list() == [datetime(2024, 7, 1, tzinfo=UTC)]


def test_an_answer_without_bars_is_one() -> None:
    frame = responses.bars(intraday({}), "IBM", interval="1min")
    assert (frame.height, frame.schema["timestamp"]) == (0, pl.Datetime("us", "UTC"))


DAILY = (
    "We have detected your API key as S3CRETKEY1234567 and our standard API rate limit is 25 requests per day. Please subscribe"
    " to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all daily rate limits."
)
BURST = (
    "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly (1 request per"
    " second). You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to lift the free key rate"
    " limit (25 requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints"
)
PREMIUM = (
    "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at"
    " https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints"
)
FULL = "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the endpoint."
NOTE = "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per day."


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"Information": DAILY}, responses.QuotaReported),
        ({"Information": DAILY.replace("We have detected", "Thank you;")}, responses.QuotaReported),
        # Names the daily limit and the premium endpoints, and is neither.
        ({"Information": BURST}, RateLimited),
        ({"Information": PREMIUM}, NotEntitled),
        ({"Information": FULL}, NotEntitled),
        ({"Information": "The **demo** API key is for demo purposes only."}, NotEntitled),
        ({"Note": NOTE}, RateLimited),
        ({"Information": "We are updating our databases."}, TransientVendorError),
        ({"Error Message": "the parameter apikey is invalid or missing."}, NotEntitled),
        ({"Error Message": "Invalid API call. Please retry or visit the documentation."}, responses.NotServed),
        ({}, TransientVendorError),
        ({"Meta Data": {}}, TransientVendorError),
        ({"detail": "maintenance"}, TransientVendorError),
        ([], TransientVendorError),
    ],
)
def test_every_error_comes_as_json_with_status_200_and_its_words_decide(body: object, kind: type[VendorError]) -> None:
    for interval in ("1min", None):
        with pytest.raises(kind) as raised:
            responses.bars(json.dumps(body).encode(), "IBM", interval=interval, secrets=[KEY])
        assert type(raised.value) is kind
        assert KEY not in str(raised.value)


WHOLE = intraday({f"2024-01-05 10:{minute:02d}:00": bar() for minute in range(30)})
TABLE = b"timestamp,open,high,low,close,volume\r\n" + b"2024-01-05 10:00:00,1,1,1,1,1\r\n" * 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>maintenance</html>",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:-1],
        TABLE[:-2],
        TABLE[:-9],
        TABLE + b"2024-01-05 10:01:00,1,1\r\n",
        b"timestamp,open,close\r\n",
        intraday({"2024-01-05 10:00:00": {"1. open": "1"}}),
        intraday({"2024-01-05 10:00:00": "1"}),  # type: ignore[dict-item]
        intraday({}, **{"2. Symbol": "AAPL"}),
        intraday({}, **{"4. Interval": "5min"}),
        intraday({}, **{"6. Time Zone": "UTC"}),
        # One stamp with two bars: a parser that keeps the last would choose for us.
        intraday({"2024-01-05 10:00:00": bar("1"), "x": bar("2")}).replace(b'"x"', b'"2024-01-05 10:00:00"'),
        b'{"Meta Data": {}, "Time Series (1min)": {}, "Time Series (5min)": {}}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_half_an_answer_or_another_ones_is_none(body: bytes) -> None:
    with pytest.raises(TransientVendorError):
        responses.bars(body, "IBM", interval="1min")


def test_the_same_bar_twice_is_one() -> None:
    body = intraday({"2024-01-05 10:00:00": bar("1"), "x": bar("1")}).replace(b'"x"', b'"2024-01-05 10:00:00"')
    assert responses.bars(body, "IBM", interval="1min").height == 1


def test_what_is_no_number_is_left_for_the_quality_layer() -> None:
    rows = {"2024-01-05 10:00:00": bar("N/A"), "2024-01-05 10:01:00": {**bar(), "1. open": None}}
    read = responses.bars(intraday(rows), "IBM", interval="1min")  # type: ignore[arg-type]
    assert read["open"].to_list() == ["N/A", None]


def test_bars_of_another_month_are_refused() -> None:
    # 23:30 on the last of January in New York is February in UTC.
    frame = responses.bars(intraday({"2024-01-31 23:30:00": bar()}), "IBM", interval="1min")
    responses.require_month(frame, "2024-01")
    with pytest.raises(TransientVendorError, match="bars of 2024-01 instead of 2024-02"):
        responses.require_month(frame, "2024-02")


@pytest.mark.parametrize(
    ("factor", "ratio"),
    [
        ("4.0000", ("4", "1")),
        ("1.5000", ("1.5", "1")),
        ("0.5000", ("1", "2")),
        ("0.0333", ("1", "30")),
        ("0.0667", ("1", "15")),
        ("0.1000", ("1", "10")),
        # Rounded to four decimals, a hundredth could be no other; a two-thousandth could be several.
        ("0.0100", ("1", "100")),
        ("0.0005", ("0.0005", "1")),
        ("10", ("10", "1")),
    ],
)
def test_a_split_factor_is_a_ratio_and_a_rounded_one_is_undone_where_only_one_fits(
    factor: str, ratio: tuple[str, str]
) -> None:
    found = {"symbol": "IBM", "data": [{"effective_date": "1999-05-27", "split_factor": factor}]}
    frame = responses.splits(found, "IBM")
    assert frame.select("split_to", "split_from").row(0) == ratio
    assert frame["ex_date"][0] == date(1999, 5, 27)


def test_dividends_have_their_dates_where_the_vendor_knows_them() -> None:
    row = {"ex_dividend_date": "2024-11-12", "declaration_date": "None", "record_date": "2024-11-12",
           "payment_date": "2024-12-10", "amount": "1.67"}  # fmt: skip
    (read,) = responses.dividends({"symbol": "IBM", "data": [row]}, "IBM").iter_rows(named=True)
    assert (read["kind"], read["amount"], read["currency"]) == ("cash_dividend", "1.67", "USD")
    assert (read["declared_date"], read["pay_date"]) == (None, date(2024, 12, 10))


@pytest.mark.parametrize(
    "found",
    [
        {"data": []},
        {"symbol": "AAPL", "data": []},
        {"symbol": "IBM"},
        {"symbol": "IBM", "data": [{"split_factor": "2"}]},
        {"symbol": "IBM", "data": [{"effective_date": "soon", "split_factor": "2"}]},
        {"symbol": "IBM", "data": [{"effective_date": "2024-01-02", "split_factor": "None"}]},
        {"symbol": "IBM", "data": [{"effective_date": "2024-01-02", "split_factor": "0"}]},
        {"symbol": "IBM", "data": [{"effective_date": "2024-01-02", "split_factor": "NaN"}]},
        {"symbol": "IBM", "data": ["2"]},
    ],
)
def test_a_corporate_action_that_cannot_be_read_is_no_action(found: dict[str, object]) -> None:
    with pytest.raises(TransientVendorError):
        responses.splits(found, "IBM")


LISTED = (
    b"symbol,name,exchange,assetType,ipoDate,delistingDate,status\r\n"
    b'BRK-B,"Berkshire Hathaway, Inc.",NYSE,Stock,1996-05-09,null,Active\r\n'
    b"BAC-P-K,Bank of America,NYSE,Stock,2013-01-01,null,Active\r\n"
    b"ODD,Odd Corp,NASDAQ,Stock,2001-01-02,2020-05-01,Delisted\r\n"
    b"  ,,NASDAQ,Stock,2001-01-02,null,Active\r\n"
)


def test_listings_say_what_trades_and_what_traded() -> None:
    found = {item.symbol.code: item for item in responses.listings(LISTED)}
    assert list(found) == ["BRK.B", "BAC.PRK", "ODD"]
    assert (found["BRK.B"].vendor, found["BRK.B"].symbol.exchange) == ("BRK-B", "XNYS")
    assert (found["ODD"].active, found["ODD"].listed_until) == (False, date(2020, 5, 1))
    assert responses.listing(found["ODD"])["kind"].to_list() == ["listing", "delisting"]


@pytest.mark.parametrize("body", [LISTED[:-2], LISTED[:-20], b"", b"<html>", b"{}", b"symbol,name\r\nA,B\r\n"])
def test_half_a_list_is_none(body: bytes) -> None:
    with pytest.raises(TransientVendorError):
        responses.listings(body)


@pytest.mark.parametrize("code", ["AAPL", "BRK.B", "BAC.PRK", "BAC.PR", "TSCO.LON", "A"])
def test_spellings_lead_back_to_their_codes(code: str) -> None:
    assert canonical(spelling(code)) == code
