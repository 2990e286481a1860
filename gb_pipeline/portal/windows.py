"""Windows of history: the newest bars of a series at a moment, and what stands where an expected bar does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, GapInWindow
from gb_pipeline.market.moments import INSTANT, from_microseconds
from gb_pipeline.portal.price_factors import Conversion
from gb_pipeline.portal.visible import Floats, Integers, VisibleBars


class OnGap(StrEnum):
    """What a window of history does where a bar is missing."""

    NULL = "null"
    """The bar's numbers are NaN."""
    FFILL = "ffill"
    """Prices are the close of the last bar before it, volumes 0; NaN where nothing came before."""
    SKIP = "skip"
    """Older bars make up for it: the window holds bars that exist."""
    ERROR = "error"
    """`GapInWindow` is raised."""

    @classmethod
    def parse(cls, text: str) -> OnGap:
        """From its name.

        Raises:
            ConfigError: it is none.
        """
        if text not in {kind.value for kind in cls}:
            raise ConfigError(f"on_gap={text!r:.40} is unknown", fix=f"use one of {', '.join(cls)}")
        return cls(text)


@dataclass(frozen=True, slots=True)
class Grid:
    """Bars that the calendar expects, sorted; microseconds since 1970.

    Attributes:
        opens, closes: of each.
    """

    opens: Integers
    closes: Integers

    @classmethod
    def none(cls) -> Grid:
        """No bar."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def closed(self, moment: int, bar_count: int) -> Integers:
        """Opens of the newest bars that are closed at a moment, at most so many."""
        end = int(self.closes.searchsorted(moment, side="right"))
        return self.opens[max(0, end - bar_count) : end]


@dataclass(frozen=True, slots=True)
class HistoryWindow:
    """Numbers of one series.

    Attributes:
        opens: of the bars.
        values: by column, as long as `opens`.
    """

    opens: Integers
    values: dict[str, Floats]


def existing_window(
    bars: VisibleBars, fields: Sequence[str], bar_count: int, conversion: Conversion | None
) -> HistoryWindow:
    """The newest bars that exist, at most so many.

    Args:
        conversion: of prices and volumes; None leaves them as they are.
    """
    rows = bars.last(bar_count)
    return HistoryWindow(bars.versions.opens[rows], {name: _numbers(bars, name, rows, conversion) for name in fields})


def expected_window(
    name: str,
    bars: VisibleBars,
    fields: Sequence[str],
    expected: Integers,
    on_gap: OnGap,
    conversion: Conversion | None,
) -> HistoryWindow:
    """Numbers of each expected bar.

    Raises:
        GapInWindow: one does not exist, and `on_gap` is `error`.
    """
    rows = bars.last(len(expected))
    opens = bars.versions.opens[rows]
    if len(opens) == len(expected) and np.array_equal(opens, expected):
        return HistoryWindow(expected, {field: _numbers(bars, field, rows, conversion) for field in fields})
    existing = bars.versions.opens[: bars.count] if bars.rows is None else bars.versions.opens[bars.rows]
    following = existing.searchsorted(expected, side="right") - 1
    there = (following >= 0) & (existing[np.maximum(following, 0)] == expected) if len(existing) else following >= 0
    if on_gap is OnGap.ERROR and not there.all():
        missing = expected[~there]
        raise GapInWindow(
            f"{name} has no bar at {from_microseconds(int(missing[0])).isoformat()}, and {len(missing)} of the"
            f" {len(expected)} bars of this window are missing",
            fix="pass on_gap='null', 'ffill' or 'skip', or fetch what is missing: gb gaps",
        )
    values = {field: np.full(len(expected), np.nan) for field in fields}
    rows = following[there] if bars.rows is None else bars.rows[following[there]]
    for field in fields:
        values[field][there] = _numbers(bars, field, rows, conversion)
    if on_gap is OnGap.FFILL:
        _fill(bars, values, following, ~there & (following >= 0), conversion)
    return HistoryWindow(expected, values)


def _fill(
    bars: VisibleBars,
    values: dict[str, Floats],
    before: Integers,
    filled: np.ndarray,
    conversion: Conversion | None,
) -> None:
    """Put the last close before it into each bar that does not exist."""
    rows = before[filled] if bars.rows is None else bars.rows[before[filled]]
    closes = _numbers(bars, "close", rows, conversion)
    for field, column in values.items():
        column[filled] = 0.0 if field in {"volume", "trade_count"} else closes


def _numbers(bars: VisibleBars, field: str, rows: Integers | slice, conversion: Conversion | None) -> Floats:
    column = bars.versions.values[field][rows]
    return column if conversion is None else conversion.apply(field, bars.versions.stretches[rows], column)


def windows_to_frame(windows: Sequence[tuple[str, HistoryWindow]], fields: Sequence[str]) -> pl.DataFrame:
    """All windows, one after the other; null where there is no number."""
    columns = {
        "timestamp": np.concatenate([window.opens for _, window in windows]),
        **{field: np.concatenate([window.values[field] for _, window in windows]) for field in fields},
    }
    lengths = [len(window.opens) for _, window in windows]
    codes = pl.Series([name for name, _ in windows], dtype=pl.String).gather(
        np.repeat(np.arange(len(windows)), lengths)
    )
    numbers = pl.DataFrame(columns).with_columns(pl.col(fields).fill_nan(None))
    return numbers.insert_column(0, codes.alias("symbol")).cast({"timestamp": INSTANT})
