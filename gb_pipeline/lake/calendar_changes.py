"""This module compares what was expected of recorded sessions with what their calendar says now, and records the difference.

A calendar changes when a newer release knows a holiday or an extra session, and when gb.yaml names another one. Bars are neither
fetched nor changed here: sessions that lack bars by the new calendar become `failed`, so that the next fetch asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from enum import StrEnum

import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.lake.coverage import describe_sessions, ledger_frame
from gb_pipeline.lake.datasets import SESSIONS, bars_dataset
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.schema import CONTENT, RECEIVED, bar_table
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.session_days import Listing
from gb_pipeline.storage.locks import locked

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
    }
)
_DAY = timedelta(days=1)
_SETTLED = [SessionStatus.COMPLETE.value, SessionStatus.CLOSED.value, SessionStatus.NOT_LISTED.value]


class CalendarChange(StrEnum):
    """How a calendar differs from what was recorded of a session."""

    OPENED = "now a session"
    CLOSED = "no longer a session"
    TRADED = "no longer a session, but bars are stored"
    HOURS = "another number of bars"


def find_calendar_changes(store: LakeStore, source: str, rules: BarRules) -> pl.DataFrame:
    """The recorded sessions of a source of which its calendar says something else now.

    Args:
        store: the lake.
        source: short name of the feed.
        rules: of one resolution, with the calendar of today.

    Returns:
        Columns of `CHANGES`, sorted by symbol and session: how many bars were expected, how many are now, and how many are
        stored. Sessions that were fetched before they ended are left out: the next fetch describes them anyway.

    Raises:
        ConfigError: sessions are recorded that lie outside of what the calendar knows.

    Example:
        >>> find_calendar_changes(store, "bse", settings.source("bse").rules(Resolution.DAY)).row(0, named=True)["change"]
        'now a session'
    """
    recorded = ledger.current(store.tables, source, rules.resolution)
    recorded = recorded.filter(pl.col("status") != SessionStatus.NOT_LISTED.value)
    first, last = recorded["session"].min(), recorded["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return pl.DataFrame(schema=CHANGES)
    grid = rules.calendar.expected(first, last + _DAY, rules.resolution, rules.alignment)
    ends = rules.calendar.bar_ends(grid["timestamp"], rules.resolution)
    expected_now = (
        grid.with_columns(ends.alias("end"))
        .group_by("session")
        .agg(pl.len().cast(pl.Int64).alias("expected_now"), pl.col("end").max())
    )
    was_closed, is_closed = pl.col("status") == SessionStatus.CLOSED.value, pl.col("expected_now").is_null()
    had_ended = pl.col("fetched_at") >= pl.col("end") + rules.grace
    change = (
        pl.when(was_closed & ~is_closed)
        .then(pl.lit(CalendarChange.OPENED.value))
        .when(~was_closed & is_closed & (pl.col("actual") > 0))
        .then(pl.lit(CalendarChange.TRADED.value))
        .when(~was_closed & is_closed)
        .then(pl.lit(CalendarChange.CLOSED.value))
        .when(~was_closed & had_ended & (pl.col("expected") != pl.col("expected_now")))
        .then(pl.lit(CalendarChange.HOURS.value))
    )
    compared = recorded.join(expected_now, on="session", how="left").with_columns(change.alias("change"))
    return (
        compared.filter(pl.col("change").is_not_null())
        .with_columns(pl.col("expected_now").fill_null(0))
        .select(CHANGES.names())
        .sort("symbol", "session")
    )


def record_calendar_changes(
    store: LakeStore, source: str, rules: BarRules, changes: pl.DataFrame, listings: Mapping[str, Listing]
) -> int:
    """Describe these sessions again by today's calendar; those that lack bars are `failed` until they are fetched again.

    Days that are no session any more but have bars are left as they were recorded: they were traded.

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
    due = changes.filter(pl.col("change") != CalendarChange.TRADED.value)
    count = 0
    with locked(store.storage.state, bar_table(rules.resolution, rules.precision)):
        for (month,), group in due.group_by(pl.col("session").dt.truncate("1mo").alias("month"), maintain_order=True):
            assert isinstance(month, date)
            rows = _describe_again(store, source, rules, month, group, listings)
            count += ledger.append_changed(store.tables, rows, clock=store.clock).height
    return count


def _describe_again(
    store: LakeStore,
    source: str,
    rules: BarRules,
    month: date,
    changes: pl.DataFrame,
    listings: Mapping[str, Listing],
) -> pl.DataFrame:
    """Rows of the ledger for the changed sessions of a month."""
    until = (month + timedelta(days=32)).replace(day=1)
    symbols = changes["symbol"].unique().sort().to_list()
    window = rules.calendar.window(month, until, rules.resolution)
    expectation = expect(rules, window, store.clock())
    snapshot = store.tables.newest(bars_dataset(rules.resolution, rules.precision).name)
    bars = read_window(store.tables, snapshot, source, symbols, expectation.hull)
    bars = bars.with_columns(rules.calendar.session_of(bars["timestamp"], rules.resolution).alias("session"))
    bars = bars.drop_nulls("session").select("symbol", "session", "timestamp", *CONTENT, "withdrawn")
    nothing = validate(pl.DataFrame(schema={"symbol": pl.String(), **RECEIVED}), rules, window)

    def describe(*, failed: bool) -> pl.DataFrame:
        described = describe_sessions(
            source, symbols, rules, expectation, bars, nothing, listings=listings,
            touched=bars.clear(), restated=bars.clear(), withdrawn=bars.clear(), failed=failed,
        )  # fmt: skip
        # When they were asked for is taken from the ledger.
        return ledger_frame(source, rules, described, fetched_at=EPOCH, version=-1)

    settled = describe(failed=False).filter(pl.col("status").is_in(_SETTLED))
    lacking = describe(failed=True).join(settled, on=["symbol", "session"], how="anti")
    known = ledger.current(store.tables, source, rules.resolution, symbols, (month, until))
    kept = known.select("symbol", "session", "fetched_at", "quarantined", "warnings")
    return (
        pl.concat([settled, lacking])
        .drop("fetched_at", "quarantined", "warnings")
        .join(changes.select("symbol", "session"), on=["symbol", "session"], how="semi")
        .join(kept, on=["symbol", "session"], how="inner")
        .select(SESSIONS.columns.names)
        .sort("symbol", "session")
    )
