"""This module fetches daily bars of US shares and funds from Tiingo, as traded.

It is a whole provider in one file: requests to Tiingo, and what its answers say. Pace, patience, repeats, counts, connections and
the removal of credentials from messages come with `RestProvider`; validating and storing is the same code for all vendors.

Tiingo's own documentation: https://www.tiingo.com/documentation/end-of-day. Its split factor is a rounded number (0.333333),
so splits are not offered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import polars as pl

from gb_pipeline import Resolution, Symbol, TransientVendorError, UnknownSymbol, Window
from gb_pipeline.providers import (
    RECEIVED,
    Adjustment,
    Body,
    DailyQuota,
    Fetched,
    Instrument,
    RateLimit,
    RestProvider,
    SearchProvider,
)

BASE = "https://api.tiingo.com/tiingo"


class TiingoProvider(RestProvider, SearchProvider):
    """Tiingo's end-of-day interface; `credentials` and `base_url` come from gb.yaml.

    Example:
        >>> provider = TiingoProvider("my key")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.DAY)
        True
    """

    name, who = "tiingo", "Tiingo"
    adjustment = Adjustment.RAW
    # What `normalise` makes of the same bodies; a change of it is a new number.
    normaliser = "tiingo/1"
    # Options without which no request can be sent: `gb doctor` looks at them.
    credentials = ("key",)
    # Of the free plan; `rate_limit` and `daily_quota` of a source set those of another one.
    rate = RateLimit(calls=50, seconds=3600)
    quota = DailyQuota(calls=1000)

    def headers(self) -> Mapping[str, str]:
        """The key goes into a header; no error and no log shows it."""
        return {"Authorization": f"Token {self.secret('key')}"}

    def derived_spelling(self, symbol: Symbol) -> str:
        """`BRK-B` of the code `BRK.B`."""
        return symbol.code.replace(".", "-")

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Days of shares and funds."""
        return resolution is Resolution.DAY and symbol.asset_class.value == "equity"

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One, however long the window is."""
        return 0 if window.empty else 1

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All days of a window.

        Raises:
            UnknownSymbol: Tiingo has no such ticker.
            VendorError: one of its kinds.
        """
        self.require_supported(symbol, resolution)
        # `measure` counts requests and bytes, `call` repeats what failed in passing.
        with self.transport.measure() as tally:
            if window.empty:
                return tally.fetched(_frame([], window))
            last = (window.end - timedelta(microseconds=1)).date()
            query = {"startDate": str(window.start.date()), "endDate": str(last), "format": "json"}
            rows, body = await self.transport.call(partial(self._days, self.spelling(symbol), query))
            # Only what was understood is accepted, in the order in which `normalise` reads it.
            tally.accept(body)
        return tally.fetched(_frame(rows, window))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received."""
        return _frame([row for body in bodies for row in _rows(self.read_body(body))], window)

    async def search(self, text: str) -> list[Instrument]:
        """Shares and funds whose name or ticker Tiingo thinks of."""

        async def ask() -> list[Mapping[str, Any]]:
            payload, _ = await self.http.get_json(f"{BASE}/utilities/search", {"query": text})
            return _rows(payload)

        instruments = []
        for row in await self.transport.call(ask):
            if row.get("assetType") in {"Stock", "ETF"} and row.get("countryCode") == "US":
                ticker = str(row.get("ticker", ""))
                symbol = Symbol.equity(ticker.upper().replace("-", "."))
                instruments.append(
                    Instrument(symbol, ticker, str(row.get("name", "")), bool(row.get("isActive")), "USD")
                )
        return instruments

    async def _days(self, ticker: str, query: Mapping[str, str]) -> tuple[list[Mapping[str, Any]], Body]:
        payload, reply = await self.http.get_json(f"{BASE}/daily/{ticker}/prices", query, accept=[404])
        if reply.status == 404:
            raise UnknownSymbol(
                f"{self.who} has no ticker {ticker}", fix="check the spelling; share classes are BRK-B there"
            )
        return _rows(payload), reply.body


def _rows(payload: Any) -> list[Mapping[str, Any]]:
    # An error with status 200 is an object; the well-formed empty answer is [].
    if not isinstance(payload, list) or not all(isinstance(row, dict) for row in payload):
        raise TransientVendorError("Tiingo answered something else than a list", fix="the same call may succeed later")
    return payload


def _frame(rows: Sequence[Mapping[str, Any]], window: Window) -> pl.DataFrame:
    """Columns of `RECEIVED`: instants in UTC, and numbers as the vendor's own text, which `read_json` left as it was."""
    named = {"timestamp": "date"} | {name: name for name in RECEIVED if name != "timestamp"}
    texts = {ours: [_text(row.get(theirs)) for row in rows] for ours, theirs in named.items()}
    frame = pl.DataFrame(texts, schema=dict.fromkeys(named, pl.String()))
    # A stamp that cannot be read stays in, as null: the quality layer sets the row aside.
    stamps = pl.col("timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)
    inside = pl.col("timestamp").is_null() | pl.col("timestamp").is_between(window.start, window.end, closed="left")
    return frame.with_columns(stamps).filter(inside)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
