"""This module compares stored bars with expected ones, and gives every run of missing bars a reason.

What the calendar expects and what is stored are given to it. What it finds is the coverage of a window, in which
`coverage_model` names the gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.quality.coverage_model import COVERAGE, find_absences
from gb_pipeline.quality.rules import GapPolicy
from gb_pipeline.quality.runs import Integers, row_runs


class GapReason(StrEnum):
    """Why expected bars are absent."""

    CLOSED = "closed"
    NOT_LISTED = "not_listed"
    NO_TRADE = "no_trade"
    VENDOR_EMPTY = "vendor_empty"
    REMOVED = "removed"
    FETCH_FAILED = "fetch_failed"
    UNKNOWN = "unknown"
    INCIDENT = "incident"
    """Said of a gap when it is read, by incidents.yaml (`lake.explained`); it is never stored."""


MEANINGS: Mapping[GapReason, str] = {
    GapReason.CLOSED: "the market has no session that day",
    GapReason.NOT_LISTED: "before the symbol's listing, or after it ended",
    GapReason.NO_TRADE: "nothing traded: this vendor publishes no bar then",
    GapReason.VENDOR_EMPTY: "the vendor's well-formed answer was empty",
    GapReason.REMOVED: "taken out on purpose; see `gb removals`",
    GapReason.FETCH_FAILED: "the fetch failed; fetch it again",
    GapReason.INCIDENT: "explained by incidents.yaml; `gb incidents` lists what it says",
    GapReason.UNKNOWN: "no explanation, or the row was refused; see `quarantine`, and fetch it again",
}

_BAR = ["symbol", "timestamp"]
_PLACE = "place"

# Gaps that a later fetch may close.
OPEN_REASONS = frozenset({GapReason.FETCH_FAILED, GapReason.UNKNOWN})

GAPS = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "start": pl.Datetime("us", "UTC"),
        "end": pl.Datetime("us", "UTC"),
        "missing": pl.Int64(),
        "reason": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of missing bars: from `start` up to `end` (both UTC, half-open), `missing` bars of it expected.

    Where the reason is an incident, `incident` says which, such as `halt: news pending`.
    """

    start: datetime
    end: datetime
    missing: int
    reason: GapReason
    incident: str = ""


def find_gaps(
    expected: pl.DataFrame,
    actual: pl.DataFrame,
    policy: GapPolicy,
    *,
    refused: pl.DataFrame | None = None,
    in_doubt: pl.DataFrame | None = None,
    failed: bool = False,
) -> pl.DataFrame:
    """Runs of missing bars of any number of series: the failure cases of their coverage.

    Args:
        expected, actual, policy, refused, in_doubt, failed: as of `compare`.

    Returns:
        Columns of `GAPS`, one row per gap, in the order of `expected`: from `start` up to `end` (half-open), `missing` bars
        of it expected, `reason` one of `GapReason`.

    Example:
        >>> find_gaps(grid, stored, GapPolicy.NO_TRADE).select("session", "missing", "reason").rows()
        [(datetime.date(2024, 1, 2), 3, 'no_trade')]
    """
    coverage = compare(expected, actual, policy, refused=refused, in_doubt=in_doubt, failed=failed)
    return find_absences(coverage, REASONS).select(GAPS.names())


def compare(
    expected: pl.DataFrame,
    actual: pl.DataFrame,
    policy: GapPolicy,
    *,
    refused: pl.DataFrame | None = None,
    in_doubt: pl.DataFrame | None = None,
    failed: bool = False,
) -> pl.DataFrame:
    """The coverage of any number of series: which of the expected bars are stored, and why others are not.

    Args:
        expected: `symbol`, `session` (Date), `timestamp` and `end` (Datetime us UTC), sorted by symbol and timestamp.
        actual: `symbol`, `timestamp` of the bars that are stored.
        policy: what an absent bar means at this vendor.
        refused: `symbol`, `timestamp` of rows that the vendor did deliver and that were refused: no "no trade".
        in_doubt: `symbol`, `session` of which the answer does not tell what the vendor has: nothing absent there is explained.
        failed: the fetch of these sessions failed.

    Returns:
        Columns of `COVERAGE`, in the order of `expected`: runs of neighbouring bars of a session from `start` up to `end`
        (half-open), all of them stored or all absent for one `reason`; no row where nothing is absent at all.

    Example:
        >>> compare(grid, stored, GapPolicy.NO_TRADE).select("expected", "stored", "reason").rows()
        [(600, 600, None), (3, 0, 'no_trade'), (837, 837, None)]
    """
    expected = expected.with_row_index(_PLACE)
    places = _places_of(expected.join(actual, on=_BAR, how="anti", maintain_order="left"))
    if not len(places):
        return pl.DataFrame(schema=COVERAGE)
    starts, counts = row_runs(expected)
    sessions = np.repeat(np.arange(len(starts)), counts)
    session = sessions[places]
    reason = np.full(len(places), _CODES[GapReason.FETCH_FAILED])
    if not failed:
        reason[:] = _CODES[GapReason.NO_TRADE if policy is GapPolicy.NO_TRADE else GapReason.UNKNOWN]
        delivered = _delivered(expected, places, refused)
        # A session of which the vendor sent nothing at all was answered empty; one refused row is not nothing.
        missing_counts = np.bincount(session, minlength=len(starts))
        answered = np.bincount(session[delivered], minlength=len(starts)) > 0
        reason[((missing_counts == counts) & ~answered)[session]] = _CODES[GapReason.VENDOR_EMPTY]
        reason[delivered] = _CODES[GapReason.UNKNOWN]
        if in_doubt is not None:
            doubtful = _places_of(expected.join(in_doubt, on=["symbol", "session"], how="semi"))
            reason[np.isin(places, doubtful)] = _CODES[GapReason.UNKNOWN]
    return _runs(expected, sessions, places, reason)


def compare_recorded(expected: pl.DataFrame, actual: pl.DataFrame, recorded: pl.DataFrame) -> pl.DataFrame:
    """The coverage of one series whose gaps are recorded already: what is absent is so for the reason that they have.

    Args:
        expected, actual: as of `compare`.
        recorded: `session`, `start`, `end`, `reason` of gaps; what lies in none of them is `unknown`.

    Returns:
        Columns of `COVERAGE`, as of `compare`.
    """
    expected = expected.with_row_index(_PLACE)
    absent = expected.join(actual, on=_BAR, how="anti", maintain_order="left")
    if absent.is_empty():
        return pl.DataFrame(schema=COVERAGE)
    named = absent.sort("timestamp").join_asof(
        recorded.select("start", pl.col("end").alias("gap end"), "reason").sort("start"),
        left_on="timestamp",
        right_on="start",
    )
    is_inside = (pl.col("timestamp") < pl.col("gap end")).fill_null(False)
    codes = {reason.value: code for reason, code in _CODES.items()}
    reason = (
        named.select(pl.when(is_inside).then("reason").fill_null(GapReason.UNKNOWN.value).replace_strict(codes))
        .to_series()
        .to_numpy()
    )
    starts, counts = row_runs(expected)
    return _runs(expected, np.repeat(np.arange(len(starts)), counts), _places_of(named), reason)


def _runs(expected: pl.DataFrame, sessions: Integers, places: Integers, reasons: Integers) -> pl.DataFrame:
    """Neighbouring bars of one session that are stored, or absent for the same reason, as one row."""
    states = np.full(expected.height, _STORED)
    states[places] = reasons
    begins = np.concatenate([[0], np.flatnonzero((np.diff(sessions) != 0) | (np.diff(states) != 0)) + 1])
    lengths, states = np.diff(begins, append=expected.height), states[begins]
    heads, ends = expected[begins], expected["end"][begins + lengths - 1]
    stored = np.where(states == _STORED, lengths, 0)
    columns = (heads["symbol"], heads["session"], heads["timestamp"], ends, lengths, stored, _REASONS[states])
    return pl.DataFrame(dict(zip(COVERAGE, columns, strict=True)), schema_overrides=COVERAGE)


def _places_of(bars: pl.DataFrame) -> Integers:
    return bars[_PLACE].cast(pl.Int64).to_numpy()


def _delivered(expected: pl.DataFrame, places: Integers, refused: pl.DataFrame | None) -> npt.NDArray[np.bool_]:
    """Which of the missing bars the vendor did deliver."""
    if refused is None or refused.is_empty():
        return np.zeros(len(places), dtype=bool)
    return np.isin(places, _places_of(expected.join(refused, on=_BAR, how="semi")))


REASONS = tuple(reason.value for reason in GapReason)
# The last one, which is none, is that of stored bars.
_REASONS = pl.Series([*REASONS, None])
_STORED = len(REASONS)
_CODES = {reason: code for code, reason in enumerate(GapReason)}
