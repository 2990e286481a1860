"""Rows of one symbol and session that stand together.

This module finds where one session's rows end and the next one's begin, so that whatever is said of a session can be
computed by columns. It knows nothing of what is computed (`fingerprint`, `lake.coverage`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.schema import CONTENT

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SessionRuns:
    """The sessions of a frame, each one run of rows.

    Attributes:
        frame: the rows, sorted by symbol, session and timestamp.
        starts: index of the first row of every run.
        counts: rows of every run; as long as `starts`.
    """

    frame: pl.DataFrame
    starts: Integers
    counts: Integers

    @property
    def heads(self) -> pl.DataFrame:
        """`symbol` and `session` of every run, each pair once, in order."""
        return self.frame.select(pl.col("symbol", "session").gather(self.starts))


def session_runs(frame: pl.DataFrame) -> SessionRuns:
    """The rows of every (symbol, session) side by side, in the order of their timestamps.

    Args:
        frame: `symbol`, `session` (Date), `timestamp` and any other columns, in any order of rows. A frame in order, as
            most are, is not copied. Rows without a session belong to none and are left out.

    Example:
        >>> runs = session_runs(frame)
        >>> dict(zip(runs.heads["session"], runs.counts))
        {datetime.date(2024, 1, 2): 1440, datetime.date(2024, 1, 3): 1440}
    """
    if frame["session"].null_count():
        frame = frame.filter(pl.col("session").is_not_null())
    starts, counts = row_runs(frame)
    if not _in_order(frame, starts):
        # Rows of one timestamp, which no table of ours holds, still have one order.
        more = [name for name in CONTENT if name in frame.columns]
        frame = frame.sort("symbol", "session", "timestamp", *more)
        starts, counts = row_runs(frame)
    return SessionRuns(frame, starts, counts)


def row_runs(frame: pl.DataFrame) -> tuple[Integers, Integers]:
    """Starts and lengths of the runs of rows with one `symbol` and `session`, as the rows stand."""
    rows = frame.height
    if rows == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    changes = np.ones(rows, dtype=bool)
    if rows > 1:
        changes[1:] = _differs_from_before(frame["symbol"]) | _differs_from_before(frame["session"].to_physical())
    starts = np.flatnonzero(changes)
    return starts, np.diff(starts, append=rows)


def expand(starts: Integers, counts: Integers) -> Integers:
    """The indices of all rows of some runs, one run after the other.

    Example:
        >>> expand(np.array([0, 7]), np.array([2, 3])).tolist()
        [0, 1, 7, 8, 9]
    """
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def _differs_from_before(series: pl.Series) -> npt.NDArray[np.bool_]:
    return series.slice(1).ne_missing(series.slice(0, len(series) - 1)).to_numpy()


def _in_order(frame: pl.DataFrame, starts: Integers) -> bool:
    stamps: npt.NDArray[Any] = frame["timestamp"].to_physical().to_numpy()
    back = np.flatnonzero(stamps[1:] <= stamps[:-1]) + 1
    # Time may step back only where the next session or symbol begins.
    if not np.isin(back, starts, assume_unique=True).all():
        return False
    heads = frame.select(pl.col("symbol", "session").gather(starts))
    symbol, session = pl.col("symbol"), pl.col("session")
    later = (symbol > symbol.shift(1)) | ((symbol == symbol.shift(1)) & (session > session.shift(1)))
    return bool(heads.select(later.slice(1).all()).item())
