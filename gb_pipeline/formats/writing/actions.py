"""Splits and dividends of a series, as other tools write them down: by session, in shares of one day or another."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from gb_pipeline.market.adjust import as_fraction
from gb_pipeline.market.schema import CASH_DIVIDEND, SPLIT

_DIGITS = 18


def splits_of(actions: pl.DataFrame) -> dict[date, Fraction]:
    """New shares per old share by ex date; several of one day multiplied.

    Example:
        >>> splits_of(lake.corporate_actions("AAPL"))
        {datetime.date(2014, 6, 9): Fraction(7, 1)}
    """
    found: dict[date, Fraction] = {}
    for row in actions.filter(pl.col("kind") == SPLIT).to_dicts():
        ratio = as_fraction(row["split_to"], row["split_from"])
        found[row["ex_date"]] = found.get(row["ex_date"], Fraction(1)) * ratio
    return found


def dividends_of(actions: pl.DataFrame) -> dict[date, Fraction]:
    """Cash per share by ex date, in shares of that day; several of one day added."""
    found: dict[date, Fraction] = {}
    for row in actions.filter(pl.col("kind") == CASH_DIVIDEND).to_dicts():
        found[row["ex_date"]] = found.get(row["ex_date"], Fraction(0)) + Fraction(row["amount"])
    return found


def in_newest_shares(dividends: dict[date, Fraction], splits: dict[date, Fraction]) -> dict[date, Fraction]:
    """Dividends per share of today: each divided by the splits after its ex date."""
    return {day: amount / _product(splits, day) for day, amount in dividends.items()}


def by_session(actions: dict[date, Fraction], sessions: Sequence[date], *, multiplied: bool) -> dict[date, Fraction]:
    """Each action on the first session from its ex date on; those before the first and after the last session are none of it."""
    found: dict[date, Fraction] = {}
    for day, value in sorted(actions.items()):
        place = bisect_left(sessions, day)
        if day < sessions[0] or place == len(sessions):
            continue
        session = sessions[place]
        found[session] = (
            value if session not in found else found[session] * value if multiplied else found[session] + value
        )
    return found


def decimal_text(value: Fraction) -> str:
    """Up to 18 decimals, without trailing zeros.

    Example:
        >>> decimal_text(Fraction(3, 2)), decimal_text(Fraction(1, 3))
        ('1.5', '0.333333333333333333')
    """
    scaled = round(value * 10**_DIGITS)
    text = f"{Decimal(scaled).scaleb(-_DIGITS):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _product(splits: dict[date, Fraction], after: date) -> Fraction:
    product = Fraction(1)
    for day, ratio in splits.items():
        if day > after:
            product *= ratio
    return product
