"""The vendors of the fault matrix: how each is asked through gb.yaml, and what the simulation knows to be true.

Belongs here: facts about vendors. Does not belong here: faults and what must become of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.simulation import Simulation

# Open, high, low, close and volume of one bar, by its epoch milliseconds.
Truth = dict[int, tuple[Decimal, ...]]
DAY = date(2024, 6, 11)
# Plain names that no vendor spells in a special way, one or two for every case of the matrix.
CODES = [f"Q{first}{second}" for first in "AB" for second in "ABCDEFGHIJKLMNOPQRSTUVWY"]
PAIRS = [f"{code}-{quote}" for code in CODES for quote in ("USDT", "USD")]
SHARES = [*CODES, "BRK.B"]


@dataclass(frozen=True)
class Vendor:
    """One vendor.

    Attributes:
        name: of the source, too.
        settings: of the source, as in gb.yaml; base_url is added.
        rows: regular expression of the requests for rows.
        spelling: the vendor's own name of a symbol, as it stands in those requests.
        errors: bodies with status 200 that say that something is wrong, and what becomes of them.
        quote: the currency of its pairs; empty for shares.
        resolution: of the bars that are asked for; a session of them is one request.
        paged: one of which a session takes several requests, where there is one.
        page_limit: makes several pages out of one session, at vendors of shares that have pages.
        pages: so many requests a session of `paged` takes.
        cursors: an answer names the next page itself; elsewhere the client counts on by time.
        counts_rows: an answer says how many rows it has.
        reaches_back: an answer may repeat rows from before its window; Yahoo has none to repeat before a session.
        before_listing: the error for a window before the first bar, where it is told from a window without trades.
        adjusted: prices are adjusted for splits by the vendor.
    """

    name: str
    settings: dict[str, Any]
    rows: str
    spelling: Callable[[Symbol], str]
    errors: tuple[tuple[str, type[VendorError]], ...]
    quote: str = ""
    resolution: Resolution = Resolution.MINUTE_5
    paged: Resolution = Resolution.MINUTE
    page_limit: int | None = None
    pages: int = 1
    cursors: bool = False
    counts_rows: bool = False
    reaches_back: bool = True
    before_listing: type[VendorError] | None = None
    adjusted: bool = False

    @property
    def transport(self) -> str:
        """What carries its requests: `ccxt`, `yahoo` (yfinance), or `http`, which the others share."""
        provider: str = self.settings["provider"]
        return provider if provider in {"ccxt", "yahoo"} else "http"

    @property
    def shares(self) -> bool:
        """Whether it is a vendor of shares."""
        return not self.quote

    def symbols(self, count: int) -> list[Symbol]:
        """So many symbols that it lists."""
        if self.shares:
            return [Symbol.equity(code) for code in CODES[:count]]
        return [Symbol.crypto(f"{code}-{self.quote}") for code in CODES[:count]]

    def source(self, sim: Simulation, **settings: Any) -> SourceSettings:
        """The source in gb.yaml."""
        body = {
            "name": self.name,
            "start": "2024-01-01",
            "symbols": [],
            "retries": 1,
            "timeout_seconds": 20,
            "max_concurrency": 8,
            **self.settings,
            **settings,
        }
        body["options"] = {"base_url": sim.url, **body.get("options", {})}
        return SourceSettings.model_validate(body)

    def asks(self, symbol: Symbol) -> str:
        """Regular expression of the requests for one symbol's rows."""
        name = re.escape(self.spelling(symbol))
        return rf"(?:{self.rows}).*\b{name}\b|\b{name}\b.*(?:{self.rows})"

    def window(self, day: date = DAY) -> Window:
        """The UTC day that holds the session."""
        return Window.of(day, day + timedelta(days=1))

    def truth(self, sim: Simulation, symbol: Symbol, resolution: Resolution, day: date = DAY) -> Truth:
        """What the vendor has for a session, at the simulated now."""
        start, end = (round(moment.timestamp() * 1000) for moment in (self.window(day).start, self.window(day).end))
        interval = resolution.value
        if self.shares:
            bars: Any = sim.stocks.bars(symbol.code, interval, start, end, adjusted=self.adjusted, count_call=False)
        else:
            bars = sim.exchange.bars(symbol.code, interval, start, end - 1, 1_000_000, count_call=False)
        return {bar.start: tuple(Decimal(value) for value in bar[1:6]) for bar in bars}


def _crypto(exchange: str, **more: Any) -> dict[str, Any]:
    return {"provider": "ccxt", "options": {"exchange": exchange}, "asset_class": "crypto", **more}


VENDORS = [
    Vendor(
        name="binance",
        settings=_crypto("binance"),
        quote="USDT",
        rows="klines",
        spelling=lambda symbol: symbol.code.replace("-", ""),
        errors=(
            ('{"code":-1003,"msg":"Too much request weight used"}', RateLimited),
            ('{"code":-1000,"msg":"An unknown error occurred"}', TransientVendorError),
            ('{"message":"maintenance"}', TransientVendorError),
        ),
        pages=2,
    ),
    Vendor(
        name="coinbase",
        settings=_crypto("coinbase"),
        quote="USD",
        rows="candles",
        spelling=lambda symbol: symbol.code,
        errors=(
            ('{"error":"INTERNAL","message":"try again"}', PermanentVendorError),
            ('{"message":"maintenance"}', TransientVendorError),
        ),
        pages=5,
    ),
    Vendor(
        name="kraken",
        settings=_crypto("kraken"),
        quote="USD",
        rows="OHLC",
        spelling=lambda symbol: symbol.code.replace("-USD", "ZUSD"),
        errors=(
            ('{"error":["EService:Unavailable"]}', TransientVendorError),
            ('{"error":["EAPI:Rate limit exceeded"]}', RateLimited),
            ('{"error":["EGeneral:Permission denied"]}', NotEntitled),
            ('{"error":[],"result":{}}', TransientVendorError),
        ),
        # Only the newest 720 bars can be had: of minutes not even a day.
        paged=Resolution.MINUTE_5,
    ),
    Vendor(
        name="yahoo",
        settings={"provider": "yahoo", "calendar": "XNYS", "alignment": "session"},
        # Splits come from the same path, by the day.
        rows=r"interval=[15]m",
        spelling=lambda symbol: symbol.code.replace(".", "-"),
        errors=(
            (
                '{"chart":{"result":null,"error":{"code":"Internal Server Error","description":"try again"}}}',
                TransientVendorError,
            ),
            (
                '{"finance":{"result":null,"error":{"code":"Too Many Requests","description":"Too Many Requests"}}}',
                RateLimited,
            ),
            (
                '{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}',
                UnknownSymbol,
            ),
            ('{"chart":{"result":[],"error":null}}', TransientVendorError),
            ('{"message":"maintenance"}', TransientVendorError),
        ),
        reaches_back=False,
        before_listing=HistoryNotAvailable,
        adjusted=True,
    ),
    Vendor(
        name="alpaca",
        settings={"provider": "alpaca", "options": {"key": "AKTESTPLUS", "secret": "a secret"}, "calendar": "XNYS"},
        rows="v2/stocks/bars",
        spelling=lambda symbol: symbol.code,
        errors=(
            ('{"message":"internal server error"}', TransientVendorError),
            ('{"code":42910000,"message":"too many requests."}', TransientVendorError),
            ('{"bars":{"QAZ":[]},"next_page_token":null}', TransientVendorError),
            ('{"bars":{}}', TransientVendorError),
        ),
        page_limit=100,
        pages=5,
        cursors=True,
    ),
    Vendor(
        name="massive",
        settings={"provider": "massive", "options": {"key": "a key"}, "calendar": "XNYS"},
        rows="v2/aggs",
        spelling=lambda symbol: symbol.code,
        errors=(
            ('{"status":"ERROR","request_id":"1","error":"Something went wrong"}', TransientVendorError),
            ('{"status":"ERROR","error":"You\'ve exceeded the maximum requests per minute"}', RateLimited),
            ('{"status":"NOT_AUTHORIZED","message":"You are not entitled to this data."}', NotEntitled),
            ('{"status":"OK"}', TransientVendorError),
            ('{"status":"OK","queryCount":390,"resultsCount":78}', TransientVendorError),
        ),
        page_limit=100,
        pages=5,
        cursors=True,
        counts_rows=True,
    ),
    Vendor(
        name="alpha_vantage",
        settings={
            "provider": "alpha_vantage",
            "options": {"key": "a key"},
            "calendar": "XNYS",
            # One day's calls are not enough for all that can go wrong.
            "daily_quota": {"calls": 100_000},
        },
        rows="TIME_SERIES_INTRADAY",
        spelling=lambda symbol: symbol.code.replace(".", "-"),
        errors=(
            (
                '{"Information":"Please consider spreading out your free API requests (1 request per second)."}',
                RateLimited,
            ),
            (
                '{"Note":"Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute."}',
                RateLimited,
            ),
            (
                '{"Information":"This is a premium endpoint. You may subscribe to any of the premium plans"}',
                NotEntitled,
            ),
            ('{"Error Message":"the parameter apikey is invalid or missing."}', NotEntitled),
            ('{"Error Message":"Invalid API call. Please retry"}', HistoryNotAvailable),
            ('{"Meta Data":{}}', TransientVendorError),
            ("timestamp,open,high", TransientVendorError),
        ),
    ),
]
