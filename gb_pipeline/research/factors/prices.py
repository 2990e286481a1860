"""`EquityPricing` and `Prices`: the bars of a lake as terms. Both are the same; the first is zipline's name for them."""

from __future__ import annotations

from gb_pipeline.research.factors.nodes import Axis, Node
from gb_pipeline.research.factors.terms import Factor

FIELDS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")


class DailyPrices:
    """Columns of the bar of the session before the row's own, in shares of the row's own day.

    Example:
        >>> EquityPricing.close / EquityPricing.close.shift(1) - 1
    """

    @property
    def open(self) -> Factor:
        """First price."""
        return field("open")

    @property
    def high(self) -> Factor:
        """Highest price."""
        return field("high")

    @property
    def low(self) -> Factor:
        """Lowest price."""
        return field("low")

    @property
    def close(self) -> Factor:
        """Last price."""
        return field("close")

    @property
    def volume(self) -> Factor:
        """Shares, coins or contracts that changed hands."""
        return field("volume")

    @property
    def vwap(self) -> Factor:
        """The vendor's volume-weighted average price; null where it has none."""
        return field("vwap")

    @property
    def trade_count(self) -> Factor:
        """How many trades; null where the vendor does not say."""
        return field("trade_count")


def field(name: str) -> Factor:
    """The term of one of `FIELDS`."""
    return Factor(Node("price", (name,), axis=Axis.SOURCE))


Prices = DailyPrices()
EquityPricing = Prices
