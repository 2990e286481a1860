"""This module knows what well-known files look like: vendors' layouts, and LEAN's scale and zone per market.

It is named data with the reason beside each; what an option means is in `options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv.options import DEFAULT_COLUMNS, CsvOptions

_CAPITALS = {name: name.capitalize() for name in ("open", "high", "low", "close", "volume")}

PRESETS: dict[str, dict[str, Any]] = {
    "generic": {"columns": DEFAULT_COLUMNS},
    # Yahoo's download: session dates, some years newest first. `Adj Close` is left alone: the lake stores raw bars.
    "yahoo": {"columns": {"timestamp": "Date", **_CAPITALS}},
    # A frame of the yfinance library written with to_csv, of one ticker or of several side by side: ISO with the exchange's
    # offset, `Date` or `Datetime` by version and interval. Prices are binary fractions of up to 15 decimals: such a source
    # needs `precision: wide`.
    "yfinance": {"columns": {"timestamp": ["Datetime", "Date"], **_CAPITALS}},
    # Quandl's WIKI: Open..Volume are raw, the columns `Adj. *` are adjusted as of the vendor's last snapshot.
    "wiki": {"columns": {"timestamp": "Date", **_CAPITALS}},
    # Investing.com's download, in its American form: newest first, the close is called Price, volumes end in K, M or B, and `-`
    # stands for none.
    "investing": {
        "columns": {"timestamp": "Date", **_CAPITALS, "close": "Price", "volume": ["Vol.", "Volume"]},
        "timestamp_format": "%m/%d/%Y", "thousands": ",", "suffixes": True, "null_values": ["", "-"],
    },
    # NinjaTrader's historical export: UTC, stamped at the bar's end, no header.
    "ninjatrader": {
        "columns": {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
        "delimiter": ";", "header": False, "timezone": "UTC", "stamp": "close", "timestamp_format": "%Y%m%d %H%M%S",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeanMarket:
    """How LEAN stores one market: the zone of its stamps and file dates, the unit of prices, the kind of its bars."""

    timezone: str
    price_scale: int = 1
    quotes: bool = False
    has_volume: bool = True


# Type and market as in LEAN's folders; a type alone holds for its other markets. The zone is LEAN's data time zone,
# which is not always the exchange's: most futures and all crypto are in UTC.
LEAN_MARKETS = {
    "crypto": LeanMarket("UTC"),
    "cryptofuture": LeanMarket("UTC"),
    # Equities and options of equities and indices are integers of a ten-thousandth: LEAN's oldest format.
    "equity/usa": LeanMarket("America/New_York", price_scale=10_000),
    "equity/india": LeanMarket("Asia/Kolkata", price_scale=10_000),
    "option/usa": LeanMarket("America/New_York", price_scale=10_000),
    "indexoption/usa": LeanMarket("America/New_York", price_scale=10_000),
    # Indices are calculated where their exchange is (Cboe for SPX), as plain decimals.
    "index/usa": LeanMarket("America/Chicago"),
    "index/ose": LeanMarket("Asia/Tokyo"),
    "index/eurex": LeanMarket("Europe/Berlin"),
    "index/hkfe": LeanMarket("Asia/Hong_Kong"),
    "index/india": LeanMarket("Asia/Kolkata"),
    # Over the counter: quotes only, and the sizes are always 0, which means unknown.
    "forex": LeanMarket("UTC", quotes=True, has_volume=False),
    # FXCM's server kept New York's winter time all year.
    "forex/fxcm": LeanMarket("Etc/GMT+5", quotes=True, has_volume=False),
    "cfd": LeanMarket("UTC", quotes=True, has_volume=False),
    "future/cme": LeanMarket("UTC"),
    "future/cbot": LeanMarket("UTC"),
    "future/comex": LeanMarket("UTC"),
    "future/nymex": LeanMarket("UTC"),
    "future/eurex": LeanMarket("Europe/Berlin"),
    "future/hkfe": LeanMarket("Asia/Hong_Kong"),
}
LEAN_RESOLUTIONS = {
    Resolution.SECOND: "second", Resolution.MINUTE: "minute", Resolution.HOUR: "hour", Resolution.DAY: "daily"
}  # fmt: skip
# trade: stamp, open, high, low, close, volume. quote: stamp, bid open..close and size, ask open..close and size.
_TRADE = {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
_BID = {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "ask_close": 9}
_ASK = {"timestamp": 0, "open": 6, "high": 7, "low": 8, "close": 9}
# Long bars of these types are named by the ticker alone.
_KIND_IN_DAILY_NAME = {"crypto", "cryptofuture", "future"}


def fill_preset(options: CsvOptions, resolution: Resolution) -> CsvOptions:
    """The options with their preset filled in; what the user wrote wins, columns one by one.

    Raises:
        ConfigError: a LEAN market that is not known.
    """
    preset = _lean(options, resolution) if options.preset == "lean" else PRESETS[options.preset]
    written = options.model_dump(exclude_unset=True)
    columns = dict(preset["columns"])
    if {"date", "time"} & set(options.columns):
        del columns["timestamp"]
    if options.layout == "wide":
        # A frame of pandas has no name over its dates.
        named = columns.get("timestamp", [])
        columns["timestamp"] = [*(named if isinstance(named, list) else [named]), 0]
        if "{field}" not in (options.path or ""):
            written["volume"] = "none"
    return CsvOptions.read(preset | written | {"preset": options.preset, "columns": columns | options.columns})


def _lean(options: CsvOptions, resolution: Resolution) -> dict[str, Any]:
    name = (options.lean_market or "").strip("/").lower()
    kind = name.partition("/")[0]
    market = LEAN_MARKETS.get(name) or LEAN_MARKETS.get(kind)
    if market is None:
        raise ConfigError(f"lean_market {name!r} is not known", fix=f"use one of {', '.join(sorted(LEAN_MARKETS))}")
    side = options.quote_side or ("bid" if market.quotes else None)
    bars = "quote" if side else "trade"
    folder = f"{name}/{LEAN_RESOLUTIONS.get(resolution, resolution)}"
    option = kind in {"option", "indexoption"}
    ticker = "{underlying}" if kind == "future" or option else "{ticker}"
    member = "*_{expiry}.csv" if kind == "future" else None
    if option:
        # Archives are named by the style as well, american or european, and those of longer bars by the year.
        member, style = "*_{right}_{strike}_{expiry}.csv", "_*"
        long_name = f"{folder}/{ticker}_*_{bars}_*.zip"
    else:
        style, long_name = "", f"{folder}/{ticker}{f'_{bars}' if kind in _KIND_IN_DAILY_NAME else ''}.zip"
    if resolution in {Resolution.SECOND, Resolution.MINUTE}:
        path, form = f"{folder}/{ticker}/{{date}}_{bars}{style}.zip", "ms_of_day"
    else:
        path, form = long_name, "%Y%m%d %H:%M"
    return {
        "path": path,
        "member": member,
        "columns": _TRADE if side is None else _BID if side == "bid" else _ASK,
        "header": False,
        "timezone": market.timezone,
        "timestamp_format": form,
        "price_scale": market.price_scale,
        # A quote bar's sizes are what stood in the book last, not what was traded.
        "volume": "none" if side or not market.has_volume else "column",
    }
