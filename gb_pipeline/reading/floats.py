"""Decimals as floats, for backtests: each the float that is nearest to the decimal, lazily, or at once and quickly."""

from __future__ import annotations

import polars as pl

from gb_pipeline.storage.numbers import Numbers, converted


def to_floats(frame: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Every decimal column as Float64, each value the float that is nearest to the stored decimal."""
    return frame.with_columns(pl.col([name for name, kind in schema.items() if kind.is_decimal()]).cast(pl.Float64))


def as_floats(frame: pl.DataFrame) -> pl.DataFrame:
    """The same at once: decimals of 64 bits are divided once, in memory that Arrow has at hand."""
    return converted(frame, Numbers.FLOATS)
