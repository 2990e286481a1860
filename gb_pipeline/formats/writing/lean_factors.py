"""LEAN's map and factor files of equities, from the corporate actions of a lake.

A factor file has a line per change, `date,price factor,split factor,reference price`: the factors hold up to that date, the last
session before the ex date, whose close is the reference. A dividend multiplies the price factor by `(close - amount) / close`.
A map file says from when to when a ticker was traded; a ticker that changed is two symbols in a lake, and two files here.

Source: `Common/Data/Auxiliary/CorporateFactorRow.cs` and `MapFileRow.cs` of QuantConnect/Lean.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import polars as pl

from gb_pipeline.formats.writing.actions import decimal_text, dividends_of, splits_of
from gb_pipeline.formats.writing.base import Exported
from gb_pipeline.market.schema import DELISTING, LISTING

# The day after every day that LEAN knows.
_END = date(2050, 12, 31)
_PRICE_DIGITS, _SPLIT_DIGITS, _REFERENCE_DIGITS = 7, 8, 4


@dataclass(slots=True)
class _Closes:
    """The last close of each session before an ex date."""

    days: list[date]
    closes: list[Decimal]


class LeanFactors:
    """What factors of several series refer to, collected while bars are looked at."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._closes: dict[str, _Closes] = {}
        self._first: dict[str, date] = {}

    def inspect(self, series: Exported, bars: pl.DataFrame) -> None:
        """Keep the close of each session."""
        sessions = series.calendar.session_of(bars["timestamp"], series.resolution).alias("session")
        last = (
            bars.select("timestamp", "close", sessions)
            .drop_nulls("session")
            .group_by("session", maintain_order=True)
            .agg(pl.col("close").last())
        )
        known = self._closes.setdefault(series.name, _Closes([], []))
        for day, close in last.rows():
            if known.days and known.days[-1] == day:
                known.closes[-1] = close
            else:
                known.days.append(day)
                known.closes.append(close)

    def map_file(self, series: Exported, ticker: str) -> str:
        """From the listing, or the first bar, to the delisting, or for ever."""
        first, last = self._days(series)[0], _END
        for row in [] if series.actions is None else series.actions.to_dicts():
            if row["kind"] == LISTING:
                first = min(first, row["ex_date"])
            if row["kind"] == DELISTING:
                last = row["ex_date"]
        return "".join(f"{day:%Y%m%d},{ticker}\n" for day in (first, last))

    def factor_file(self, series: Exported) -> str | None:
        """None where the actions were never fetched, or are in the prices already."""
        if series.actions is None or series.adjustment != "none":
            return None
        splits, dividends = splits_of(series.actions), dividends_of(series.actions)
        price, split = Fraction(1), Fraction(1)
        lines = [_line(_END, price, split, Decimal(0))]
        for day in sorted({*splits, *dividends}, reverse=True):
            reference = self._before(series, day)
            if reference is None or day > self._days(series)[-1]:
                continue
            session, close = reference
            if day in dividends and close:
                price *= 1 - dividends[day] / Fraction(close)
            split /= splits.get(day, Fraction(1))
            lines.append(_line(session, price, split, close))
        first, close = self._days(series)[0], self._closes[series.name].closes[0]
        if not lines[-1].startswith(f"{first:%Y%m%d}"):
            lines.append(_line(first, price, split, close))
        return "".join(reversed(lines))

    def notes(self, series: Exported) -> list[str]:
        """Why there is no factor file."""
        if series.actions is None:
            return ["no factor file: corporate actions were never fetched"]
        return [] if series.adjustment == "none" else [f"no factor file: prices are {series.adjustment}"]

    def _days(self, series: Exported) -> list[date]:
        known = self._closes.get(series.name)
        return known.days if known is not None and known.days else [series.start.date()]

    def _before(self, series: Exported, day: date) -> tuple[date, Decimal] | None:
        """The last session before a day, and its close."""
        known = self._closes[series.name]
        place = bisect_left(known.days, day)
        return None if place == 0 else (known.days[place - 1], known.closes[place - 1])


def _line(day: date, price: Fraction, split: Fraction, reference: Decimal) -> str:
    numbers = (_rounded(price, _PRICE_DIGITS), _rounded(split, _SPLIT_DIGITS), _rounded(reference, _REFERENCE_DIGITS))
    return f"{day:%Y%m%d},{','.join(numbers)}\n"


def _rounded(value: Fraction | Decimal, digits: int) -> str:
    exact = (
        value if isinstance(value, Fraction) else Fraction(value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN))
    )
    return decimal_text(Fraction(round(exact * 10**digits), 10**digits))
