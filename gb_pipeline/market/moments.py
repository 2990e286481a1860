"""Moments: microseconds since 1970 in UTC, as numbers, as Python has them, and as an expression.

Belongs here: turning one into another. Does not belong here: asking a clock (`storage.commit.wall_clock`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INSTANT = pl.Datetime("us", "UTC")


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The moment of so many microseconds since 1970, in UTC."""
    return EPOCH + value * MICROSECOND


def instant(moment: datetime) -> pl.Expr:
    """A moment as a literal of type Datetime us UTC.

    `pl.lit` of an aware moment makes a series and converts its zone: 0.1 ms, as long as all else that a small write asks of
    Polars takes together.
    """
    return pl.lit(microseconds(moment)).cast(INSTANT)
