"""This module holds the rules that a source's bars are validated against, as one value.

They are applied in `bars` and `gaps`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment, Precision


class GapPolicy(StrEnum):
    """What an absent bar means at this vendor."""

    NO_TRADE = "no_trade"
    """The vendor publishes no bar where nothing traded (Coinbase, Alpaca, Massive): absent means no trade."""
    OPEN = "open"
    """The vendor publishes every bar (Binance): an absent one is unexplained and requested again."""


class Alignment(StrEnum):
    """Where intraday bars start."""

    CLOCK = "clock"
    """On the local clock: 09:00, 10:00 (Alpaca, Massive, LEAN)."""
    SESSION = "session"
    """From the session's open: 09:30, 10:30 (Yahoo)."""


@dataclass(frozen=True, slots=True)
class BarRules:
    """How bars of one source and resolution are validated.

    Attributes:
        resolution: the length of the bars.
        calendar: which sessions there are, and when trading is open.
        alignment: the grid of intraday bars.
        precision: how many digits a number may have.
        gap_policy: what an absent bar means.
        max_bad_fraction: a session with a larger share of bad rows is refused whole.
        allow_negative_prices: zero and negative prices are real for some futures and spreads.
        allow_unaligned: keep bars that start off the grid.
        grace: a bar counts as closed this long after its end.
        adjustment: what the vendor did to its prices; it is recorded, and a series never changes it.
    """

    resolution: Resolution = Resolution.MINUTE
    calendar: Calendar = field(default_factory=lambda: get_calendar("24/7"))
    alignment: Alignment = Alignment.CLOCK
    precision: Precision = Precision.STANDARD
    gap_policy: GapPolicy = GapPolicy.OPEN
    max_bad_fraction: float = 0.01
    allow_negative_prices: bool = False
    allow_unaligned: bool = False
    grace: timedelta = timedelta(seconds=5)
    adjustment: Adjustment = Adjustment.RAW
