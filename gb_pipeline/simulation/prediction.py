"""A market of contracts on prices of cryptocurrencies, which open and end every hour: what Kalshi's dialects show.

A contract pays a dollar if its pair is above a strike at the end of its hour. What it is worth is a walk of its own, the same every
time; books and trades are in cents and whole contracts here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from gb_pipeline.simulation.exchange import Exchange
from gb_pipeline.simulation.market import MINUTE_MS

HOUR_MS = 60 * MINUTE_MS
SECOND_MS = 1000
_PAIRS = {"KXBTCD": "BTC", "KXBTC": "BTC", "KXETHD": "ETH", "KXSOLD": "SOL"}
_STRIKES = 5
_LEVELS = 4
_CHEAPEST, _DEAREST = 6, 94
# A trade happens in one of so many seconds.
_SECONDS_PER_TRADE = 3


class Contract(NamedTuple):
    """One contract: ticker, series, the hour in which it is traded as epoch milliseconds, and its strike's place in the row."""

    ticker: str
    series: str
    opens: int
    closes: int
    place: int


class ContractTrade(NamedTuple):
    """One trade: identity, epoch milliseconds, cents of YES, contracts, and which side the taker bought."""

    identity: str
    time: int
    cents: int
    size: int
    side: str


Book = dict[tuple[str, int], int]


@dataclass(slots=True)
class PredictionMarket:
    """All contracts.

    Args:
        exchange: whose prices they are about, and whose clock holds.

    Attributes:
        public_keys: PEM by key id; signatures of those that are here are verified, others are believed.
    """

    exchange: Exchange
    public_keys: dict[str, str] = field(default_factory=dict)

    @property
    def now(self) -> int:
        """Epoch milliseconds."""
        return self.exchange.now

    def series(self) -> list[str]:
        """Names of all series, in no order that means anything."""
        return [*_PAIRS, "KXHIGHNY"]

    def contracts(self, series: str, now: int) -> list[Contract]:
        """Those of a series that are open."""
        if series not in _PAIRS:
            return []
        hour = now // HOUR_MS * HOUR_MS
        return [_contract(series, hour, place) for place in range(_STRIKES)]

    def contract(self, ticker: str, now: int) -> Contract | None:
        """An open contract, None where there is none of that ticker."""
        series = ticker.partition("-")[0]
        return next((item for item in self.contracts(series, now) if item.ticker == ticker), None)

    def cents(self, contract: Contract, second: int) -> int:
        """What YES is worth in a second since 1970, in cents."""
        drift = _noise(contract.ticker, second // 20, "drift") % 41 - 20
        jitter = _noise(contract.ticker, second, "jitter") % 5 - 2
        fair = 50 + 12 * (_STRIKES // 2 - contract.place) + drift + jitter
        return max(_CHEAPEST, min(_DEAREST, fair))

    def book(self, contract: Contract, second: int) -> Book:
        """Bids of both sides after a second: contracts by side and cents."""
        return dict(_book(contract, self.cents(contract, second), second))

    def trades(self, contract: Contract, start: int, end: int) -> list[ContractTrade]:
        """Trades within [start, end), epoch milliseconds, oldest first."""
        start, end = max(start, contract.opens), min(end, contract.closes)
        trades = []
        for second in range(start // SECOND_MS, -(-end // SECOND_MS)):
            chance = _noise(contract.ticker, second, "trade")
            moment = second * SECOND_MS + chance % SECOND_MS
            if chance % _SECONDS_PER_TRADE == 0 and start <= moment < end:
                digits = f"{_noise(contract.ticker, second, 'id'):08x}"
                trades.append(
                    ContractTrade(
                        f"{digits}-0000-4000-8000-{second:012x}",
                        moment,
                        self.cents(contract, second),
                        1 + chance // 7 % 50,
                        "yes" if chance // 11 % 2 else "no",
                    )
                )
        return trades


def _contract(series: str, opens: int, place: int) -> Contract:
    closes = opens + HOUR_MS
    name = f"{series}-{datetime.fromtimestamp(closes / 1000, UTC):%y%b%d%H}".upper()
    return Contract(f"{name}-T{(place + 1) * 1000 - 0.01:.2f}", series, opens, closes, place)


@lru_cache(maxsize=4096)
def _book(contract: Contract, cents: int, second: int) -> tuple[tuple[tuple[str, int], int], ...]:
    levels = []
    for level in range(_LEVELS):
        # Deep levels change less often.
        size = 100 + _noise(contract.ticker, second // (level + 1), f"size{level}") % 400
        levels.append((("yes", cents - 1 - level), size))
        levels.append((("no", 100 - cents - 1 - level), size + 7))
    return tuple(levels)


def _noise(*parts: object) -> int:
    return zlib.crc32("|".join(map(str, parts)).encode())
