"""This module translates canonical codes into Yahoo's spelling and back."""

from __future__ import annotations

import re
from typing import Any

from gb_pipeline.errors import InvalidSymbol, UnknownSymbol
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.yahoo.errors import WHO

# After a dot, one letter is a class of shares (BRK.B), unless it is one of these exchanges: Frankfurt, London, Tokyo, TSX Venture.
_EXCHANGE_LETTERS = frozenset("FLTV")
_AMERICAN = frozenset({"XNYS", "XNAS", "ARCX", "XASE", "BATS", "IEXG"})
_CLASS = re.compile(r"([A-Z0-9]+)\.([A-Z])")
_MICS = {
    "NMS": "XNAS", "NGM": "XNAS", "NCM": "XNAS", "NYQ": "XNYS", "PCX": "ARCX", "ASE": "XASE", "BTS": "BATS",
    "LSE": "XLON", "JPX": "XTKS", "FRA": "XFRA", "GER": "XETR", "PAR": "XPAR", "AMS": "XAMS", "TOR": "XTSE", "HKG": "XHKG",
    "ASX": "XASX", "NSI": "XNSE", "EBS": "XSWX", "MIL": "XMIL", "KSC": "XKRX",
}  # fmt: skip
_CLASSES = {
    "EQUITY": AssetClass.EQUITY,
    "ETF": AssetClass.EQUITY,
    "MUTUALFUND": AssetClass.EQUITY,
    "INDEX": AssetClass.EQUITY,
    "CRYPTOCURRENCY": AssetClass.CRYPTO,
    "CURRENCY": AssetClass.FOREX,
    "OPTION": AssetClass.OPTION,
}


def vendor_code(symbol: Symbol) -> str:
    """Yahoo's spelling: `BRK-B`, `BTC-USD`, `EURUSD=X`; `7203.T` and `VOD.L` are Yahoo's own.

    Raises:
        UnknownSymbol: Yahoo has no such kind of instrument, or no spelling can be derived.

    Example:
        >>> vendor_code(Symbol.equity("BRK.B")), vendor_code(Symbol.forex("EUR-USD"))
        ('BRK-B', 'EURUSD=X')
    """
    if symbol.asset_class is AssetClass.FOREX:
        return symbol.code.replace("-", "") + "=X"
    if symbol.asset_class in {AssetClass.FUTURE, AssetClass.PREDICTION} or symbol.code.endswith("-PERP"):
        raise UnknownSymbol(
            f"{WHO} has no instrument under {symbol.code}", fix="give Yahoo's spelling as `vendor`, such as ES=F"
        )
    if symbol.asset_class is not AssetClass.EQUITY:
        return symbol.code
    classes = _CLASS.fullmatch(symbol.code)
    if classes and (symbol.exchange in _AMERICAN or classes[2] not in _EXCHANGE_LETTERS):
        return f"{classes[1]}-{classes[2]}"
    return symbol.code


def instrument(quote: dict[str, Any]) -> Instrument | None:
    """What a search found, under a canonical code; None for kinds without one, such as continuous futures.

    Args:
        quote: an item of `quotes`.
    """
    vendor, kind = str(quote.get("symbol") or ""), _CLASSES.get(str(quote.get("quoteType") or "").upper())
    if not vendor or kind is None:
        return None
    code = vendor.removeprefix("^")
    if kind is AssetClass.FOREX:
        pair = vendor.removesuffix("=X")
        code = f"USD{pair}" if len(pair) == 3 else pair
    elif kind is AssetClass.EQUITY:
        code = re.sub(r"^([A-Z0-9]+)-([A-Z])$", r"\1.\2", code)
    try:
        symbol = Symbol.of(code, kind, _MICS.get(str(quote.get("exchange")), ""))
    except InvalidSymbol:
        return None
    quoted = symbol.code.rpartition("-")[2] if kind in {AssetClass.CRYPTO, AssetClass.FOREX} else ""
    name = quote.get("longname") or quote.get("shortname") or ""
    return Instrument(symbol, vendor, name=str(name), quote=quoted)
