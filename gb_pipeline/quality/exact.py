"""Reading a vendor's numbers exactly, or saying why not.

Belongs here: text to decimal without rounding, and the reason for every text that is refused.
Does not belong here: whether a price makes sense (`bars`).
"""

from __future__ import annotations

import re
from decimal import Decimal

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import PRICES, Precision

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
MAX_INT64 = 2**63 - 1

MISSING = "missing_value"
NOT_A_NUMBER = "not_a_number"
TOO_PRECISE = "too_precise"
TOO_LARGE = "too_large"


def read_numbers(frame: pl.DataFrame, precision: Precision) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn the text columns of a received frame into exact decimals and integers.

    Args:
        frame: `open, high, low, close, volume` and, where present, `trade_count, vwap, ask_close`, as text or already as
            decimals or integers. Floats are refused: they no longer say what the vendor said.
        precision: how many digits the decimals have.

    Returns:
        The frame with `Decimal(18,8)` or `Decimal(38,18)` columns (`trade_count` Int64; null where unreadable), and the
        problems: columns `index` (UInt32, row of the frame), `reason` (String).

    Raises:
        WindowRefused: a number column is of a type that cannot be exact.
    """
    problems: list[tuple[int, str]] = []
    columns = []
    for name in (*PRICES, "volume", "vwap", "ask_close", "trade_count"):
        if name not in frame.columns:
            continue
        read = _integers if name == "trade_count" else _decimals
        required = name in PRICES or name == "volume"
        series, found = read(frame[name], precision, required=required)
        columns.append(series)
        problems += found
    schema = {"index": pl.UInt32(), "reason": pl.String()}
    return frame.with_columns(columns), pl.DataFrame(problems, schema=schema, orient="row").unique(maintain_order=True)


def _decimals(text: pl.Series, precision: Precision, *, required: bool) -> tuple[pl.Series, list[tuple[int, str]]]:
    kind = precision.decimal
    if not isinstance(text.dtype, pl.String):
        text = _textual(text, kind)
        if text.dtype == kind:
            missing = text.is_null().arg_true().to_list() if required and text.null_count() else []
            return text, [(row, MISSING) for row in missing]
    values = text.cast(kind, strict=False)
    doubtful = _doubtful(text, values, kind.scale)
    if not doubtful.any():
        return values, []
    rows = doubtful.arg_true().to_list()
    problems, corrected = [], []
    for row, item in zip(rows, text.gather(rows).to_list(), strict=True):
        value, reason = _exactly(item, precision)
        corrected.append(value)
        if reason is not None and (required or reason != MISSING):
            problems.append((row, reason))
    exact = pl.Series(corrected, dtype=kind, strict=True)
    return values.scatter(rows, exact), problems


def _doubtful(text: pl.Series, values: pl.Series, scale: int) -> pl.Series:
    """Rows whose cast was not provably exact: unread, in exponent form, or with more decimals than the scale."""
    frame = pl.DataFrame({"text": text, "value": values})
    dot = pl.col("text").str.find(".", literal=True)
    decimals = pl.col("text").str.len_bytes() - dot - 1
    exponent = pl.col("text").str.contains("e", literal=True) | pl.col("text").str.contains("E", literal=True)
    return frame.select(
        (pl.col("value").is_null() | (decimals > scale).fill_null(False) | exponent.fill_null(False)).alias("doubtful")
    )["doubtful"]


def _exactly(item: str | None, precision: Precision) -> tuple[Decimal | None, str | None]:
    stripped = (item or "").strip()
    if not stripped:
        return None, MISSING
    if len(stripped) > 400 or not _NUMBER.fullmatch(stripped):
        return None, NOT_A_NUMBER
    sign, digits, exponent = Decimal(stripped).as_tuple()
    total, scale = precision.digits
    mantissa = int("".join(map(str, digits)))
    if mantissa == 0:
        return Decimal(0), None
    while mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, int(exponent) + 1
    if -int(exponent) > scale:
        return None, TOO_PRECISE
    if len(str(mantissa)) + int(exponent) + scale > total:
        return None, TOO_LARGE
    return Decimal((sign, tuple(map(int, str(mantissa))), int(exponent))), None


def _textual(series: pl.Series, kind: pl.Decimal) -> pl.Series:
    if series.dtype == kind or isinstance(series.dtype, pl.Null):
        return series.cast(kind)
    if series.dtype.is_decimal() or series.dtype.is_integer():
        return series.cast(pl.String)
    raise WindowRefused(
        f"column {series.name!r} holds {series.dtype}, which cannot be exact",
        fix="pass the vendor's own text (String) or a Decimal column",
    )


def _integers(text: pl.Series, _precision: Precision, *, required: bool) -> tuple[pl.Series, list[tuple[int, str]]]:
    del required
    if text.dtype.is_integer() or isinstance(text.dtype, pl.Null):
        return text.cast(pl.Int64), []
    if not isinstance(text.dtype, pl.String):
        raise WindowRefused(f"column {text.name!r} holds {text.dtype}", fix="pass integers or the vendor's own text")
    values = text.cast(pl.Int64, strict=False)
    rows = (values.is_null() & text.is_not_null() & (text != "")).arg_true().to_list()
    problems, corrected = [], []
    for row, item in zip(rows, text.gather(rows).to_list(), strict=True):
        value, reason = _exactly(item, Precision.STANDARD)
        whole = value is not None and value == value.to_integral_value() and abs(value) <= MAX_INT64
        corrected.append(int(value) if value is not None and whole else None)
        if not whole:
            problems.append((row, reason or NOT_A_NUMBER))
    return values.scatter(rows, pl.Series(corrected, dtype=pl.Int64())) if rows else values, problems
