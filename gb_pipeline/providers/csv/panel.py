"""This module puts the bars of a wide layout together that has a file for each number: opens, highs, lows, closes and volumes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.market.schema import PRICES
from gb_pipeline.providers.csv.options import CsvOptions


def wide_fields(options: CsvOptions) -> tuple[str | None, ...]:
    """The numbers that have a file each; one None where a file holds whole bars."""
    if options.layout != "wide" or "{field}" not in (options.path or ""):
        return (None,)
    return (*PRICES, "volume") if options.volume != "none" else PRICES


def join_fields(parts: Sequence[tuple[str | None, pl.DataFrame]]) -> pl.DataFrame:
    """One frame of bars from frames of one number each, with equal stamps side by side; a frame alone is as it is.

    A line whose stamp cannot be read is a row of its own: to which lines of other files it belongs is not known. Of a stamp
    that a file repeats, the first goes with the first of the others.
    """
    if len(parts) == 1:
        return parts[0][1]
    columns = parts[0][1].columns
    placed: pl.DataFrame | None = None
    unplaced: list[pl.DataFrame] = []
    for name, frame in parts:
        assert name is not None
        unplaced.append(frame.filter(pl.col("timestamp").is_null()))
        own = frame.filter(pl.col("timestamp").is_not_null()).select(
            "timestamp",
            pl.int_range(pl.len()).over("timestamp").alias("repeat"),
            name,
            pl.concat_str(pl.lit(f"{name} of "), "received").alias(f"{name} of"),
        )
        on = ["timestamp", "repeat"]
        placed = (
            own if placed is None else placed.join(own, on=on, how="full", coalesce=True, maintain_order="left_right")
        )
    assert placed is not None
    sources = [f"{name} of" for name, _ in parts]
    joined = placed.with_columns(
        pl.concat_str(sources, separator="; ", ignore_nulls=True).alias("received"), pl.col("timestamp").alias("anchor")
    ).drop("repeat", *sources)
    empty = parts[0][1].clear()
    # A vendor without volumes has none of its own: each of the parts says 0.
    if "volume" not in {name for name, _ in parts}:
        joined = joined.with_columns(volume=pl.lit("0"))
    return pl.concat([empty, pl.concat([joined, *unplaced], how="diagonal").select(columns)], how="diagonal")
