"""This module describes what a window's rows amount to, session by session.

Stored rows, the calendar's expectation and the result of a validation become one frame with a row for each series and day, and
that frame becomes rows of the ledger. Everything is computed by columns: a day of a series is a position in
arrays, symbol after symbol and day after day. Nothing here reads or writes a table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.lake.expectation import Expectation, expect
from gb_pipeline.lake.report import DESCRIBED, SessionStatus
from gb_pipeline.market.moments import day_number
from gb_pipeline.market.repeated import repeated
from gb_pipeline.market.schema import SESSIONS, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult
from gb_pipeline.quality.fingerprint import fingerprint_runs
from gb_pipeline.quality.reasons import NO_BAR
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import Integers, SessionRuns
from gb_pipeline.quality.session_days import Flags, Listing, SessionDays
from gb_pipeline.quality.session_gaps import ExpectedBars, closed_gaps, gaps_by_day, gather_gaps

WORST_ROWS = 5
# What stands in the place of a suspicious row's text.
STORED_ROW = "stored"
_LONGEST_ROW = 300
_DAY = ["symbol", "session"]
_STATUSES = pl.Series([status.value for status in SessionStatus])
_CODES = {status: code for code, status in enumerate(SessionStatus)}
_LEDGER = polars_schema(SESSIONS)
# What stands in a column that nothing is known of.
_ABSENT = {
    name: pl.Series(name, [0 if kind in {pl.Int64(), pl.Boolean()} and name != "fingerprint" else None]).cast(kind)
    for name, kind in DESCRIBED.items()
}


def describe_sessions(
    source: str,
    symbols: Sequence[str],
    rules: BarRules,
    expectation: Expectation,
    runs: SessionRuns,
    validation: ValidationResult,
    *,
    listings: Mapping[str, Listing],
    touched: pl.DataFrame,
    restated: pl.DataFrame,
    withdrawn: pl.DataFrame,
    late: pl.DataFrame | None = None,
    failed: bool = False,
    fingerprints: Integers | None = None,
) -> pl.DataFrame:
    """One row for each symbol and day of the window: sessions, closed days, and days on which the symbol is not listed.

    Args:
        source: short name of the feed.
        symbols: canonical codes; order and repetitions mean nothing.
        rules: what the response was validated against.
        expectation: of the window, from `expect`.
        runs: everything that is stored in the hull after the write: `symbol`, `session`, `timestamp`, the content columns,
            and `withdrawn` (Boolean, null is false; false where the column is absent).
        validation: of the response that was written.
        listings: first session, and first session without it, by symbol.
        touched, restated, withdrawn: `symbol`, `session` and more of the rows that this write stored or changed, that had
            other content before, and that it marked as no longer sent.
        late: the same of good rows that were fetched before what is stored was.
        failed: there was no response: the fetch failed.
        fingerprints: of `runs`, from `fingerprint_runs`, where they are known already.

    Returns:
        Columns of `report.DESCRIBED`, sorted by symbol and session. `withdrawn` counts the rows that are marked so now,
        `changed` says that the write stored, changed or withdrew something here. `fingerprint` is null without rows.

    Raises:
        WindowRefused: the rows lack a price or a volume.

    Example:
        >>> describe_sessions("sim", ["BTC-USD"], rules, expectation, rows, validation, ...).select("status", "missing").row(0)
        ('partial', 3)
    """
    days = SessionDays(symbols, expectation.sessions, expectation.closed, listings)
    bars = ExpectedBars(days, expectation.grid)
    places = days.places(runs.symbols, runs.sessions)
    actual, quarantined = days.add(places, runs.counts), days.count(validation.bad)
    expected = np.where(days.listed, days.of_days(bars.counts), 0)
    good = days.add(days.places(validation.runs.symbols, validation.runs.sessions), validation.runs.counts)
    stored = days.count(touched) - days.count(withdrawn)
    late_rows = days.count(late) if late is not None and late.height else 0
    duplicates = days.count(validation.duplicates)
    refused = _is_refused(days, validation)
    # Where rows without a day may be, no day is known to have none.
    in_doubt = refused | _in_doubt(days, validation)
    unknown = refused | (in_doubt & (actual == 0) & (expected > 0))
    # A line without a price is the vendor's way to say that there is no bar.
    is_no_bar = (pl.col("reasons").list.len() == 1) & pl.col("reasons").list.contains(NO_BAR)
    delivered = validation.bad.filter(~is_no_bar) if validation.bad.height else validation.bad
    gaps = gaps_by_day(days, bars, runs, places, rules, refused=delivered, in_doubt=in_doubt, failed=failed)
    status = _status(
        (SessionStatus.CLOSED, days.closed),
        (SessionStatus.FAILED, np.full(days.height, failed)),
        (SessionStatus.NOT_LISTED, ~days.listed & ~refused),
        (SessionStatus.REFUSED, unknown),
        (SessionStatus.EMPTY, actual == 0),
        (SessionStatus.PARTIAL, gaps.counts > 0),
        (SessionStatus.COMPLETE, np.ones(days.height, dtype=bool)),
    )
    stamps = runs.frame["timestamp"]
    if fingerprints is None:
        fingerprints = fingerprint_runs(runs, source, rules.resolution, rules.precision)
    return _frame(
        days,
        status=status,
        expected=expected,
        actual=actual,
        missing=gaps.missing,
        received=good + quarantined + duplicates,
        stored=stored,
        unchanged=good - stored - late_rows,
        quarantined=quarantined + late_rows,
        duplicates=duplicates,
        restated=days.count(restated),
        withdrawn=days.add(places, _count_withdrawn(runs)),
        changed=days.count(touched) + days.count(withdrawn) > 0,
        warnings=days.count(validation.warnings),
        fingerprint=days.put(places, pl.Series(fingerprints)),
        first_timestamp=days.put(places, stamps[runs.starts]),
        last_timestamp=days.put(places, stamps[runs.starts + runs.counts - 1]),
        gaps=gaps.lists,
        **_details(days, validation),
    )


def deferred_sessions(
    symbols: Sequence[str], rules: BarRules, window: Window, now: datetime, listings: Mapping[str, Listing]
) -> pl.DataFrame:
    """One row for each symbol and day of a window that was not requested; it claims nothing that a response would tell.

    Args:
        symbols: canonical codes; order and repetitions mean nothing.
        rules: of the source.
        window: the one that was not requested.
        now: the present, aware.
        listings: as in `describe_sessions`.

    Returns:
        Columns of `report.DESCRIBED`, sorted by symbol and session; no row for days that have not begun.
    """
    begun = Window(min(window.start, now), min(window.end, now))
    expectation = expect(rules, begun, now)
    days = SessionDays(symbols, expectation.sessions, expectation.closed, listings)
    status = _status(
        (SessionStatus.CLOSED, days.closed),
        (SessionStatus.NOT_LISTED, ~days.listed),
        (SessionStatus.DEFERRED, np.ones(days.height, dtype=bool)),
    )
    return _frame(days, status=status, gaps=gather_gaps(days, closed_gaps(days)).lists)


def ledger_frame(
    source: str, rules: BarRules, described: pl.DataFrame, *, fetched_at: datetime, version: int
) -> pl.DataFrame:
    """What the ledger of sessions keeps of described sessions.

    Args:
        source: short name of the feed.
        rules: what its bars were validated against.
        described: columns of `report.DESCRIBED`.
        fetched_at: when the bars were requested.
        version: of the table that the rows describe.

    Returns:
        The columns of `market.schema.SESSIONS`, without the moments that a commit decides (`known_at`, `superseded_at`).
    """
    everywhere = {
        "source": source,
        "resolution": rules.resolution.value,
        "fetched_at": fetched_at,
        "precision": rules.precision.value,
        "table_version": version,
        "adjustment": rules.adjustment.value,
        "calendar": rules.calendar.version,
    }
    constants = [repeated(name, value, _LEDGER[name], described.height) for name, value in everywhere.items()]
    return described.hstack(constants)[_LEDGER.names()]


def _status(*ranked: tuple[SessionStatus, Flags]) -> pl.Series:
    """The first status that holds, at every position."""
    return _STATUSES[np.select([holds for _, holds in ranked], [_CODES[status] for status, _ in ranked])]


def _is_refused(days: SessionDays, validation: ValidationResult) -> Flags:
    """Sessions of which nothing is believed; with a whole answer, all sessions of the symbol."""
    refused = _of(days, validation.refused_answers)
    if not validation.refused:
        return refused
    pairs = pl.DataFrame(list(validation.refused), schema={"symbol": pl.String(), "session": pl.Date()}, orient="row")
    return refused | (days.count(pairs) > 0)


def _of(days: SessionDays, symbols: Collection[str]) -> Flags:
    """Where the days of some symbols that are listed are."""
    if not symbols:
        return np.zeros(days.height, dtype=bool)
    is_one: Flags = days.symbols.is_in(list(symbols)).to_numpy()
    where: Flags = is_one & days.listed & ~days.closed
    return where


def _in_doubt(days: SessionDays, validation: ValidationResult) -> Flags:
    """Days of which rows may be that do not say theirs."""
    doubts = np.zeros(days.height, dtype=bool)
    for symbol, first, last in validation.doubts.iter_rows():
        between = (days.numbers >= day_number(first)) & (days.numbers <= day_number(last))
        doubts |= between & _of(days, [symbol])
    return doubts


def _count_withdrawn(runs: SessionRuns) -> Integers:
    """Rows of every run that are marked as withdrawn."""
    marks = runs.frame["withdrawn"] if "withdrawn" in runs.frame.columns else None
    if marks is None or not marks.any():
        return np.zeros(len(runs.starts), np.int64)
    return np.add.reduceat(marks.fill_null(False).to_numpy().astype(np.int64), runs.starts)


def _details(days: SessionDays, validation: ValidationResult) -> dict[str, pl.Series]:
    """What only few days have: their rows by code, and the first of them."""
    if validation.bad.is_empty() and validation.warnings.is_empty():
        return {}
    bad = validation.bad.with_columns(pl.col("reasons").list.join(", ").alias("why"))
    suspicious = validation.warnings.with_columns(pl.col("warning").alias("why"), pl.lit(STORED_ROW).alias("row"))
    worst = pl.concat([item.select(*_DAY, "timestamp", "why", "row") for item in (bad, suspicious)])
    return {
        "reason_counts": _counts_by_code(days, validation.bad.explode("reasons"), "reasons"),
        "warning_counts": _counts_by_code(days, validation.warnings, "warning"),
        "worst": _worst_rows(days, worst),
    }


def _counts_by_code(days: SessionDays, rows: pl.DataFrame, code: str) -> pl.Series:
    counts = rows.group_by(*_DAY, pl.col(code).alias("code")).agg(pl.len().cast(pl.Int64).alias("rows")).sort("code")
    return _collect_lists(days, counts, "code", "rows")


def _worst_rows(days: SessionDays, rows: pl.DataFrame) -> pl.Series:
    first_rows = rows.filter(pl.int_range(pl.len()).over(_DAY) < WORST_ROWS)
    return _collect_lists(
        days, first_rows.with_columns(pl.col("row").str.slice(0, _LONGEST_ROW)), "timestamp", "why", "row"
    )


def _collect_lists(days: SessionDays, rows: pl.DataFrame, *names: str) -> pl.Series:
    """The rows of each day as a list of structs, null where there are none."""
    lists = rows.group_by(_DAY, maintain_order=True).agg(pl.struct(names).alias("items"))
    return days.put(days.places(lists["symbol"], lists["session"]), lists["items"])


def _frame(days: SessionDays, **columns: Any) -> pl.DataFrame:
    """A frame with the columns of `DESCRIBED`; numbers that are not given are zero, everything else is null."""
    values: dict[str, Any] = {"symbol": days.symbols, "session": days.sessions, **columns}
    return pl.DataFrame(
        [
            pl.Series(name, values[name]).cast(kind) if name in values else _ABSENT[name].new_from_index(0, days.height)
            for name, kind in DESCRIBED.items()
        ]
    )
