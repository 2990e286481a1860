"""Daily bars of US shares and funds from Tiingo, as traded.

A whole provider in one file. Belongs here: questions to Tiingo and what its answers say. Does not belong here: pace, patience,
repeats, counts and credentials in messages (`Transport`, `HttpClient`), judging and storing (gb_pipeline does both for all).

Tiingo's own documentation: https://www.tiingo.com/documentation/end-of-day. Its split factor is a rounded number (0.333333),
so splits are not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline import (
    PermanentVendorError,
    Resolution,
    SourceSettings,
    Symbol,
    TransientVendorError,
    UnknownSymbol,
    Window,
)
from gb_pipeline.providers import (
    RECEIVED,
    Adjustment,
    Body,
    DailyQuota,
    Fetched,
    HttpClient,
    Instrument,
    Policy,
    RateLimit,
    Transport,
    read_json,
)

WHO = "Tiingo"
BASE = "https://api.tiingo.com/tiingo"
# Of the free plan, as is the class's quota; `rate_limit` and `daily_quota` of a source set those of another one.
RATE = RateLimit(calls=50, seconds=3600)


class TiingoProvider:
    """Tiingo's end-of-day interface.

    Args:
        key: API token, or what gives it: only a request needs one.
        base_url: `http://127.0.0.1:PORT` of a simulated vendor; the real one by default.
        policy: patience and pace.
        vendor_symbols: canonical code to Tiingo's ticker, where it cannot be derived.
    """

    # Options without which no request can be sent: `gb doctor` looks at them.
    credentials = ("key",)
    quota = DailyQuota(calls=1000)

    def __init__(
        self,
        key: str | Callable[[], str],
        *,
        base_url: str | None = None,
        policy: Policy | None = None,
        vendor_symbols: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is sent before the first fetch."""
        self.name = "tiingo"
        self.adjustment = Adjustment.RAW
        # What `normalise` makes of the same bodies; a change of it is a new number.
        self.normaliser = "tiingo/1"
        self._key, self._base_url = key, base_url
        self._transport = Transport("tiingo", policy)
        self._vendor_symbols = dict(vendor_symbols or {})
        self._http: HttpClient | None = None

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> TiingoProvider:
        """From gb.yaml: `options: {key: "${TIINGO_KEY}"}`."""
        source.only_options("key", "base_url")
        base_url = source.option("base_url")
        # There is no pace to keep on loopback, unless the source sets one itself.
        rate = None if base_url else RATE
        return cls(
            partial(source.credential, "key"),
            base_url=base_url,
            policy=Policy.of(source, rate=rate, quota=cls.quota, state_dir=state_dir),
            vendor_symbols=source.vendor_symbols,
        )

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
        if not self.supports(symbol, resolution):
            raise PermanentVendorError(
                f"{WHO} has no bars of {resolution} of {symbol}", fix="it has days of shares only"
            )
        with self._transport.measure() as tally:
            if window.empty:
                return tally.fetched(_frame([], window))
            last = (window.end - timedelta(microseconds=1)).date()
            asked = {"startDate": str(window.start.date()), "endDate": str(last), "format": "json"}
            rows, body = await self._transport.call(partial(self._days, self._ticker(symbol), asked))
            # Only what was understood is accepted, in the order in which `normalise` reads it.
            tally.accept(body)
        return tally.fetched(_frame(rows, window))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received."""
        read = (_rows(read_json(WHO, 200, "", body.decode("utf-8", errors="replace"))) for body in bodies)
        return _frame([row for rows in read for row in rows], window)

    async def search(self, text: str) -> list[Instrument]:
        """Shares and funds whose name or ticker Tiingo thinks of."""

        async def ask() -> list[Mapping[str, Any]]:
            payload, _ = await self._client.get_json(f"{BASE}/utilities/search", {"query": text})
            return _rows(payload)

        found = []
        for row in await self._transport.call(ask):
            if row.get("assetType") in {"Stock", "ETF"} and row.get("countryCode") == "US":
                ticker = str(row.get("ticker", ""))
                symbol = Symbol.equity(ticker.upper().replace("-", "."))
                found.append(Instrument(symbol, ticker, str(row.get("name", "")), bool(row.get("isActive")), "USD"))
        return found

    def quota_left(self) -> int | None:
        """Calls that the vendor's day still has, for all processes; None where there is no quota."""
        return self._transport.quota_left()

    async def aclose(self) -> None:
        """Close connections and the shared state."""
        if self._http is not None:
            await self._http.aclose()
        self._transport.close()

    @property
    def _client(self) -> HttpClient:
        if self._http is None:
            key = self._key if isinstance(self._key, str) else self._key()
            headers = {"Authorization": f"Token {key}"}
            self._http = HttpClient(WHO, self._transport, base_url=self._base_url, headers=headers, secrets=[key])
        return self._http

    def _ticker(self, symbol: Symbol) -> str:
        return self._vendor_symbols.get(symbol.code) or symbol.code.replace(".", "-")

    async def _days(self, ticker: str, asked: Mapping[str, str]) -> tuple[list[Mapping[str, Any]], Body]:
        payload, reply = await self._client.get_json(f"{BASE}/daily/{ticker}/prices", asked, accept=[404])
        if reply.status == 404:
            raise UnknownSymbol(
                f"{WHO} has no ticker {ticker}", fix="check the spelling; share classes are BRK-B there"
            )
        return _rows(payload), reply.body


def _rows(payload: Any) -> list[Mapping[str, Any]]:
    # An error with status 200 is an object; the well-formed empty answer is [].
    if not isinstance(payload, list) or not all(isinstance(row, dict) for row in payload):
        raise TransientVendorError(f"{WHO} answered something else than a list", fix="the same call may succeed later")
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
