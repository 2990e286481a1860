"""This module lists what each exchange of ccxt does differently, as data, each with its reason and where it is known from.

Page sizes, paces, candle layouts and refusals are here; `provider` acts on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.providers.candles import Layout


@dataclass(frozen=True, slots=True)
class Quirks:
    """One exchange.

    Attributes:
        page: most bars in one answer.
        deep_history: False where only the newest `page` bars can be had.
        until: whether `fetch_ohlcv` understands `until`.
        layout: the raw candle, where it is known; it spares ccxt's slower parsing and keeps trade counts.
        setup: requests that the list of markets takes.
        rate: a pace that the vendor documents for requests without a key.
        trusted: whether page size and end of window were tried.
        config: what the client is built with.
        perpetuals: options that load perpetual swaps as well.
    """

    page: int
    deep_history: bool = True
    until: bool = True
    layout: Layout | None = None
    rate: RateLimit | None = None
    trusted: bool = False
    setup: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    perpetuals: Mapping[str, Any] = field(default_factory=dict)


_LIST = {"open": 1, "high": 2, "low": 3, "close": 4}

QUIRKS: Mapping[str, Quirks] = MappingProxyType(
    {
        # Klines: 1000 a page (500 by default), weight 2 of 6000 a minute and address, so 50 a second; half of it leaves
        # room for others behind the same address. Markets: by default ccxt also loads both futures exchanges.
        "binance": Quirks(
            page=1000,
            layout=Layout(0, 1, {**_LIST, "volume": 5, "trade_count": 8}),
            rate=RateLimit(calls=25, seconds=1),
            trusted=True,
            config={"options": {"fetchMarkets": {"types": ["spot"]}}},
            perpetuals={"fetchMarkets": {"types": ["spot", "linear", "inverse"]}},
        ),
        # 300 buckets a page, and both ends count. Public requests: 10 a second and address; ccxt's own pace is faster.
        "coinbase": Quirks(
            page=299,
            layout=Layout("start", 1000, {name: name for name in (*_LIST, "volume")}, rows=("candles",)),
            rate=RateLimit(calls=8, seconds=1),
            trusted=True,
            # Spot and futures are two lists, whatever is wanted.
            setup=2,
        ),
        # Returns the newest 720 bars whatever `since` says (docs.kraken.com, get-ohlc-data), without an error.
        "kraken": Quirks(
            page=720,
            deep_history=False,
            until=False,
            layout=Layout(0, 1000, {**_LIST, "vwap": 5, "volume": 6, "trade_count": 7}, rows=("result", "*")),
            rate=RateLimit(calls=1, seconds=1),
            trusted=True,
        ),
    }
)
# Where ccxt does not say how many bars a page has, ask for what every exchange serves.
_SMALL_PAGE = 100


def quirks_of(client: Any) -> Quirks:
    """The exchange's own entry, or what ccxt's source says about it, which then is not trusted."""
    own = QUIRKS.get(client.id)
    if own is not None:
        return own
    features = (client.features or {}).get("spot") or {}
    limit = (features.get("fetchOHLCV") or {}).get("limit")
    code = type(client).fetch_ohlcv.__code__
    pause = max(1.0, float(client.rateLimit or 1000))
    return Quirks(
        page=int(limit) if limit else _SMALL_PAGE,
        # ccxt keeps no list of who understands `until`; whoever does reads it by one of these names.
        until="until" in code.co_consts or "handle_until_option" in code.co_names,
        rate=RateLimit(calls=max(1, int(1000 / pause)), seconds=max(1.0, pause / 1000)),
    )
