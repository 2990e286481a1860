"""Map and factor files of LEAN's shares as corporate actions.

A row of a factor file says by what prices up to its day are multiplied: a split or a dividend lies between two rows, and takes
effect on the first session after the day of the first one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.schema import ACTIONS_RECEIVED, CASH_DIVIDEND, DELISTING, SPLIT

# LEAN's end of time: still listed, and a last row that says nothing.
_FAR = date(2050, 1, 1)
_CENT = Decimal("0.0001")
# Factors have seven digits: a ratio of small numbers is meant.
_LARGEST_DENOMINATOR, _TOLERANCE = 1000, Fraction(1, 100_000)


def read_actions(market: Path, codes: Collection[str], calendar: str) -> tuple[pl.DataFrame, list[str]]:
    """Splits, dividends and delistings of some symbols, columns of `ACTIONS_RECEIVED` and `symbol`; and what cannot be told."""
    sessions = get_calendar(calendar)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    renamed: list[str] = []
    for code in sorted(codes):
        factors, names = market / "factor_files" / f"{code.lower()}.csv", market / "map_files" / f"{code.lower()}.csv"
        if factors.is_file():
            rows += _events(code, factors, sessions)
        if names.is_file():
            lines = list(_lines(names, 2))
            tickers = list(dict.fromkeys(fields[1].upper() for _, fields, _ in lines))
            if len(tickers) > 1:
                renamed.append(f"{code} ({', '.join(t for t in tickers if t != code)})")
            if lines and lines[-1][0] < _FAR:
                rows.append(_row(code, DELISTING, lines[-1][0] + timedelta(days=1)))
    if any(row["kind"] == CASH_DIVIDEND for row in rows):
        notes.append("Dividends are computed from factors and closes, to a hundredth of a cent, and have no currency.")
    if renamed:
        notes.append(
            f"Bars from before a change of the ticker stand in files of the old one: {', '.join(renamed[:5])}."
        )
    return pl.DataFrame(rows, schema={"symbol": pl.String(), **ACTIONS_RECEIVED}), notes


def _events(code: str, path: Path, sessions: Calendar) -> Iterator[dict[str, Any]]:
    rows = [(day, *_numbers(fields[1:], path, line)) for day, fields, line in _lines(path, 3)]
    rows.sort(key=lambda row: row[0])
    for (day, price, split, close), (_, next_price, next_split, _) in pairwise(rows):
        ex_date = _following(day, sessions)
        if split != next_split:
            ratio = Fraction(next_split) / Fraction(split)
            simple = ratio.limit_denominator(_LARGEST_DENOMINATOR)
            if abs(simple - ratio) <= _TOLERANCE * ratio:
                ratio = simple
            yield _row(code, SPLIT, ex_date, split_to=str(ratio.numerator), split_from=str(ratio.denominator))
        if price != next_price and close > 0:
            amount = (close * (1 - price / next_price)).quantize(_CENT, ROUND_HALF_EVEN)
            if amount > 0:
                yield _row(code, CASH_DIVIDEND, ex_date, amount=str(amount.normalize()))


def _following(day: date, sessions: Calendar) -> date:
    """The first session after a day."""
    later = sessions.sessions(day + timedelta(days=1), day + timedelta(days=15))
    return later[0] if later else day + timedelta(days=1)


def _numbers(fields: list[str], path: Path, line: int) -> tuple[Decimal, Decimal, Decimal]:
    """Price factor, split factor, and the close of that day, 0 where there is none."""
    try:
        price, split = Decimal(fields[0]), Decimal(fields[1])
        close = Decimal(fields[2]) if len(fields) > 2 and fields[2].strip() else Decimal(0)
        if price.is_finite() and split.is_finite() and close.is_finite() and 0 < price < 1e6 and 0 < split < 1e6:
            return price, split, close
    except InvalidOperation:
        pass
    raise FormatRefused(f"{path}, line {line}: {','.join(fields)[:60]!r} are no factors", fix="get the file again")


def _lines(path: Path, least: int) -> Iterator[tuple[date, list[str], int]]:
    """The lines with a date and at least so many fields."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatRefused(f"{path}: {error}", fix="get the file again") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        fields = line.strip().split(",")
        try:
            day = datetime.strptime(fields[0], "%Y%m%d").date()
        except ValueError:
            raise FormatRefused(
                f"{path}, line {number}: {fields[0][:40]!r} is no date", fix="get the file again"
            ) from None
        if len(fields) < least:
            raise FormatRefused(
                f"{path}, line {number} has {len(fields)} fields, not {least}", fix="get the file again"
            )
        yield day, fields, number


def _row(symbol: str, kind: str, ex_date: date, **values: str) -> dict[str, Any]:
    return dict.fromkeys(ACTIONS_RECEIVED) | {"symbol": symbol, "kind": kind, "ex_date": ex_date} | values
