"""This module reads Massive's answers: parsed bodies become rows, cursors or errors.

Requests are sent by `client`; which rows are wanted is decided by `provider`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl

from gb_pipeline.errors import (
    InvalidSymbol,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
)
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.candles import Layout, read_candles
from gb_pipeline.providers.http.cursors import Ascending
from gb_pipeline.providers.http.redaction import vendor_message
from gb_pipeline.providers.massive.symbols import canonical_code

Row = dict[str, Any]
WHO = "Massive"
# DELAYED is the honest answer to a plan without real-time data: whole, but some minutes old.
_FINE = frozenset({"OK", "DELAYED"})
_BARS = Layout(
    "t",
    1,
    {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trade_count": "n", "vwap": "vw"},
    rows=("results",),
)
# Old and over-the-counter bars come without a mean price or a number of trades; a missing price is null, and refused later.
_ABSENT: Row = dict.fromkeys(["t", "o", "h", "l", "c", "v", "n", "vw"])
_BROKEN = "the vendor's protocol promises otherwise; the same call may succeed later"


def check_status(payload: Any) -> dict[str, Any]:
    """An answer's object, if it says that all is well.

    Raises:
        RateLimited, NotEntitled, TransientVendorError: it says something else, whatever its HTTP status is.
    """
    if not isinstance(payload, dict):
        raise _broken_answer("a list in place of an object")
    if payload.get("status") in _FINE:
        return payload
    raise _refusal(str(payload.get("status", "no status")), vendor_message(payload))


class Bars:
    """Reads the pages of aggregates of one question, in their order.

    Args:
        ticker: that was asked for.
        window: in which its bars begin. Vendors widen what they are asked for, so some rows may lie outside, but never all.
    """

    def __init__(self, ticker: str, window: Window) -> None:
        """Begin before the first page."""
        self._ticker = ticker
        self._start, self._end = (round(moment.timestamp() * 1000) for moment in (window.start, window.end))
        self._ascending = Ascending(WHO)

    def read(self, payload: dict[str, Any]) -> list[Row]:
        """The rows of the next page, checked to be raw, of this ticker and time, and as many as it says.

        Raises:
            PermanentVendorError: prices are adjusted although raw ones were asked for.
            TransientVendorError: another ticker's rows or another time's, those of the page before, another number of rows
                than announced, or none without saying so.
        """
        if payload.get("ticker", self._ticker) != self._ticker:
            raise _broken_answer(f"bars of {str(payload['ticker'])[:20]!r} to a question for {self._ticker}")
        if payload.get("adjusted", False) is not False:
            raise PermanentVendorError(
                f"{WHO} answered with adjusted prices of {self._ticker}",
                fix="raw ones were asked for; this needs another version of gb_pipeline",
            )
        announced = payload.get("resultsCount")
        if payload.get("results") is None:
            # A body without rows is the end of a list only where it counts to zero itself.
            if announced != 0 or payload.get("queryCount", 0) != 0:
                raise _broken_answer(f"no results, although it counts {payload.get('queryCount')} and {announced}")
            return []
        rows = objects(payload)
        if announced != len(rows):
            raise _broken_answer(f"{len(rows)} results, although it counts {announced}")
        stamps = [row["t"] for row in rows if type(row.get("t")) is int]
        if stamps and not any(self._start <= stamp < self._end for stamp in stamps):
            raise _broken_answer(f"bars of {self._ticker} of another time than it was asked for")
        self._ascending.admit(stamps)
        return rows


def objects(payload: dict[str, Any]) -> list[Row]:
    """The list `results`, every item an object.

    Raises:
        TransientVendorError: there is none, or something else in it.
    """
    rows = payload.get("results")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _broken_answer("no list of results")
    return rows


def single(payload: dict[str, Any]) -> list[Row]:
    """The one object `results`, in a list.

    Raises:
        TransientVendorError: there is none.
    """
    if not isinstance(payload.get("results"), dict):
        raise _broken_answer("no record")
    return [payload["results"]]


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Columns of `RECEIVED`, with `trade_count` and `vwap`: stamps as instants in UTC, all else the vendor's own digits."""
    return read_candles([_ABSENT | row for row in rows], _BARS)


def cursor(payload: dict[str, Any], path: str) -> tuple[str, str] | None:
    """Path and cursor of the next page, or None at the end; nothing else of `next_url` is ever used, least of all its host.

    Args:
        payload: a page.
        path: that the next page's path must begin with.

    Raises:
        TransientVendorError: it leads somewhere else, or names no cursor.
    """
    named = payload.get("next_url")
    if named is None or named == "":
        return None
    try:
        parts = urlsplit(named) if isinstance(named, str) else None
    except ValueError:
        parts = None
    cursors = parse_qs(parts.query).get("cursor") if parts is not None else None
    if parts is None or not cursors or not unquote(parts.path).startswith(path) or ".." in parts.path:
        raise _broken_answer("a next_url that leads away from the list")
    return parts.path, cursors[0]


def splits(rows: Sequence[Row], ticker: str) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED`.

    Raises:
        TransientVendorError: another ticker's split, or one without a date or ratio.
    """
    return _actions(
        {
            "ex_date": day(row, "execution_date", needed=True),
            "kind": "split",
            # Only the newer records name a type.
            "label": _text(row, "adjustment_type") or "",
            "split_to": _text(row, "split_to", needed=True),
            "split_from": _text(row, "split_from", needed=True),
        }
        for row in _require_ticker(rows, ticker)
    )


def dividends(rows: Sequence[Row], ticker: str) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED`; `label` is the vendor's type: CD regular, SC special, LT and ST capital gains.

    Raises:
        TransientVendorError: another ticker's dividend, or one without a date or amount.
    """
    return _actions(
        {
            "ex_date": day(row, "ex_dividend_date", needed=True),
            "kind": "cash_dividend",
            "label": _text(row, "dividend_type") or "",
            "amount": _text(row, "cash_amount", needed=True),
            "currency": (_text(row, "currency") or "").upper() or None,
            "declared_date": day(row, "declaration_date"),
            "record_date": day(row, "record_date"),
            "pay_date": day(row, "pay_date"),
        }
        for row in _require_ticker(rows, ticker)
    )


def listing(row: Row) -> pl.DataFrame:
    """Listing and delisting of a ticker's record as `ACTIONS_RECEIVED`, each where the record has its date."""
    dates = {"listing": day(row, "list_date"), "delisting": listed_until(row)}
    return _actions(
        {"ex_date": ex_date, "kind": kind, "label": ""} for kind, ex_date in dates.items() if ex_date is not None
    )


def listed_until(row: Row) -> date | None:
    """The first day without trading: the vendor names the last one with it."""
    last = day(row, "delisted_utc")
    return None if last is None else last + timedelta(days=1)


def instrument(row: Row, asset_class: AssetClass) -> Instrument | None:
    """A ticker's record; None where no canonical code can be made of it, as of some units and rights.

    Raises:
        TransientVendorError: it has no ticker, or a date that is none.
    """
    ticker = str(_text(row, "ticker", needed=True))
    quote = _text(row, "currency_symbol") if asset_class is not AssetClass.EQUITY else _text(row, "currency_name")
    try:
        code = canonical_code(ticker, asset_class, _text(row, "base_currency_symbol"), quote)
        symbol = Symbol.of(code, asset_class, _text(row, "primary_exchange") or "")
    except InvalidSymbol:
        return None
    return Instrument(
        symbol,
        vendor=ticker,
        name=_text(row, "name") or "",
        active=row.get("active") is True,
        quote=(quote or "").upper(),
        listed_from=day(row, "list_date"),
        listed_until=listed_until(row),
    )


def day(row: Row, name: str, *, needed: bool = False) -> date | None:
    """A date, or the date of an instant; None where it is absent.

    Raises:
        TransientVendorError: it is none, or absent where it is needed.
    """
    text = _text(row, name, needed=needed)
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise _broken_answer(f"{text[:30]!r} as {name}") from None


def _require_ticker(rows: Sequence[Row], ticker: str) -> Sequence[Row]:
    others = {str(row.get("ticker")) for row in rows} - {ticker}
    if others:
        raise _broken_answer(f"actions of {min(others)[:20]!r} to a question for {ticker}")
    return rows


def _actions(rows: Any) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ACTIONS_RECEIVED, orient="row")


def _text(row: Row, name: str, *, needed: bool = False) -> str | None:
    value = row.get(name)
    if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
        return str(value)
    if needed or value not in {None, ""}:
        raise _broken_answer(f"a record whose {name} is {str(value)[:30]!r}")
    return None


def _refusal(status: str, words: str) -> VendorError:
    what = f"{WHO} answered {status[:30]}{f': {words!r}' if words else ''}"
    lower = words.lower()
    if "maximum requests" in lower:
        return RateLimited(what, fix="lower `rate_limit` of the source, or wait; it is asked again later")
    if status == "NOT_AUTHORIZED" or "not entitled" in lower or "api key" in lower:
        return NotEntitled(what, fix="check the key and what its plan covers")
    return TransientVendorError(what, fix="the vendor reports a problem of its own; the same call may succeed later")


def _broken_answer(what: str) -> TransientVendorError:
    return TransientVendorError(f"{WHO} answered {what}", fix=_BROKEN)
