"""This module compares what was expected of recorded sessions with what their calendar says now, and records the difference.

A calendar changes when a newer release knows a holiday or an extra session, and when gb.yaml names another one. Bars are neither
fetched nor changed here: sessions that lack bars by the new calendar become `failed`, so that the next fetch asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum
from functools import partial

import polars as pl

from gb_pipeline.lake import ledger, quarantine
from gb_pipeline.lake.coverage import describe_sessions, ledger_frame
from gb_pipeline.lake.datasets import SESSIONS, bars_dataset
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.schema import CONTENT, RECEIVED
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.reasons import OUTSIDE
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import session_runs
from gb_pipeline.quality.session_days import Listing
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables

CHANGES = pl.Schema(
    {
        "source": pl.String(),
        "symbol": pl.String(),
        "resolution": pl.String(),
        "session": pl.Date(),
        "change": pl.String(),
        "expected": pl.Int64(),
        "expected_now": pl.Int64(),
        "actual": pl.Int64(),
        "refused": pl.Int64(),
        "calendar": pl.String(),
    }
)
_DAY = timedelta(days=1)
# How many expected bars are held at once: years of seconds are many.
_MOST_BARS = 5_000_000
_SETTLED = [SessionStatus.COMPLETE.value, SessionStatus.CLOSED.value, SessionStatus.NOT_LISTED.value]


class CalendarChange(StrEnum):
    """How a calendar differs from what was recorded of a session."""

    OPENED = "now a session"
    CLOSED = "no longer a session"
    TRADED = "no session, but bars are stored"
    HOURS = "another number of bars"
    OUTSIDE = "bars outside its hours"


# Traded is traded, whatever a calendar says: what was recorded of these stays.
KEPT = (CalendarChange.TRADED.value, CalendarChange.OUTSIDE.value)


def find_calendar_changes(store: LakeStore, source: str, rules: BarRules) -> pl.DataFrame:
    """The recorded sessions of a source of which its calendar says something else now.

    Args:
        store: the lake.
        source: short name of the feed.
        rules: of one resolution, with the calendar of today.

    Returns:
        Columns of `CHANGES`, sorted by symbol and session: how many bars were expected, how many are now, how many are stored,
        how many rows of that day are in quarantine as `outside_session` or `outside_hours`, and the calendar and version by
        which the session was recorded (null before 0.3). Sessions that were fetched before they ended are left out: the next
        fetch describes them anyway.

    Raises:
        ConfigError: sessions are recorded that lie outside of what the calendar knows.

    Example:
        >>> find_calendar_changes(store, "bse", settings.source("bse").rules(Resolution.DAY)).row(0, named=True)["change"]
        'now a session'
    """
    recorded = ledger.current(store.tables, source, rules.resolution)
    told = [SessionStatus.NOT_LISTED.value, SessionStatus.REMOVED.value]
    recorded = recorded.filter(~pl.col("status").is_in(told))
    first, last = recorded["session"].min(), recorded["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return pl.DataFrame(schema=CHANGES)
    compared = recorded.join(_expected_now(rules, first, last + _DAY), on="session", how="left")
    was_closed, is_closed = pl.col("status") == SessionStatus.CLOSED.value, pl.col("expected_now").is_null()
    had_ended = pl.col("fetched_at") >= pl.col("end") + rules.grace
    length = rules.resolution.duration or timedelta()
    outside = (pl.col("first_timestamp") + length <= pl.col("begin")) | (pl.col("last_timestamp") >= pl.col("end"))
    change = (
        pl.when(was_closed & ~is_closed)
        .then(pl.lit(CalendarChange.OPENED.value))
        .when(~was_closed & is_closed & (pl.col("actual") > 0))
        .then(pl.lit(CalendarChange.TRADED.value))
        .when(~was_closed & is_closed)
        .then(pl.lit(CalendarChange.CLOSED.value))
        .when(outside & rules.resolution.intraday)
        .then(pl.lit(CalendarChange.OUTSIDE.value))
        .when(~was_closed & had_ended & (pl.col("expected") != pl.col("expected_now")))
        .then(pl.lit(CalendarChange.HOURS.value))
    )
    changes = compared.with_columns(change.alias("change")).filter(pl.col("change").is_not_null())
    if changes.is_empty():
        return pl.DataFrame(schema=CHANGES)
    refused = _count_refused(store, source, rules, changes["symbol"].unique().to_list())
    return (
        changes.join(refused, on=["symbol", "session"], how="left")
        .with_columns(pl.col("expected_now", "refused").fill_null(0))
        .select(CHANGES.names())
        .sort("symbol", "session")
    )


def _expected_now(rules: BarRules, first: date, until: date) -> pl.DataFrame:
    """`session`, `expected_now`, and `begin` and `end` of what is expected, for the sessions of [first, until)."""
    calendar, resolution = rules.calendar, rules.resolution
    seconds = resolution.duration.total_seconds() if resolution.intraday and resolution.duration else 86_400
    step = timedelta(days=min(max(31, int(_MOST_BARS * seconds / 86_400)), 10_000))
    parts = []
    while first < until:
        stop = min(until, first + step)
        grid = calendar.expected(first, stop, resolution, rules.alignment)
        ends = calendar.bar_ends(grid["timestamp"], resolution)
        parts.append(
            grid.with_columns(ends.alias("end"))
            .group_by("session")
            .agg(
                pl.len().cast(pl.Int64).alias("expected_now"),
                pl.col("timestamp").min().alias("begin"),
                pl.col("end").max(),
            )
        )
        first = stop
    return pl.concat(parts)


def _count_refused(store: LakeStore, source: str, rules: BarRules, symbols: list[str]) -> pl.DataFrame:
    """Rows in quarantine that belonged to no session or lay outside its hours, by the session that they belong to now."""
    rows = (
        quarantine.scan(store.tables, source, symbols)
        .filter(pl.col("resolution") == rules.resolution.value, pl.col("timestamp").is_not_null())
        .filter(pl.col("reasons").list.set_intersection(sorted(OUTSIDE)).list.len() > 0)
        .select("symbol", "timestamp")
        .collect()
    )
    sessions = rules.calendar.session_of(rows["timestamp"], rules.resolution)
    return rows.with_columns(sessions).group_by("symbol", "session").agg(pl.len().cast(pl.Int64).alias("refused"))


def record_calendar_changes(
    store: LakeStore, source: str, rules: BarRules, changes: pl.DataFrame, listings: Mapping[str, Listing]
) -> int:
    """Describe these sessions again by today's calendar; those that lack bars are `failed` until they are fetched again.

    Days that are no session any more, or have other hours, but have bars are left as they were recorded: they were traded.

    Args:
        store: the lake.
        source: short name of the feed.
        rules: those that `changes` were found by.
        changes: from `find_calendar_changes`.
        listings: first session, and first session without it, by symbol.

    Returns:
        How many sessions were recorded anew; again, none.

    Raises:
        LakeError: the lake cannot be written, or stored bars cannot be read.
    """
    due = changes.filter(~pl.col("change").is_in(KEPT))
    count = 0
    for (month,), group in due.group_by(pl.col("session").dt.truncate("1mo").alias("month"), maintain_order=True):
        assert isinstance(month, date)
        describe = partial(_describe_again, store.clock, source, rules, month, group, listings)
        count += ledger.record_undisturbed(store.tables, rules, describe, clock=store.clock)
    return count


def _describe_again(
    clock: Clock,
    source: str,
    rules: BarRules,
    month: date,
    changes: pl.DataFrame,
    listings: Mapping[str, Listing],
    tables: Tables,
) -> pl.DataFrame:
    """Rows of the ledger for the changed sessions of a month."""
    until = (month + timedelta(days=32)).replace(day=1)
    symbols = changes["symbol"].unique().sort().to_list()
    window = rules.calendar.window(month, until, rules.resolution)
    expectation = expect(rules, window, clock())
    snapshot = tables.newest(bars_dataset(rules.resolution, rules.precision).name)
    bars = read_window(tables, snapshot, source, symbols, expectation.hull)
    bars = bars.with_columns(rules.calendar.session_of(bars["timestamp"], rules.resolution).alias("session"))
    bars = bars.drop_nulls("session").select("symbol", "session", "timestamp", *CONTENT, "withdrawn")
    runs = session_runs(bars)
    nothing = validate(pl.DataFrame(schema={"symbol": pl.String(), **RECEIVED}), rules, window)

    def describe(*, failed: bool) -> pl.DataFrame:
        described = describe_sessions(
            source, symbols, rules, expectation, runs, nothing, listings=listings,
            touched=bars.clear(), restated=bars.clear(), withdrawn=bars.clear(), failed=failed,
        )  # fmt: skip
        # When they were asked for is taken from the ledger.
        return ledger_frame(source, rules, described, fetched_at=EPOCH, version=-1)

    settled = describe(failed=False).filter(pl.col("status").is_in(_SETTLED))
    lacking = describe(failed=True).join(settled, on=["symbol", "session"], how="anti")
    known = ledger.current(tables, source, rules.resolution, symbols, (month, until))
    kept = known.select("symbol", "session", "fetched_at", "quarantined", "warnings")
    return (
        pl.concat([settled, lacking])
        .drop("fetched_at", "quarantined", "warnings")
        .join(changes.select("symbol", "session"), on=["symbol", "session"], how="semi")
        .join(kept, on=["symbol", "session"], how="inner")
        .select(SESSIONS.columns.names)
        .sort("symbol", "session")
    )
