"""This module reads a vendor's numbers exactly, or says why it cannot.

Text becomes decimals without rounding, every text that is refused gets a reason, and decimals are handed out as the integers
that they are. Whether a price makes sense is checked in `model`.
"""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import PRICES, Precision
from gb_pipeline.quality.reasons import MISSING, TOO_LARGE, TOO_PRECISE, UNREADABLE

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
MAX_INT64 = 2**63 - 1

PROBLEMS = pl.Schema({"index": pl.UInt32(), "reason": pl.String()})
_REQUIRED = (*PRICES, "volume")


def read_numbers(frame: pl.DataFrame, precision: Precision) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn the text columns of a received frame into exact decimals and integers.

    Args:
        frame: `open, high, low, close, volume` and, where present, `trade_count, vwap, ask_close`, as text or already as
            decimals or integers. Floats are refused: they no longer carry the vendor's own digits.
        precision: how many digits the decimals have.

    Returns:
        The frame with `Decimal(18,8)` or `Decimal(38,18)` columns (`trade_count` Int64; null where unreadable), and the
        problems: columns `index` (UInt32, row of the frame), `reason` (String).

    Raises:
        WindowRefused: a number column is of a type that cannot be exact.
    """
    dtype = precision.decimal
    present = [name for name in (*PRICES, "volume", "vwap", "ask_close") if name in frame.columns]
    # Exact already, and all there: nothing to read. A missing `vwap` or quote is not a problem.
    inexact = [name for name in present if not _is_exact(frame[name], dtype, required=name in _REQUIRED)]
    if not inexact and _counts_are_exact(frame):
        return frame, pl.DataFrame(schema=PROBLEMS)
    texts = pl.DataFrame([_as_text(frame[name], dtype) for name in inexact])
    problems = []
    read = texts.select(pl.all().cast(dtype, strict=False))
    doubtful = texts.select(_doubtful(name, dtype, texts.schema[name]) for name in inexact)
    read_columns = []
    for name in inexact:
        in_doubt = doubtful[name] | read[name].is_null() if read[name].null_count() else doubtful[name]
        series, found_problems = _read_doubtful(
            texts[name], read[name], in_doubt, precision, required=name in _REQUIRED
        )
        read_columns.append(series)
        problems += found_problems
    if "trade_count" in frame.columns:
        series, found_problems = _integers(frame["trade_count"])
        read_columns.append(series)
        problems += found_problems
    found = pl.DataFrame(problems, schema=PROBLEMS, orient="row")
    return frame.with_columns(read_columns), found.unique(maintain_order=True) if problems else found


def read_exact(text: pl.Series, precision: Precision) -> tuple[pl.Series, pl.Series]:
    """A column of numbers as they were written, and why some cannot be stored as they are.

    Args:
        text: the vendor's own; null where there is no number.
        precision: how many digits the decimals have.

    Returns:
        The decimals, null where there is none or it is refused; and the reasons (String), null where it is not.

    Example:
        >>> read_exact(pl.Series("value", ["1.50", None, "n/a"]), Precision.WIDE)[1].to_list()
        [None, None, 'unreadable_number']
    """
    dtype = precision.decimal
    values = text.cast(dtype, strict=False)
    doubtful = (text.to_frame().select(_doubtful(text.name, dtype, text.dtype)).to_series()) | values.is_null()
    rows = (doubtful & text.is_not_null()).arg_true()
    parsed = [parse_exact(each, precision) for each in text.gather(rows)]
    reasons = pl.Series("reason", [None], pl.String()).new_from_index(0, len(text))
    if not parsed:
        return values, reasons
    numbers = pl.Series([value for value, _ in parsed], dtype=dtype, strict=True)
    problems = pl.Series([reason for _, reason in parsed], dtype=pl.String())
    return values.scatter(rows, numbers), reasons.scatter(rows, problems)


def _is_exact(series: pl.Series, dtype: pl.Decimal, *, required: bool) -> bool:
    return series.dtype == dtype and not (required and series.null_count())


def _counts_are_exact(frame: pl.DataFrame) -> bool:
    return "trade_count" not in frame.columns or frame.schema["trade_count"] == pl.Int64()


def halves(decimals: pl.Series) -> npt.NDArray[np.int64]:
    """The unscaled integers of a Decimal column without a copy: two columns of 64 bits, the lower half first.

    The lower half of a value of at most 18 digits is the value itself. What stands at a null is undefined.

    Example:
        >>> halves(pl.Series(["1.5", "-1"]).cast(pl.Decimal(18, 8)))[:, 0].tolist()
        [150000000, -100000000]
    """
    values = decimals.to_arrow()
    pairs = np.frombuffer(values.buffers()[1], dtype="<i8").reshape(-1, 2)
    return pairs[values.offset : values.offset + len(values)]


def _doubtful(name: str, dtype: pl.Decimal, text_dtype: pl.DataType) -> pl.Expr:
    """Rows whose cast may have rounded: in exponent form, or with more decimals than the scale."""
    if text_dtype == dtype:
        return pl.lit(False).alias(name)
    return pl.col(name).str.contains(rf"\.[0-9]{{{dtype.scale + 1}}}|[eE]").fill_null(False)


def _read_doubtful(
    text: pl.Series, values: pl.Series, doubtful: pl.Series, precision: Precision, *, required: bool
) -> tuple[pl.Series, list[tuple[int, str]]]:
    """Read the doubtful rows exactly, one by one where columns cannot decide."""
    if not doubtful.any():
        return values, []
    rows = doubtful.arg_true()
    if text.dtype == pl.String:
        rows = rows.filter(~_ends_in_zeros(text.gather(rows), values.gather(rows)))
    problems, corrected = [], []
    for row, text_value in zip(rows, text.gather(rows), strict=True):
        value, reason = parse_exact(text_value, precision)
        corrected.append(value)
        if reason is not None and (required or reason != MISSING):
            problems.append((row, reason))
    return values.scatter(rows, pl.Series(corrected, dtype=precision.decimal, strict=True)), problems


def _ends_in_zeros(text: pl.Series, values: pl.Series) -> pl.Series:
    """Rows whose further decimals are all zero: `42000.1200000000` was read exactly."""
    plain = ~text.str.contains(r"\.[0-9]{19}|[eE]").fill_null(True)
    widest = pl.Decimal(38, 18)
    return plain & values.is_not_null() & (text.cast(widest, strict=False) == values.cast(widest)).fill_null(False)


def parse_exact(text: str | None, precision: Precision) -> tuple[Decimal | None, str | None]:
    """One number as it was written, or the reason why it cannot be stored as it is: nothing is ever rounded.

    Example:
        >>> exactly("0.485", Precision.WIDE), exactly("1e-19", Precision.WIDE)
        ((Decimal('0.485'), None), (None, 'too_precise'))
    """
    stripped = (text or "").strip()
    if not stripped:
        return None, MISSING
    if len(stripped) > 400 or not _NUMBER.fullmatch(stripped):
        return None, UNREADABLE
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


def _as_text(series: pl.Series, dtype: pl.Decimal) -> pl.Series:
    if isinstance(series.dtype, pl.String):
        return series
    if series.dtype == dtype or isinstance(series.dtype, pl.Null):
        return series.cast(dtype)
    if series.dtype.is_decimal() or series.dtype.is_integer():
        return series.cast(pl.String)
    raise WindowRefused(
        f"column {series.name!r} holds {series.dtype}, which cannot be exact",
        fix="pass the vendor's own text (String) or a Decimal column",
    )


def _integers(text: pl.Series) -> tuple[pl.Series, list[tuple[int, str]]]:
    if text.dtype.is_integer() or isinstance(text.dtype, pl.Null):
        counts = text.cast(pl.Int64, strict=False)
        if counts.null_count() == text.null_count():
            return counts, []
        text = text.cast(pl.String)
    if not isinstance(text.dtype, pl.String):
        raise WindowRefused(f"column {text.name!r} holds {text.dtype}", fix="pass integers or the vendor's own text")
    values = text.cast(pl.Int64, strict=False)
    rows = (values.is_null() & text.is_not_null() & (text != "")).arg_true()
    problems, corrected = [], []
    for row, text_value in zip(rows, text.gather(rows), strict=True):
        value, reason = parse_exact(text_value, Precision.STANDARD)
        is_whole = value is not None and value == value.to_integral_value() and abs(value) <= MAX_INT64
        corrected.append(int(value) if value is not None and is_whole else None)
        if not is_whole:
            problems.append((row, reason or UNREADABLE))
    return values.scatter(rows, pl.Series(corrected, dtype=pl.Int64())) if len(rows) else values, problems
