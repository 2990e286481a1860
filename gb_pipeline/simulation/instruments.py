"""What the simulated crypto market lists: codes, price and volume grids, typical prices and turnovers.

How prices move is in `market`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import Symbol

PERPETUAL = "-PERP"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One listed pair.

    Attributes:
        code: canonical code, `BTC-USDT` or `BTC-USDT-PERP`.
        price: typical price in quote currency.
        price_digits: decimals of the price grid: 2 is a tick of 0.01.
        volume_digits: decimals of the volume grid: 5 is a step of 0.00001.
        turnover: typical quote volume of one minute.
    """

    code: str
    price: float
    price_digits: int
    volume_digits: int
    turnover: float

    @property
    def base(self) -> str:
        """`BTC`."""
        return self.code.removesuffix(PERPETUAL).rpartition("-")[0]

    @property
    def quote(self) -> str:
        """`USDT`."""
        return self.code.removesuffix(PERPETUAL).rpartition("-")[2]

    @property
    def perpetual(self) -> bool:
        """Whether it is a perpetual swap instead of a spot pair."""
        return self.code.endswith(PERPETUAL)


# Price, price decimals, volume decimals and turnover a minute, close to what large venues showed in 2024.
_KNOWN = {
    "BTC": (62_000.0, 2, 5, 900_000.0),
    "ETH": (3_100.0, 2, 4, 500_000.0),
    "SOL": (148.0, 2, 3, 220_000.0),
    "BNB": (570.0, 2, 3, 90_000.0),
    "XRP": (0.5213, 4, 0, 110_000.0),
    "ADA": (0.4417, 4, 1, 40_000.0),
    "DOGE": (0.13652, 5, 0, 90_000.0),
    "LTC": (83.4, 2, 3, 30_000.0),
    "LINK": (14.83, 3, 2, 35_000.0),
    "AVAX": (31.27, 3, 2, 40_000.0),
    "DOT": (6.412, 3, 2, 20_000.0),
    "BCH": (398.5, 1, 3, 18_000.0),
}
# Prices of more decimals, and volumes of more digits, than `precision: standard` holds; listed where somebody names it.
_FINE = {"BABYDOGE": (0.000000001234, 15, 1, 9_000.0)}
DEFAULT_SYMBOLS = tuple(f"{base}-{quote}" for quote in ("USDT", "USD") for base in _KNOWN)


def make_instrument(code: str) -> Instrument:
    """The instrument under a canonical code; of a base that nobody knows, price and grid follow from its name.

    Raises:
        InvalidSymbol: not a canonical code.
        ConfigError: no pair of base and quote.
    """
    symbol = Symbol.crypto(code)
    base, _, quote = symbol.code.removesuffix(PERPETUAL).rpartition("-")
    if not base or not quote:
        raise ConfigError(f"{code!r} is not a pair of currencies", fix="write base and quote: BTC-USDT")
    price, price_digits, volume_digits, turnover = (_KNOWN | _FINE).get(base) or _derive(base)
    return Instrument(symbol.code, price, price_digits, volume_digits, turnover)


def _derive(base: str) -> tuple[float, int, int, float]:
    digest = hashlib.sha256(base.encode()).digest()
    exponent = 4 * digest[0] / 255 - 1
    price = 10**exponent
    # Five to six digits in a price, as on real venues; the higher the price, the finer the volume.
    price_digits = max(1, min(6, 5 - int(exponent + 1)))
    volume_digits = max(0, min(5, int(exponent + 1.5)))
    return price, price_digits, volume_digits, 10_000.0 * (1 + digest[1] / 16)
