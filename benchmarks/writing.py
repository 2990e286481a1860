"""Rows a second through `write_bars`: validated, compared, fingerprinted, committed; series new to a lake that is there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.measurement import Measurement, medians, new_lake
from benchmarks.minutes import decimals, floats, texts
from gb_pipeline import Lake, Window
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.simulation.instruments import DEFAULT_SYMBOLS

TARGET = 1_000_000
REPEATS = 5
YEAR, MONTH = (date(2023, 1, 1), date(2024, 1, 1)), (date(2023, 3, 1), date(2023, 4, 1))


def measure() -> Iterator[Measurement]:
    """A symbol-month, a symbol-year and twelve symbols of a month; as text, and as decimals."""
    twelve = DEFAULT_SYMBOLS[:12]
    for name, symbols, (start, end) in (
        ("symbol-month", twelve[:1], MONTH),
        ("symbol-year", twelve[:1], YEAR),
        ("12 symbols x month", twelve, MONTH),
    ):
        received = pl.concat([texts(symbol, start, end) for symbol in symbols])
        for kind, frame in (("text", received), ("decimals", decimals(received))):
            yield _rate(f"write_bars, {name}, {kind}", frame, symbols, Window.of(start, end), received)


def _rate(
    name: str, frame: pl.DataFrame, symbols: tuple[str, ...], window: Window, received: pl.DataFrame
) -> Measurement:
    # Every turn writes other symbols, so that nothing is there yet, into a lake that others are in.
    fresh = iter([_renamed(frame, symbols, turn) for turn in range(REPEATS + 1)])

    def write() -> None:
        _write(lake, *next(fresh), window)

    def write_again() -> None:
        assert _write(lake, frame, symbols, window).version is None, "identical content means no commit"

    def by_hand() -> None:
        with TemporaryDirectory() as folder:
            for (symbol,), part in received.group_by("symbol"):
                floats(part).write_parquet(Path(folder, f"{symbol}.parquet"), compression="zstd")

    with new_lake() as lake:
        _write(lake, frame, symbols, window)
        seconds = medians({"write": write, "again": write_again, "by hand": by_hand}, REPEATS)
    rate, again = frame.height / seconds["write"], frame.height / seconds["again"]
    ratio = seconds["write"] / seconds["by hand"]
    return Measurement(
        name,
        rate,
        "rows/s",
        f">= {TARGET:,}",
        rate >= TARGET,
        f"{ratio:.1f} x the time of text to floats to zstd Parquet; the same window again: {again:,.0f} rows/s",
    )


def _renamed(frame: pl.DataFrame, symbols: tuple[str, ...], turn: int) -> tuple[pl.DataFrame, tuple[str, ...]]:
    names = {symbol: f"{symbol}-{turn}" for symbol in symbols}
    return frame.with_columns(pl.col("symbol").replace_strict(names)), tuple(names.values())


def _write(lake: Lake, frame: pl.DataFrame, symbols: tuple[str, ...], window: Window) -> WriteReport:
    report = lake.write_bars("sim", symbols, "1m", window, frame)
    assert report.stored == frame.height, "every simulated bar is good"
    return report
