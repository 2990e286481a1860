"""This module turns a vendor's candles into a frame, digit by digit and fast; which rows are wanted is the vendor's own to know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from gb_pipeline.market.schema import RECEIVED, RECEIVED_OPTIONAL


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a candle keeps its fields, as positions of a list or names of an object.

    Attributes:
        timestamp: of the bar's open.
        milliseconds: length of one unit of it: 1 or 1000.
        fields: column of `RECEIVED` or `RECEIVED_OPTIONAL` to position or name.
        rows: names that lead from the body to the list of candles; `*` is the only list there is.
    """

    timestamp: int | str
    milliseconds: int
    fields: Mapping[str, int | str]
    rows: tuple[str, ...] = ()


# ccxt's own unified candle.
_UNIFIED = Layout(0, 1, {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5})
# Bars of vendors that name the fields of a candle by letters: prices, volume, number of trades, mean price.
_LETTERS = Layout(
    "t", 1, {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trade_count": "n", "vwap": "vw"}
)
_NO_LETTERS: dict[str, Any] = dict.fromkeys(["t", "o", "h", "l", "c", "v", "n", "vw"])
# Year 5138: a larger number of milliseconds is no time.
_LATEST_MS = 100_000_000_000_000


def read_candles(rows: list[Any], layout: Layout | None) -> pl.DataFrame:
    """Columns of `RECEIVED`, and those of `RECEIVED_OPTIONAL` that the layout has.

    Args:
        rows: candles as the vendor sent them, or ccxt's unified ones where there is no layout.
        layout: where their fields are.

    Returns:
        `timestamp` in UTC, null where it is no whole number of the layout's units; all else is the vendor's text, null
        where it sent null. As many rows as came in, in their order.

    Raises:
        LookupError, TypeError, ValueError: a row has another form.

    Example:
        >>> read_candles([[1704153600000, "1.50", "2", "1", "1e0", "0.10"]], None)["open"][0]
        '1.50'
    """
    layout = layout or _UNIFIED
    # A text has positions as well: "maintenance" would be a candle.
    kind = list if isinstance(layout.timestamp, int) else dict
    if any(type(row) is not kind for row in rows):
        raise TypeError(f"a candle is a {kind.__name__}")
    # Positions are transposed at once; `strict` finds the row that is shorter or longer.
    columns = list(zip(*rows, strict=True)) if rows and kind is list else None

    def column(at: int | str) -> Iterable[Any]:
        return columns[at] if columns is not None and isinstance(at, int) else [row[at] for row in rows]

    series = {"timestamp": _time(column(layout.timestamp), layout.milliseconds)}
    for name in (*RECEIVED.names(), *RECEIVED_OPTIONAL.names()):
        if name in layout.fields:
            series[name] = _text(column(layout.fields[name]))
    utc = pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(series).with_columns(utc)


def read_lettered_candles(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Columns of `RECEIVED`, with `trade_count` and `vwap`, of candles such as `{"t": 1704153600000, "o": "1.50", ...}`.

    A field that is missing is null: old bars come without a mean price, and a missing price is for the quality layer to refuse.
    """
    return read_candles([_NO_LETTERS | row for row in rows], _LETTERS)


def _time(values: Iterable[Any], milliseconds: int) -> pl.Series:
    listed = list(values)
    kinds = set(map(type, listed))
    # A vendor's quoted whole number is one; true, 1.5 and "soon" are none. All are whole nearly always.
    if kinds == {int}:
        numbers = listed
    elif kinds == {str} and (joined := "".join(listed)).isascii() and joined.isdecimal() and "" not in listed:
        numbers = list(map(int, listed))
    else:
        numbers = [value if type(value) is int else _whole_number(value) for value in listed]
    limit = _LATEST_MS // milliseconds
    if numbers and (None in numbers or max(numbers) >= limit or min(numbers) <= -limit):
        numbers = [value if value is not None and abs(value) < limit else None for value in numbers]
    return pl.Series(numbers, dtype=pl.Int64) * (milliseconds * 1000)


def _whole_number(value: Any) -> int | None:
    if not isinstance(value, str) or len(value) > 20:
        return None
    digits, _, rest = value.partition(".")
    return int(digits) if digits.isdecimal() and digits.isascii() and not rest.strip("0") else None


def _text(values: Iterable[Any]) -> pl.Series:
    listed = list(values)
    kinds = set(map(type, listed))
    # Some vendors write whole numbers without quotes; a column of nothing else, or of these and texts, is spelled fast.
    if kinds == {int}:
        listed = list(map(str, listed))
    elif not kinds <= {str, type(None)}:
        listed = [value if type(value) is str else _as_text(value) for value in listed]
    return pl.Series(listed, dtype=pl.String)


def _as_text(value: Any) -> str | None:
    if type(value) is int:
        return str(value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)
