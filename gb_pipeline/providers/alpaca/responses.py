"""This module reads Alpaca's answers: parsed bodies become rows, page tokens or errors.

Requests are sent by `client`; which rows are wanted is decided by `provider`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl

from gb_pipeline.errors import InvalidSymbol
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.candles import read_lettered_candles
from gb_pipeline.providers.http.cursors import Ascending
from gb_pipeline.providers.http.redaction import vendor_message
from gb_pipeline.providers.records import RecordReader, Row

WHO = "Alpaca"
_RECORDS = RecordReader(WHO)
_MILLISECOND = timedelta(milliseconds=1)
# The vendor's names of venues; ISO 10383 codes where the two differ.
_VENUES = {"NASDAQ": "XNAS", "NYSE": "XNYS", "ARCA": "ARCX", "NYSEARCA": "ARCX", "AMEX": "XASE"}
# What is asked for, and how each is called in the answer.
ACTION_TYPES = {
    "forward_split": "forward_splits",
    "reverse_split": "reverse_splits",
    "stock_dividend": "stock_dividends",
    "cash_dividend": "cash_dividends",
}


class Bars:
    """Reads the pages of bars of one question, in their order.

    Args:
        symbol: that was asked for, in the vendor's spelling.
        window: in which its bars begin.
    """

    def __init__(self, symbol: str, window: Window) -> None:
        """Begin before the first page."""
        self._symbol = symbol
        self._start, self._end = ((moment - EPOCH) // _MILLISECOND for moment in (window.start, window.end))
        self._ascending = Ascending(WHO)

    def read(self, payload: Any) -> list[Row]:
        """The rows of the next page, their stamps as epoch milliseconds, null where they are none.

        Raises:
            TransientVendorError: another symbol's rows or another time's, those of the page before, or no list of bars.
        """
        by_symbol = _member(payload, "bars")
        if others := set(by_symbol) - {self._symbol}:
            raise _RECORDS.broken(f"bars of {min(others)[:20]!r} to a question for {self._symbol}")
        rows = _objects(by_symbol.get(self._symbol), f"bars of {self._symbol}")
        if not rows and (note := _message_of(payload)):
            raise _RECORDS.broken(f"no bars of {self._symbol}{note}")
        rows = [row | {"t": _milliseconds(row.get("t"))} for row in rows]
        stamps = [row["t"] for row in rows if row["t"] is not None]
        if stamps and not any(self._start <= stamp < self._end for stamp in stamps):
            raise _RECORDS.broken(f"bars of {self._symbol} of another time than it was asked for")
        self._ascending.admit(stamps)
        return rows


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Columns of `RECEIVED`, with `trade_count` and `vwap`: stamps as instants in UTC, all else the vendor's own digits."""
    return read_lettered_candles(rows)


def token(payload: Any) -> str | None:
    """The token of the next page, or None at the end.

    Raises:
        TransientVendorError: the answer does not say whether it is the last page.
    """
    if not isinstance(payload, dict) or "next_page_token" not in payload:
        raise _RECORDS.broken(f"no next_page_token{_message_of(payload)}")
    next_token = payload["next_page_token"]
    if not isinstance(next_token, str | None):
        raise _RECORDS.broken("a next_page_token that is no text")
    return next_token or None


def actions(payload: Any, symbol: str) -> list[Row]:
    """The corporate actions of one page as rows of `ACTIONS_RECEIVED`; the vendor's name of their list is their label.

    A stock dividend of 0.05 is a split of 1.05 for 1: that is what it does to shares and prices.

    Raises:
        TransientVendorError: another symbol's action, or one without a date, a ratio or an amount.
    """
    lists = _member(payload, "corporate_actions")
    rows = []
    for kind in ACTION_TYPES.values():
        for row in _objects(lists.get(kind), kind):
            if row.get("symbol") != symbol:
                raise _RECORDS.broken(f"actions of {str(row.get('symbol'))[:20]!r} to a question for {symbol}")
            rows.append(_dividend(row) if kind == "cash_dividends" else _split(row, kind))
    return rows


def actions_frame(rows: Iterable[Row]) -> pl.DataFrame:
    """Columns of `ACTIONS_RECEIVED`."""
    return pl.DataFrame(list(rows), schema=ACTIONS_RECEIVED, orient="row")


def instruments(payload: Any, asset_class: AssetClass) -> list[Instrument]:
    """The assets of a list; those of which no canonical code can be made are left out.

    Raises:
        TransientVendorError: it is no list of assets.
    """
    if not isinstance(payload, list):
        raise _RECORDS.broken(f"no list of assets{_message_of(payload)}")
    return [item for row in _objects(payload, "assets") if (item := _instrument(row, asset_class)) is not None]


def _instrument(row: Row, asset_class: AssetClass) -> Instrument | None:
    vendor = _RECORDS.required_text(row, "symbol")
    venue = str(row.get("exchange") or "")
    try:
        symbol = Symbol.of(vendor, asset_class, _VENUES.get(venue, venue))
    except InvalidSymbol:
        return None
    return Instrument(
        symbol,
        vendor=vendor,
        name=str(row.get("name") or ""),
        active=row.get("status") == "active",
        # All prices of shares are in dollars; a pair names its own currency.
        quote=vendor.partition("/")[2] or "USD",
        vendor_id=str(row.get("id") or ""),
    )


def _dividend(row: Row) -> Row:
    return {
        "ex_date": _RECORDS.required_day(row, "ex_date"),
        "kind": "cash_dividend",
        "label": "special" if row.get("special") is True else "regular",
        "amount": _RECORDS.required_text(row, "rate"),
        # The vendor converts what foreign companies pay, and only says so in its documentation.
        "currency": str(row.get("currency") or "USD").upper(),
        "record_date": _RECORDS.day(row, "record_date"),
        "pay_date": _RECORDS.day(row, "payable_date"),
    }


def _split(row: Row, kind: str) -> Row:
    if kind == "stock_dividends":
        to, from_ = _plus_one(_RECORDS.required_text(row, "rate")), "1"
    else:
        to, from_ = _RECORDS.required_text(row, "new_rate"), _RECORDS.required_text(row, "old_rate")
    return {
        "ex_date": _RECORDS.required_day(row, "ex_date"),
        "kind": "split",
        "label": kind.removesuffix("s"),
        "split_to": to,
        "split_from": from_,
        "record_date": _RECORDS.day(row, "record_date"),
        "pay_date": _RECORDS.day(row, "payable_date"),
    }


def _plus_one(rate: str) -> str:
    try:
        return f"{1 + Decimal(rate):f}"
    except InvalidOperation:
        raise _RECORDS.broken(f"a stock dividend of {rate[:30]!r}") from None


def _member(payload: Any, name: str) -> dict[str, Any]:
    """What a page lists by symbol or type; null and nothing are the vendor's ways to say that there is nothing."""
    if not isinstance(payload, dict) or name not in payload:
        raise _RECORDS.broken(f"no {name}{_message_of(payload)}")
    members = payload[name]
    if members is None:
        return {}
    if not isinstance(members, dict):
        raise _RECORDS.broken(f"a list in place of {name}")
    return members


def _objects(rows: Any, name: str) -> list[Row]:
    return [] if rows is None else _RECORDS.objects(rows, name)


def _milliseconds(stamp: Any) -> int | None:
    try:
        moment = datetime.fromisoformat(stamp)
    except (TypeError, ValueError):
        return None
    since, rest = divmod(moment - EPOCH, _MILLISECOND) if moment.tzinfo is not None else (0, _MILLISECOND)
    return None if rest else since


def _message_of(payload: Any) -> str:
    words = vendor_message(payload)
    return f" but {words!r}" if words else ""
