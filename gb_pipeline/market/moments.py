"""This module converts moments between Python datetimes, microseconds or days since 1970 in UTC and Polars literals.

It never asks a clock for the present (`storage.commit.wall_clock` does).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INSTANT = pl.Datetime("us", "UTC")
_EPOCH_DAY = EPOCH.toordinal()


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The moment that lies this many microseconds after 1970, in UTC."""
    return EPOCH + value * MICROSECOND


def day_number(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - _EPOCH_DAY


def instant_literal(moment: datetime) -> pl.Expr:
    """A moment as a literal of type Datetime us UTC.

    `pl.lit` of an aware datetime makes a series and converts its zone. That takes 0.1 ms, as long as everything else that a
    small write asks of Polars.
    """
    return pl.lit(microseconds(moment)).cast(INSTANT)
