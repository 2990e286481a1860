"""This module reads Alpha Vantage's answers: bodies become rows, or errors.

Requests are sent by `client`; which rows are wanted is decided by `provider`.

Every error comes with status 200, as JSON, also where CSV was asked for. The daily limit, a plan that does not suffice and
a request too many within a second are all called `Information`, and only their words differ: the last one names the daily
limit as well, and the daily limit names the plans.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal, InvalidOperation
from io import StringIO
from typing import Any

import polars as pl

from gb_pipeline.errors import (
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
)
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED
from gb_pipeline.providers.alpha_vantage.symbols import equity
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.http.redaction import hide, scrub
from gb_pipeline.providers.http.responses import broken_body

WHO = "Alpha Vantage"
_BROKEN = "the vendor's protocol promises otherwise; the same call may succeed later"
_FIELDS = ("open", "high", "low", "close", "volume")
_CSV_HEADER = ["timestamp", *_FIELDS]
_LISTING_HEADER = ["symbol", "name", "exchange", "assetType", "ipoDate", "delistingDate", "status"]
_ZONES = {"US/Eastern", "America/New_York"}
_SERIES = re.compile(r"(?:Time Series \(\w+\)|(?:Weekly|Monthly) Time Series)")
_ERRORS = ("Error Message", "Information", "Note")
_SHOWN = 160
# Ratios below one are rounded to four decimals: 0.0333 is one share for thirty.
_ROUNDED = Decimal("0.00005")
_UNITED_STATES = "United States"


class QuotaReported(RateLimited):
    """The vendor's own word that the day's calls are used up; whoever asked tells the others."""


class NotServed(PermanentVendorError):
    """`Invalid API call`: no such symbol, or nothing of it in what was asked for; the answer does not say which."""


def payload(body: bytes, *, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """A JSON answer that is none of the errors; no key stands twice in any of its objects, unless with the same value.

    Raises:
        QuotaReported: the day's calls are used up.
        RateLimited: too many requests at once.
        NotEntitled: the key, or its plan.
        NotServed: an invalid call.
        TransientVendorError: HTML, half an answer, or something else.
    """
    text = body.decode("utf-8", errors="replace")
    try:
        answer = json.loads(text, parse_float=str, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise broken_body(WHO, 200, "", hide(text, secrets)) from None
    if not isinstance(answer, dict):
        raise broken_body(WHO, 200, "", hide(text, secrets))
    for name in _ERRORS:
        if isinstance(message := answer.get(name), str):
            raise _error(name, scrub(hide(message, secrets)))
    return answer


def bars(body: bytes, symbol: str, *, interval: str | None = None, secrets: Iterable[str] = ()) -> pl.DataFrame:
    """The rows of one answer, JSON or CSV, as columns of `RECEIVED`, in the vendor's order: newest first.

    Args:
        body: the answer.
        symbol: the vendor's spelling that was asked for; JSON answers repeat it.
        interval: `1min` and so on, of intraday bars; JSON answers repeat it.
        secrets: texts that must not appear in a message.

    Returns:
        `timestamp` as an instant in UTC for intraday bars, as the date at 00:00 UTC for longer ones; null where it cannot be
        read. Numbers are the vendor's own text.

    Raises:
        VendorError: as `payload`, or `TransientVendorError` for rows of something else.
    """
    if body.lstrip()[:1] in {b"{", b"<", b""} or not body.startswith(b"timestamp,"):
        rows = _json_rows(payload(body, secrets=secrets), symbol, interval)
    else:
        rows = _csv_rows(body.decode("utf-8", errors="replace"))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    columns_by_name = {
        name: pl.Series(values, dtype=pl.String) for name, values in zip(_CSV_HEADER, columns, strict=True)
    }
    return pl.DataFrame(columns_by_name).with_columns(_stamps(intraday=interval is not None)).cast(RECEIVED)


def require_month(frame: pl.DataFrame, month: str) -> None:
    """Refuse bars of another month than was asked for.

    Raises:
        TransientVendorError: there are some.
    """
    months = frame["timestamp"].drop_nulls().dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m").unique()
    if any(value != month for value in months):
        raise TransientVendorError(
            f"{WHO} answered with bars of {min(months.to_list())} instead of {month}", fix=_BROKEN
        )


def splits(answer: dict[str, Any], symbol: str) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED` out of the answer of SPLITS.

    Raises:
        TransientVendorError: another symbol's, or a split without a date or factor.
    """
    return _actions(_data(answer, symbol), lambda row: {"kind": "split", **_ratio(row)}, "effective_date")


def dividends(answer: dict[str, Any], symbol: str) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED` out of the answer of DIVIDENDS; amounts are in the listing's currency, dollars.

    Raises:
        TransientVendorError: another symbol's, or a dividend without a date or amount.
    """

    def one(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "cash_dividend",
            "amount": _number(row.get("amount")),
            "currency": "USD",
            "declared_date": parse_day(row.get("declaration_date")),
            "record_date": parse_day(row.get("record_date")),
            "pay_date": parse_day(row.get("payment_date")),
        }

    return _actions(_data(answer, symbol), one, "ex_dividend_date")


def listing(item: Instrument | None) -> pl.DataFrame:
    """Listing and delisting as `ACTIONS_RECEIVED`, each where its date is known."""
    days = {"listing": item and item.listed_from, "delisting": item and item.listed_until}
    rows = [{"ex_date": day, "kind": kind, "label": ""} for kind, day in days.items() if day is not None]
    return pl.DataFrame(rows, schema=ACTIONS_RECEIVED)


def listings(body: bytes, *, secrets: Iterable[str] = ()) -> list[Instrument]:
    """The rows of LISTING_STATUS as instruments; symbols without a canonical code are left out.

    Raises:
        VendorError: as `payload`, or `TransientVendorError` for half a list.
    """
    instruments = []
    for symbol, name, exchange, _, first, last, status in listing_rows(body, secrets=secrets):
        listed, active = equity(symbol, exchange), status == "Active"
        if listed is not None:
            item = Instrument(
                listed, symbol, name, active, quote="USD", listed_from=parse_day(first), listed_until=parse_day(last)
            )
            instruments.append(item)
    return instruments


def listing_rows(body: bytes, *, secrets: Iterable[str] = ()) -> list[list[str]]:
    """The lines of LISTING_STATUS: symbol, name, exchange, kind, first day, last day and status, as text.

    Raises:
        VendorError: as `payload`, or `TransientVendorError` for half a list.
    """
    text = body.decode("utf-8", errors="replace")
    if not text.startswith(_LISTING_HEADER[0] + ","):
        payload(body, secrets=secrets)
        raise broken_body(WHO, 200, "text/csv", hide(text, secrets))
    return _csv(text, _LISTING_HEADER)


def matches(answer: dict[str, Any]) -> list[Instrument]:
    """The rows of SYMBOL_SEARCH that are listed in the United States, best first.

    Raises:
        TransientVendorError: there is no list.
    """
    rows = answer.get("bestMatches")
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise TransientVendorError(f"{WHO} answered a search without `bestMatches`", fix=_BROKEN)
    items = []
    for row in rows:
        symbol = equity(str(row.get("1. symbol", "")))
        if symbol is not None and row.get("4. region") == _UNITED_STATES:
            vendor, name = str(row["1. symbol"]), str(row.get("2. name", ""))
            items.append(Instrument(symbol, vendor, name, quote=str(row.get("8. currency", ""))))
    return items


# --- how --------------------------------------------------------------------------------------------------------------


def _error(name: str, message: str) -> VendorError:
    text = message.lower()
    what = f"{WHO} answered: {' '.join(message.split())[:_SHOWN]!r}"
    if name == "Error Message":
        if "apikey" in text or "api key" in text:
            return NotEntitled(what, fix="check the key of the source; a free one is made on alphavantage.co")
        return NotServed(what, fix="check the symbol, with `gb symbols search`; and the range")
    if "spreading out" in text or "per second" in text or "per minute" in text or name == "Note":
        return RateLimited(what, fix="lower `rate_limit` of the source")
    if "premium endpoint" in text or "premium feature" in text or "demo" in text:
        return NotEntitled(what, fix="the key's plan does not cover it; take another plan or another source")
    if "per day" in text or "daily" in text:
        return QuotaReported(what, fix="it goes on tomorrow; with a larger plan, raise `daily_quota` of the source")
    return TransientVendorError(what, fix="the same call may succeed later")


def _json_rows(answer: dict[str, Any], symbol: str, interval: str | None) -> list[tuple[str | None, ...]]:
    about, series = answer.get("Meta Data"), [name for name in answer if _SERIES.fullmatch(name)]
    if not isinstance(about, dict) or len(series) != 1 or not isinstance(answer[series[0]], dict):
        raise TransientVendorError(f"{WHO} answered without one time series", fix=_BROKEN)
    facts = {name.partition(". ")[2]: value for name, value in about.items()}
    wanted: dict[str, set[Any]] = {"Symbol": {symbol, symbol.replace("-", ".")}, "Time Zone": _ZONES}
    if interval is not None:
        wanted["Interval"] = {interval}
    for name, values in wanted.items():
        value = facts.get(name)
        if (value.upper() if name == "Symbol" and isinstance(value, str) else value) not in values:
            raise TransientVendorError(
                f"{WHO} answered with {name} {str(value)[:40]!r} instead of {min(values)}", fix=_BROKEN
            )
    rows = []
    for stamp, row in answer[series[0]].items():
        named = {name.partition(". ")[2]: value for name, value in row.items()} if isinstance(row, dict) else {}
        if not set(_FIELDS) <= set(named):
            raise TransientVendorError(f"{WHO} answered a bar of {stamp[:20]!r} without its fields", fix=_BROKEN)
        rows.append((stamp, *(None if named[field] is None else str(named[field]) for field in _FIELDS)))
    return rows


def _csv_rows(text: str) -> list[tuple[str | None, ...]]:
    return [tuple(value or None for value in row) for row in _csv(text, _CSV_HEADER)]


def _csv(text: str, header: list[str]) -> list[list[str]]:
    # The last line ends like all others: without its end the answer is half of one.
    rows = list(csv.reader(StringIO(text, newline="")))
    if not rows or rows[0] != header or not text.endswith("\n") or any(len(row) != len(header) for row in rows):
        raise broken_body(WHO, 200, "text/csv", text)
    return rows[1:]


def _stamps(*, intraday: bool) -> pl.Expr:
    stamp = pl.col("timestamp")
    if not intraday:
        # A week or month may be stamped with a date only; a time of day there is nothing we know.
        return stamp.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    return (
        stamp.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
        .dt.replace_time_zone("America/New_York", ambiguous="null", non_existent="null")
        .dt.convert_time_zone("UTC")
    )


def _data(answer: dict[str, Any], symbol: str) -> list[dict[str, Any]]:
    rows, name = answer.get("data"), answer.get("symbol")
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise TransientVendorError(f"{WHO} answered without `data`", fix=_BROKEN)
    if not isinstance(name, str) or name.upper() not in {symbol, symbol.replace("-", ".")}:
        raise TransientVendorError(f"{WHO} answered for {str(name)[:20]!r} instead of {symbol}", fix=_BROKEN)
    return rows


def _actions(
    rows: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], dict[str, Any]], dated: str
) -> pl.DataFrame:
    actions = []
    for row in rows:
        day = parse_day(row.get(dated))
        if day is None:
            raise TransientVendorError(f"{WHO} answered a corporate action without {dated}", fix=_BROKEN)
        actions.append({"ex_date": day, "label": "", **read(row)})
    return pl.DataFrame(actions, schema=ACTIONS_RECEIVED)


def _ratio(row: dict[str, Any]) -> dict[str, str]:
    text = _number(row.get("split_factor"))
    factor = Decimal(text)
    if factor <= 0:
        raise TransientVendorError(f"{WHO} answered a split by {text[:20]}", fix=_BROKEN)
    if factor < 1 and factor > _ROUNDED:
        first, last = 1 / (factor + _ROUNDED), 1 / (factor - _ROUNDED)
        whole = [number for number in range(int(first), int(last) + 1) if first < number < last]
        if len(whole) == 1:
            return {"split_to": "1", "split_from": str(whole[0])}
    return {"split_to": format(factor.normalize(), "f"), "split_from": "1"}


def _number(value: Any) -> str:
    try:
        if isinstance(value, str | int) and not isinstance(value, bool) and Decimal(value).is_finite():
            return str(value).strip()
    except InvalidOperation:
        pass
    raise TransientVendorError(f"{WHO} answered {str(value)[:20]!r} where a number belongs", fix=_BROKEN)


def parse_day(value: Any) -> date | None:
    """A date; None for the vendor's spellings of none.

    Raises:
        TransientVendorError: it is neither.
    """
    if value in (None, "", "None", "null", "0000-00-00"):
        return None
    try:
        return date.fromisoformat(value)
    except (ValueError, TypeError):
        raise TransientVendorError(f"{WHO} answered {str(value)[:20]!r} where a date belongs", fix=_BROKEN) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs) and any(members[name] != value for name, value in pairs):
        # The last would win in silence.
        raise ValueError("one key with two values")
    return members


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
