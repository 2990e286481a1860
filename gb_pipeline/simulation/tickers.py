"""What exchanges report about the last 24 hours: open, extremes, last price, volume, turnover and trades."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from gb_pipeline.simulation.exchange import Exchange
from gb_pipeline.simulation.instruments import Instrument

DAY_MS = 86_400_000


class Ticker(NamedTuple):
    """One instrument's last 24 hours, to the hour; numbers are exact text."""

    open: str
    high: str
    low: str
    last: str
    volume: str
    turnover: str
    trades: int


def get_ticker(exchange: Exchange, item: Instrument) -> Ticker | None:
    """The last 24 hours of an instrument up to the simulated now; None where nothing traded."""
    now = exchange.now
    bars = exchange.bars(item.code, "1h", now - DAY_MS, now, 25, count_call=False)
    if not bars:
        return None
    return Ticker(
        bars[0].open,
        max((bar.high for bar in bars), key=Decimal),
        min((bar.low for bar in bars), key=Decimal),
        bars[-1].close,
        str(sum((Decimal(bar.volume) for bar in bars), Decimal())),
        str(sum((Decimal(bar.quote_volume) for bar in bars), Decimal())),
        sum(bar.trades for bar in bars),
    )


def get_tickers(exchange: Exchange, listed: Mapping[str, Instrument]) -> dict[str, Ticker]:
    """Those of all instruments that traded, by the vendor's own name."""
    by_name = {name: get_ticker(exchange, item) for name, item in listed.items()}
    return {name: summary for name, summary in by_name.items() if summary is not None}
