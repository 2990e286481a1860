"""This module turns ccxt's markets and tickers into canonical codes and instruments; they are requested by `provider`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from gb_pipeline.errors import InvalidSymbol
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import Instrument

PERPETUAL = "-PERP"
log = logging.getLogger(__name__)


def codes_of(markets: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """ccxt's own symbol of every spot pair and perpetual, by code; not every code is canonical."""
    codes: dict[str, str] = {}
    for market in markets:
        base, quote = market.get("base"), market.get("quote")
        if not base or not quote:
            continue
        if market.get("spot"):
            codes[f"{base}-{quote}".upper()] = market["symbol"]
        elif market.get("swap") and (market.get("linear") or f"{base}-{quote}{PERPETUAL}".upper() not in codes):
            # Where both exist, the perpetual that settles in its quote currency is meant.
            codes[f"{base}-{quote}{PERPETUAL}".upper()] = market["symbol"]
    return codes


def by_id(markets: Iterable[Mapping[str, Any]], *, perpetual: bool) -> str | None:
    """ccxt's own symbol of the one of these markets, which share the exchange's name, that is meant."""
    best_first = sorted(markets, key=lambda market: bool(market.get("swap")) != perpetual)
    return str(best_first[0]["symbol"]) if best_first else None


def instruments_of(
    exchange: str,
    codes: Mapping[str, str],
    markets: Mapping[str, Any],
    turnovers: Mapping[str, Decimal],
    *,
    decimal_places: bool = False,
) -> list[Instrument]:
    """What an exchange lists, by canonical code; what has none, such as a pair of a coin in Chinese, is left out and logged.

    Args:
        exchange: its name.
        codes: ccxt's symbol by code.
        markets: ccxt's description by its symbol.
        turnovers: quote volume of the last 24 hours by ccxt's symbol, where it is known.
        decimal_places: whether the exchange tells how many digits a price has, instead of its smallest step.
    """
    instruments, unnamed = [], []
    for code, name in sorted(codes.items()):
        market = markets[name]
        try:
            symbol = Symbol.crypto(code, exchange)
        except InvalidSymbol:
            unnamed.append(name)
            continue
        instrument = Instrument(
            symbol=symbol,
            # The exchange's own identifier may stand for a pair and a perpetual at once.
            vendor=name,
            name=str(market.get("id") or ""),
            # Not every exchange says so; what it lists then trades.
            active=market.get("active") is not False,
            quote=str(market["quote"]).upper(),
            listed_from=_day(market.get("created")),
            turnover=turnovers.get(name),
            tick_size=_tick_size(market, decimal_places=decimal_places),
            multiplier=_number(market.get("contractSize")) if market.get("contract") else None,
        )
        instruments.append(instrument)
    if unnamed:
        log.warning("%s lists %d markets without a canonical code: %s", exchange, len(unnamed), ", ".join(unnamed[:5]))
    return instruments


def turnovers_of(tickers: Mapping[str, Any]) -> dict[str, Decimal]:
    """Quote volume of the last 24 hours by ccxt's symbol; where only the base volume is told, times the average or last price.

    Args:
        tickers: ccxt's answer, with numbers as text.
    """
    turnovers = {}
    for name, ticker in tickers.items():
        volume = _number(ticker.get("quoteVolume"))
        if volume is None:
            base, price = _number(ticker.get("baseVolume")), _number(ticker.get("vwap") or ticker.get("last"))
            volume = None if base is None or price is None else base * price
        if volume is not None:
            turnovers[name] = volume
    return turnovers


def _tick_size(market: Mapping[str, Any], *, decimal_places: bool) -> Decimal | None:
    """The smallest step of a price; None where the exchange does not say."""
    told = _number((market.get("precision") or {}).get("price"))
    if told is None or not decimal_places:
        return told or None
    return Decimal(1).scaleb(-int(told)) if told == int(told) and told < 30 else None


def _number(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number >= 0 else None


def _day(milliseconds: object) -> date | None:
    """The UTC day of a moment; none before there was a bitcoin, which is how exchanges say that they do not know."""
    if not isinstance(milliseconds, int) or milliseconds < 1_230_768_000_000:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date()
    except (OverflowError, ValueError, OSError):
        return None
