"""What the simulated stock market lists: tickers, names, venues, typical prices and turnovers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation.instruments import Instrument

# FIGIs have no vowels.
_FIGI = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
FIRST_SESSION = date(2000, 1, 3)
PRICE_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Listing:
    """One listed stock, as it is known at a moment.

    Attributes:
        code: canonical code, `AAPL` or `BRK.B`.
        name: the company's or fund's name.
        mic: ISO 10383 code of the primary venue.
        kind: `stock` or `etf`.
        list_date: the first session.
        delisted: the first day without trading, None where none is known yet.
        active: whether it trades now.
        currency: of its prices.
        price: typical price before any split.
        turnover: typical money of one minute in regular hours.
        identity: the code that it has for good, whatever its ticker is.
    """

    code: str
    name: str
    mic: str
    kind: str
    price: float
    turnover: float
    list_date: date = FIRST_SESSION
    delisted: date | None = None
    active: bool = True
    currency: str = "USD"
    identity: str = ""

    def figi(self, kind: str) -> str:
        """Its FIGI of a kind, such as `composite`: of the form that OpenFIGI gives out, and the same whatever its ticker is."""
        digest = hashlib.sha256(f"{kind} {self.identity}".encode()).digest()
        return "BBG00" + "".join(_FIGI[each % len(_FIGI)] for each in digest[:7])

    @property
    def isin(self) -> str:
        """Its ISIN, with a check digit that is right."""
        digest = hashlib.sha256(f"isin {self.identity}".encode()).digest()
        body = "US" + "".join(str(each % 10) for each in digest[:9])
        digits = "".join(str(int(each, 36)) for each in body)
        doubled = [int(each) * (2 - number % 2) for number, each in enumerate(reversed(digits))]
        return body + str(-sum(each // 10 + each % 10 for each in doubled) % 10)

    @property
    def instrument(self) -> Instrument:
        """What the price path is made for: cents and whole shares."""
        return Instrument(self.code, self.price, PRICE_DIGITS, 0, self.turnover)


# Name, venue, kind, price and turnover a minute, close to what the tape showed in 2024.
_KNOWN = {
    "AAPL": ("Apple Inc.", "XNAS", "stock", 189.5, 2.6e7),
    "MSFT": ("Microsoft Corporation", "XNAS", "stock", 410.2, 2.1e7),
    "NVDA": ("NVIDIA Corporation", "XNAS", "stock", 880.4, 9.0e7),
    "AMZN": ("Amazon.com, Inc.", "XNAS", "stock", 178.9, 1.9e7),
    "GOOGL": ("Alphabet Inc. Class A", "XNAS", "stock", 156.3, 1.1e7),
    "META": ("Meta Platforms, Inc.", "XNAS", "stock", 497.8, 1.8e7),
    "TSLA": ("Tesla, Inc.", "XNAS", "stock", 181.6, 4.4e7),
    "BRK.B": ("Berkshire Hathaway Inc. Class B", "XNYS", "stock", 408.7, 3.8e6),
    "JPM": ("JPMorgan Chase & Co.", "XNYS", "stock", 196.1, 4.6e6),
    "IBM": ("International Business Machines Corporation", "XNYS", "stock", 188.2, 2.1e6),
    "KO": ("The Coca-Cola Company", "XNYS", "stock", 60.4, 2.0e6),
    "SPY": ("SPDR S&P 500 ETF Trust", "ARCX", "etf", 512.3, 9.0e7),
}
DEFAULT_TICKERS = tuple(_KNOWN)


def make_listing(code: str) -> Listing:
    """The listing under a ticker; of one that nobody knows, name, price and turnover follow from the ticker.

    Raises:
        InvalidSymbol: no canonical code can be made of it.
    """
    symbol = Symbol.equity(code).code
    if symbol in _KNOWN:
        return Listing(symbol, *_KNOWN[symbol], identity=symbol)
    digest = hashlib.sha256(symbol.encode()).digest()
    price = round(float(10 ** (0.9 + 1.7 * digest[0] / 255)), 2)
    return Listing(
        symbol, f"{symbol} Corporation", "XNAS", "stock", price, 20_000.0 * (1 + digest[1] / 4), identity=symbol
    )
