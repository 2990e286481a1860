"""This module translates canonical codes into Massive's tickers and back."""

from __future__ import annotations

import re

from gb_pipeline.market.symbol import AssetClass, Symbol

# Tickers are case-sensitive: `BACpK` is a preferred share of BAC, `BACPK` would be another company. The tape's own
# spelling, BAC.PRK, has no small letters and is what other vendors use.
_PREFERRED = re.compile(r"([A-Z]+)p([A-Z]*)")
_PREFERRED_CODE = re.compile(r"([A-Z]+)\.PR([A-Z]*)")
_PREFIXES = {AssetClass.CRYPTO: "X:", AssetClass.FOREX: "C:"}


def ticker(symbol: Symbol) -> str:
    """The vendor's ticker of a symbol.

    Example:
        >>> [ticker(Symbol.equity("BAC.PRK")), ticker(Symbol.equity("BRK.B")), ticker(Symbol.crypto("BTC-USD"))]
        ['BACpK', 'BRK.B', 'X:BTCUSD']
    """
    if symbol.asset_class in _PREFIXES:
        return _PREFIXES[symbol.asset_class] + symbol.code.replace("-", "")
    preferred = _PREFERRED_CODE.fullmatch(symbol.code)
    return f"{preferred[1]}p{preferred[2]}" if preferred else symbol.code


def canonical_code(vendor: str, asset_class: AssetClass, base: str | None = None, quote: str | None = None) -> str:
    """The canonical code of a ticker; other small letters than a preferred share's are not told apart from large ones.

    Args:
        vendor: the ticker.
        asset_class: of the list that it stands in.
        base, quote: currencies of a pair, as its record names them.

    Example:
        >>> canonical_code("BACpK", AssetClass.EQUITY)
        'BAC.PRK'
    """
    if asset_class in _PREFIXES:
        return f"{base}-{quote}" if base and quote else vendor.removeprefix(_PREFIXES[asset_class])
    preferred = _PREFERRED.fullmatch(vendor)
    return f"{preferred[1]}.PR{preferred[2]}" if preferred else vendor
