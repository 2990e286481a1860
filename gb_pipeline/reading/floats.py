"""Decimals as floats, for backtests: the fast way from stored decimals to float64, and where it would not be exact."""

from __future__ import annotations

import polars as pl

from gb_pipeline.market.schema import Precision

_STANDARD = Precision.STANDARD.decimal
_UNIT = 10.0**_STANDARD.scale
# Integers up to 2**53 are float64 numbers, and dividing one by 1e8 rounds once: to the float nearest to the decimal.
_EXACT_BELOW = 2.0**53 / _UNIT


def to_floats(frame: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Every decimal column as Float64, each value the float that is nearest to the stored decimal."""
    return frame.with_columns(pl.col([name for name, kind in schema.items() if kind.is_decimal()]).cast(pl.Float64))


def to_floats_fast(frame: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """The same in a third of the time, unless `too_large` says otherwise about the result.

    Args:
        frame: with a column `timestamp` that is never null.
    """
    # Divided by one number, Polars multiplies with its inverse, which is off in the last bit for every ninth value; divided
    # by a column, it divides. So the number becomes a column.
    unit = pl.col("timestamp").is_null().cast(pl.Float64) + _UNIT
    return frame.with_columns(
        (pl.col(name).to_physical().cast(pl.Int64).cast(pl.Float64) / unit)
        if kind == _STANDARD
        else pl.col(name).cast(pl.Float64)
        for name, kind in schema.items()
        if kind.is_decimal()
    )


def too_large(floats: pl.DataFrame, schema: pl.Schema) -> bool:
    """Whether `to_floats_fast` met a number of more than 53 bits, 90,071,992 or above, which only `to_floats` reads right.

    Args:
        floats: what was collected.
        schema: the types before.
    """
    columns = (floats[name] for name, kind in schema.items() if kind == _STANDARD)
    edges = (edge for column in columns for edge in (column.max(), column.min()))
    return any(abs(edge) >= _EXACT_BELOW for edge in edges if isinstance(edge, float))
