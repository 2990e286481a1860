"""This module translates canonical codes into Alpha Vantage's spelling and back."""

from __future__ import annotations

import re

from gb_pipeline.errors import InvalidSymbol
from gb_pipeline.market.symbol import Symbol

# The vendor's names of venues; ISO 10383 codes.
_VENUES = {"NASDAQ": "XNAS", "NYSE": "XNYS", "NYSE ARCA": "ARCX", "NYSE MKT": "XASE", "BATS": "BATS"}


def spelling(code: str) -> str:
    """The vendor's spelling of a canonical code: classes and preferred shares take hyphens.

    Example:
        >>> spelling("BRK.B"), spelling("BAC.PRK"), spelling("TSCO.LON")
        ('BRK-B', 'BAC-P-K', 'TSCO.LON')
    """
    return re.sub(r"\.([A-Z])$", r"-\1", re.sub(r"\.PR([A-Z]?)$", lambda m: f"-P{m[1] and '-' + m[1]}", code))


def canonical(name: str) -> str:
    """The canonical code of a vendor's spelling: the way back.

    Example:
        >>> canonical("BRK-B"), canonical("BAC-P-K"), canonical("AAC-WS")
        ('BRK.B', 'BAC.PRK', 'AAC-WS')
    """
    return re.sub(r"-([A-Z])$", r".\1", re.sub(r"-P(?:-([A-Z]))?$", lambda m: f".PR{m[1] or ''}", name))


def equity(name: str, exchange: str = "") -> Symbol | None:
    """The symbol of a vendor's spelling; None where no canonical code can be made of it.

    Args:
        name: the vendor's spelling.
        exchange: the vendor's name of the venue, where it says one.
    """
    try:
        return Symbol.equity(canonical(name), _VENUES.get(exchange, ""))
    except InvalidSymbol:
        return None
