"""This module reads Massive's answers: parsed bodies become rows, cursors or errors.

Requests are sent by `client`; which rows are wanted is decided by `provider`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from gb_pipeline.providers.candles import read_lettered_candles
from gb_pipeline.providers.http.cursors import Ascending
from gb_pipeline.providers.http.redaction import vendor_message
from gb_pipeline.providers.massive.symbols import canonical_code
from gb_pipeline.providers.records import RecordReader, Row

WHO = "Massive"
RECORDS = RecordReader(WHO)
# DELAYED is the honest answer to a plan without real-time data: whole, but some minutes old.
_DELAYED = "DELAYED"
_FINE = frozenset({"OK", _DELAYED})


def check_status(payload: Any) -> dict[str, Any]:
    """An answer's object, if it says that all is well.

    Raises:
        RateLimited, NotEntitled, TransientVendorError: it says something else, whatever its HTTP status is.
    """
    if not isinstance(payload, dict):
        raise RECORDS.broken("a list in place of an object")
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
            raise RECORDS.broken(f"bars of {str(payload['ticker'])[:20]!r} to a question for {self._ticker}")
        if payload.get("adjusted", False) is not False:
            raise PermanentVendorError(
                f"{WHO} answered with adjusted prices of {self._ticker}",
                fix="raw ones were asked for; this needs another version of gb_pipeline",
            )
        announced = payload.get("resultsCount")
        if payload.get("results") is None:
            # A body without rows is the end of a list only where it counts to zero itself.
            if announced != 0 or payload.get("queryCount", 0) != 0:
                raise RECORDS.broken(f"no results, although it counts {payload.get('queryCount')} and {announced}")
            self._refuse_doubtful_end(payload)
            return []
        rows = objects(payload)
        if not rows:
            self._refuse_doubtful_end(payload)
        if announced != len(rows):
            raise RECORDS.broken(f"{len(rows)} results, although it counts {announced}")
        stamps = [row["t"] for row in rows if type(row.get("t")) is int]
        if stamps and not any(self._start <= stamp < self._end for stamp in stamps):
            raise RECORDS.broken(f"bars of {self._ticker} of another time than it was asked for")
        self._ascending.admit(stamps)
        return rows

    def _refuse_doubtful_end(self, payload: dict[str, Any]) -> None:
        """No rows are believed only where nothing else is said: delayed data may still come, and a note explains something."""
        note = vendor_message(payload)
        if note or (payload.get("status") == _DELAYED and self._ascending.newest is None):
            raise TransientVendorError(
                f"{WHO} answered no bars of {self._ticker}, but {note or 'that its data is delayed'!r}",
                fix="empty is only believed where nothing is said beside; ask again when its delay is over",
            )


def objects(payload: dict[str, Any]) -> list[Row]:
    """The list `results`, every item an object.

    Raises:
        TransientVendorError: there is none, or something else in it.
    """
    return RECORDS.objects(payload.get("results"), "results")


def single(payload: dict[str, Any]) -> list[Row]:
    """The one object `results`, in a list.

    Raises:
        TransientVendorError: there is none.
    """
    if not isinstance(payload.get("results"), dict):
        raise RECORDS.broken("no record")
    return [payload["results"]]


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Columns of `RECEIVED`, with `trade_count` and `vwap`: stamps as instants in UTC, all else the vendor's own digits."""
    return read_lettered_candles(rows)


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
        raise RECORDS.broken("a next_url that leads away from the list")
    return parts.path, cursors[0]


def splits(rows: Sequence[Row], ticker: str) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED`.

    Raises:
        TransientVendorError: another ticker's split, or one without a date or ratio.
    """
    return _actions(
        {
            "ex_date": RECORDS.required_day(row, "execution_date"),
            "kind": "split",
            # Only the newer records name a type.
            "label": RECORDS.text(row, "adjustment_type") or "",
            "split_to": RECORDS.required_text(row, "split_to"),
            "split_from": RECORDS.required_text(row, "split_from"),
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
            "ex_date": RECORDS.required_day(row, "ex_dividend_date"),
            "kind": "cash_dividend",
            "label": RECORDS.text(row, "dividend_type") or "",
            "amount": RECORDS.required_text(row, "cash_amount"),
            "currency": (RECORDS.text(row, "currency") or "").upper() or None,
            "declared_date": RECORDS.day(row, "declaration_date"),
            "record_date": RECORDS.day(row, "record_date"),
            "pay_date": RECORDS.day(row, "pay_date"),
        }
        for row in _require_ticker(rows, ticker)
    )


def listing(row: Row) -> pl.DataFrame:
    """Listing and delisting of a ticker's record as `ACTIONS_RECEIVED`, each where the record has its date."""
    dates = {"listing": RECORDS.day(row, "list_date"), "delisting": listed_until(row)}
    return _actions(
        {"ex_date": ex_date, "kind": kind, "label": ""} for kind, ex_date in dates.items() if ex_date is not None
    )


def listed_until(row: Row) -> date | None:
    """The first day without trading: the vendor names the last one with it."""
    last = RECORDS.day(row, "delisted_utc")
    return None if last is None else last + timedelta(days=1)


def instrument(row: Row, asset_class: AssetClass) -> Instrument | None:
    """A ticker's record; None where no canonical code can be made of it, as of some units and rights.

    Raises:
        TransientVendorError: it has no ticker, or a date that is none.
    """
    ticker = RECORDS.required_text(row, "ticker")
    quote = RECORDS.text(row, "currency_name" if asset_class is AssetClass.EQUITY else "currency_symbol")
    try:
        code = canonical_code(ticker, asset_class, RECORDS.text(row, "base_currency_symbol"), quote)
        symbol = Symbol.of(code, asset_class, RECORDS.text(row, "primary_exchange") or "")
    except InvalidSymbol:
        return None
    return Instrument(
        symbol,
        vendor=ticker,
        name=RECORDS.text(row, "name") or "",
        active=row.get("active") is True,
        quote=(quote or "").upper(),
        listed_from=RECORDS.day(row, "list_date"),
        listed_until=listed_until(row),
        composite_figi=RECORDS.text(row, "composite_figi") or "",
        share_class_figi=RECORDS.text(row, "share_class_figi") or "",
    )


def ticker_changes(payload: dict[str, Any]) -> list[Row]:
    """`ticker` and `date` of each change of a ticker, oldest first.

    Raises:
        TransientVendorError: it is something else.
    """
    [record] = single(payload)
    rows = []
    for event in objects({"results": record.get("events", [])}):
        if event.get("type") == "ticker_change":
            [change] = single({"results": event.get("ticker_change")})
            rows.append(
                {"ticker": RECORDS.required_text(change, "ticker"), "date": RECORDS.required_day(event, "date")}
            )
    return sorted(rows, key=lambda row: row["date"])


def symbol_history(record: Row, changes: Sequence[Row], asset_class: AssetClass) -> list[Instrument]:
    """A ticker's record once for each ticker that the instrument has had, oldest first.

    Raises:
        TransientVendorError: as `instrument`, or the tickers do not end with that of the record.
    """
    if not changes:
        listed = instrument(record, asset_class)
        return [] if listed is None else [listed]
    if changes[-1]["ticker"] != record.get("ticker"):
        raise RECORDS.broken(f"changes of a ticker that end with {str(changes[-1]['ticker'])[:20]!r}")
    found = []
    for number, change in enumerate(changes):
        last = number + 1 == len(changes)
        listed = instrument(record | {"ticker": change["ticker"]}, asset_class)
        if listed is not None:
            until = listed.listed_until if last else changes[number + 1]["date"]
            found.append(replace(listed, active=last and listed.active, listed_from=change["date"], listed_until=until))
    return found


def _require_ticker(rows: Sequence[Row], ticker: str) -> Sequence[Row]:
    others = {str(row.get("ticker")) for row in rows} - {ticker}
    if others:
        raise RECORDS.broken(f"actions of {min(others)[:20]!r} to a question for {ticker}")
    return rows


def _actions(rows: Any) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=ACTIONS_RECEIVED, orient="row")


def _refusal(status: str, words: str) -> VendorError:
    what = f"{WHO} answered {status[:30]}{f': {words!r}' if words else ''}"
    lower = words.lower()
    if "maximum requests" in lower:
        return RateLimited(what, fix="lower `rate_limit` of the source, or wait; it is asked again later")
    if status == "NOT_AUTHORIZED" or "not entitled" in lower or "api key" in lower:
        return NotEntitled(what, fix="check the key and what its plan covers")
    return TransientVendorError(what, fix="the vendor reports a problem of its own; the same call may succeed later")
