"""Small answers of a vendor: a few bars of a few symbols around the ends of sessions and of files, with few contents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

from gb_pipeline_tests.laws.model import Content, Key, Series

SYMBOLS = ("AAA-USD", "BBB-USD")
# Around the end of a session and of a file's period.
SLOTS = {
    "1m": [datetime(2024, 1, 31, 23, 57, tzinfo=UTC) + timedelta(minutes=number) for number in range(6)],
    "1d": [datetime(2023, 12, 30, tzinfo=UTC) + timedelta(days=number) for number in range(4)],
}
LENGTHS = {"1m": timedelta(minutes=1), "1d": timedelta(days=1)}
# A code for a row that breaks a rule.
BAD = -1
_RECEIVED = {
    "symbol": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.String),
    "trade_count": pl.String,
    "vwap": pl.String,
}


def _received(series: Series, slot: datetime, said: Content | None) -> tuple[object, ...]:
    if said is None:
        return (series.symbol, slot, "1", "1", "2", "1", "1", None, None)
    numbers = (said.open, said.high, said.low, said.close, said.volume)
    return (series.symbol, slot, *(f"{number:f}" for number in numbers), *_optional(said))


def _optional(said: Content) -> tuple[str | None, str | None]:
    count, price = said.trade_count, said.vwap
    return None if count is None else str(count), None if price is None else f"{price:f}"


def content(code: int, precision: str) -> Content:
    """One of a few contents: so few that the same one comes again."""
    last = Decimal("0.00000001") if precision == "standard" or code < 2 else Decimal("1E-18")
    price = Decimal(100) + code * last
    told = code % 2 == 1
    return Content(price, price + 1, price, price, Decimal("1.5"), 7 if told else None, price if told else None)


def answer_frame(answer: Mapping[Key, Content | None]) -> pl.DataFrame:
    """The answer as a provider hands it over; None stands for a row that breaks a rule."""
    rows = [_received(series, slot, said) for (series, slot), said in answer.items()]
    return pl.DataFrame(rows, schema=_RECEIVED, orient="row")
