"""This module finds where the rows of one symbol and session end and the next ones begin.

With that, whatever holds for a session can be computed by columns (`fingerprint`, `session_days`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.schema import CONTENT

Integers = npt.NDArray[np.int64]
SESSION = ("symbol", "session")
# From so many values on, a question to Polars' engine takes less than spelling out a flag for each of them.
_MANY = 50_000


@dataclass(frozen=True, slots=True)
class SessionRuns:
    """The sessions of a frame, each one run of rows.

    Attributes:
        frame: the rows, sorted by symbol, session and timestamp.
        starts: index of the first row of every run.
        counts: rows of every run.
        symbols, sessions: `symbol` and `session` (Date) of every run; each pair once, in order.
    """

    frame: pl.DataFrame
    starts: Integers
    counts: Integers
    symbols: pl.Series
    sessions: pl.Series


def session_runs(frame: pl.DataFrame) -> SessionRuns:
    """The rows of every (symbol, session) side by side, in the order of their timestamps.

    Args:
        frame: `symbol`, `session` (Date), `timestamp` and any other columns, in any order of rows. A frame in order, as
            most are, is not copied. Rows without a session belong to none and are left out.

    Example:
        >>> runs = session_runs(frame)
        >>> dict(zip(runs.sessions, runs.counts))
        {datetime.date(2024, 1, 2): 1440, datetime.date(2024, 1, 3): 1440}
    """
    if frame["session"].null_count():
        frame = frame.filter(pl.col("session").is_not_null())
    starts, counts = row_runs(frame)
    if not is_ordered(frame, starts):
        # Rows of one timestamp, which no table of ours holds, still have one order.
        content = [name for name in CONTENT if name in frame.columns]
        frame = frame.sort(*SESSION, "timestamp", *content)
        starts, counts = row_runs(frame)
    return SessionRuns(frame, starts, counts, frame["symbol"][starts], frame["session"][starts])


def sorted_runs(frame: pl.DataFrame, symbol_starts: Integers) -> SessionRuns:
    """The same of a frame that is known to be in order, with a session in each row, and where each symbol begins."""
    changes = np.zeros(frame.height, dtype=bool)
    changes[symbol_starts] = True
    mark_changes(changes, frame["session"])
    starts = np.flatnonzero(changes)
    return SessionRuns(
        frame, starts, np.diff(starts, append=frame.height), frame["symbol"][starts], frame["session"][starts]
    )


def rows_of(runs: SessionRuns) -> pl.DataFrame:
    """The rows with the `session` (Date) of their run."""
    return runs.frame.with_columns(runs.sessions[np.repeat(np.arange(len(runs.starts)), runs.counts)].alias("session"))


def row_runs(frame: pl.DataFrame, keys: Sequence[str] = SESSION) -> tuple[Integers, Integers]:
    """Starts and lengths of the runs of rows with the same keys, as the rows stand."""
    rows = frame.height
    if rows == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    changes = np.zeros(rows, dtype=bool)
    changes[0] = True
    for name in keys:
        mark_changes(changes, frame[name])
    starts = np.flatnonzero(changes)
    return starts, np.diff(starts, append=rows)


def count_rows(frame: pl.DataFrame) -> dict[str, int]:
    """How many rows each `symbol` has; those without one count under an empty text.

    Example:
        >>> count_rows(frame)
        {'BTC-USD': 1440, 'ETH-USD': 1437}
    """
    starts, counts = row_runs(frame, ["symbol"])
    return sum_by_symbol(frame["symbol"][starts], counts)


def sum_by_symbol(symbols: pl.Series, counts: Integers) -> dict[str, int]:
    """The rows of each symbol, of runs that may name one several times."""
    found: dict[str, int] = {}
    for symbol, rows in zip(symbols.to_list(), counts.tolist(), strict=True):
        found[symbol or ""] = found.get(symbol or "", 0) + rows
    return found


def is_ordered(frame: pl.DataFrame, starts: Integers, keys: Sequence[str] = SESSION, *, repeats: bool = False) -> bool:
    """Whether the runs of a frame are in the order of their keys, each key once, and time runs forward in each of them.

    Args:
        frame: the keys and `timestamp`, without nulls.
        starts: of its runs, from `row_runs`.
        keys: what it is sorted by before time.
        repeats: whether a timestamp may stand twice.
    """
    stamps = whole_numbers(frame["timestamp"])
    steps_back = np.flatnonzero(stamps[1:] < stamps[:-1] if repeats else stamps[1:] <= stamps[:-1]) + 1
    # Time may step back only where the next run begins.
    if np.setdiff1d(steps_back, starts, assume_unique=True).size:
        return False
    is_later, is_same = np.zeros(max(len(starts) - 1, 0), dtype=bool), np.ones(max(len(starts) - 1, 0), dtype=bool)
    for name in keys:
        heads = frame[name][starts]
        before, here = heads.slice(0, len(is_same)), heads.slice(1)
        is_later |= is_same & (here > before).to_numpy()
        is_same &= (here == before).to_numpy()
    return bool(is_later.all())


def expand(starts: Integers, counts: Integers) -> Integers:
    """The indices of all rows of some runs, one run after the other.

    Example:
        >>> expand(np.array([0, 7]), np.array([2, 3])).tolist()
        [0, 1, 7, 8, 9]
    """
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def whole_numbers(series: pl.Series) -> Integers:
    """Dates as days and timestamps as microseconds since 1970-01-01; no value may be missing."""
    return series.cast(pl.Int64).to_numpy()


def mark_changes(changes: npt.NDArray[np.bool_], series: pl.Series) -> None:
    """Set the flag of each value that is another one than the value before it."""
    if len(series) < 2:
        return
    values, previous = series.slice(1), series.slice(0, len(series) - 1)
    differs = values.ne_missing(previous) if series.null_count() else values != previous
    changes[true_rows(differs) + 1] = True


def true_rows(flags: pl.Series) -> Integers:
    """The rows of which a flag is true; no flag may be missing."""
    if len(flags) < _MANY:
        return np.flatnonzero(flags.to_numpy())
    # Spelling out as many flags as there are rows takes longer than what made them.
    return flags.arg_true().to_numpy().astype(np.int64)
