"""This module turns bars into the lines and integers that a fingerprint is made of (`fingerprint`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, OPTIONAL, Precision
from gb_pipeline.quality.exact import halves
from gb_pipeline.quality.runs import Integers, row_runs, whole_numbers

VERSION = "gb-bars-3"
Columns = Mapping[str, npt.NDArray[Any]]
Present = npt.NDArray[np.uint8]


def first_bytes(data: bytes) -> int:
    """The first 8 bytes of the SHA-256, as a number without a sign."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


@dataclass(frozen=True, slots=True)
class Lines:
    """The first line of every run; sorted symbols make long stretches of one.

    Attributes:
        texts: of the stretches.
        stretches: the number of the stretch that each run is in.
    """

    texts: list[bytes]
    stretches: Integers

    def of(self, chosen: Integers) -> list[bytes]:
        """The lines of some runs."""
        return [self.texts[number] for number in self.stretches[chosen].tolist()]

    def numbers(self, modulo: int) -> Integers:
        """The line of every run as a number below another one, by its SHA-256."""
        return np.array([first_bytes(text) % modulo for text in self.texts], np.int64)[self.stretches]


def first_lines(symbols: pl.Series, source: str, resolution: Resolution, precision: Precision) -> Lines:
    """The lines of runs by their symbols."""
    starts, counts = row_runs(symbols.to_frame("symbol"), ["symbol"])
    texts = [
        f"{VERSION} {source} {symbol} {resolution.value} {precision.value}\n".encode() for symbol in symbols[starts]
    ]
    return Lines(texts, np.repeat(np.arange(len(texts)), counts))


def integer_columns(frame: pl.DataFrame, precision: Precision) -> tuple[Columns, Present]:
    """Every column as an array with one integer (of 16 bytes: a pair of halves) per row, and the byte of what is there.

    Raises:
        WindowRefused: a price or a volume is missing, or does not fit the precision.
    """
    columns: dict[str, npt.NDArray[Any]] = {"timestamp": whole_numbers(frame["timestamp"])}
    present = np.zeros(frame.height, np.uint8)
    for name in CONTENT:
        series = frame[name]
        if name in OPTIONAL:
            bit = 1 << OPTIONAL.index(name)
            if series.null_count() == 0:
                present |= bit
            elif series.null_count() < len(series):
                present |= series.is_not_null().to_numpy() * np.uint8(bit)
        elif series.null_count():
            raise WindowRefused(
                f"column {name!r} lacks {series.null_count()} values, so its rows are not bars",
                fix="pass only rows that passed every rule",
            )
        columns[name] = _integers(series, precision)
    return columns, present


def _integers(series: pl.Series, precision: Precision) -> npt.NDArray[Any]:
    if series.null_count() == len(series):
        return np.zeros(
            (len(series), 2) if series.dtype.is_decimal() and precision is Precision.WIDE else len(series), np.int64
        )
    if not series.dtype.is_decimal():
        return (series.cast(pl.Int64).fill_null(0) if series.null_count() else series.cast(pl.Int64)).to_numpy()
    try:
        decimals = series if series.dtype == precision.decimal else series.cast(precision.decimal)
    except pl.exceptions.InvalidOperationError as error:
        raise WindowRefused(
            f"column {series.name!r} holds values that do not fit {precision.decimal}", fix="use `precision: wide`"
        ) from error
    pairs = halves(decimals.fill_null(0) if decimals.null_count() else decimals)
    return pairs if precision is Precision.WIDE else pairs[:, 0]


def lay_out(columns: Columns, present: Present | None, low: int, high: int) -> npt.NDArray[Any]:
    """The rows from `low` to `high` side by side, as they are hashed."""
    kinds: list[Any] = [(name, "<i8", values.shape[1:]) for name, values in columns.items()]
    if present is not None:
        kinds.append(("present", "u1"))
    rows = np.empty(high - low, dtype=kinds)
    for name, values in columns.items():
        rows[name] = values[low:high]
    if present is not None:
        rows["present"] = present[low:high]
    return rows
