"""This module finds what is missing: the sessions of a source that a vendor has to be asked for, and why each of them.

It compares the calendar with the ledger, for all symbols at once. Nothing is asked and nothing is written; what the answers
would cost is computed in `planner`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.job import CHUNK_ROWS, Job
from gb_pipeline.lake import ledger
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.quality.gaps import OPEN_REASONS, GapReason
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.session_days import Listing

_DAY = timedelta(days=1)
_OPEN = [reason.value for reason in OPEN_REASONS]
_KEYS = ["symbol", "session"]
_VALUES = ("status", "expected", "fetched_at", "gaps")
_NOTHING = ledger.SESSIONS_EMPTY.lazy()
_RECORDED = (*_KEYS, *_VALUES, "known_at")


class Why(StrEnum):
    """Why a session is in a backlog."""

    NEW = "never fetched"
    FAILED = "failed before"
    REFUSED = "refused before"
    OPEN_GAPS = "with unexplained gaps"
    EXPIRED = "empty, long ago"
    MORE_BARS = "with new bars"
    AGAIN = "asked for again"
    BACK = "removed before"
    """Removed on purpose, and asked for again, which brings it back."""
    RECENT = "closed lately"
    """Stored, and among the newest sessions, which the source may still change."""
    NOT_LISTED = "not listed"
    """Nobody is asked for it; that it was not listed is recorded."""


@dataclass(frozen=True)
class Backlog:
    """What is missing of some symbols of one source and resolution.

    Attributes:
        source: of gb.yaml.
        resolution: of the bars.
        symbols: that were looked at.
        start, end: the days that were looked at, half-open.
        sessions: `symbol`, `session` (Date) and `why` (String, a `Why`) of what is missing, sorted by symbol and session.
        settled: how many sessions are stored, or empty for a reason, and are not asked for.
        again: whether stored sessions are asked for as well.
        days: the sessions that were looked at: `session`, `following` (where the next one begins, or all ends), `ends` (when the
            last bar of each has closed), and `finished` (whether that has been).
        empty: how many of the settled sessions are empty: the vendor was asked, and had nothing.
        removed: how many of them were removed on purpose.
    """

    source: SourceSettings
    resolution: Resolution
    symbols: Sequence[Symbol]
    start: date
    end: date
    sessions: pl.DataFrame = field(repr=False)
    settled: int
    again: bool
    days: pl.DataFrame = field(repr=False)
    empty: int = 0
    removed: int = 0

    @property
    def wanted(self) -> pl.DataFrame:
        """The sessions that the vendor is asked for."""
        return self.sessions.filter(pl.col("why") != Why.NOT_LISTED.value)

    @property
    def reasons(self) -> dict[Why, int]:
        """How many of the wanted sessions there are of each kind, in the order of `Why`."""
        counts = dict(self.wanted["why"].value_counts().iter_rows())
        return {why: counts[why.value] for why in Why if why.value in counts}

    def jobs(self) -> list[Job]:
        """The sessions as jobs, oldest first: neighbours are one job, up to what one question of a vendor holds.

        The steps begin at the same days for all symbols, so that their answers share a commit. A step is what a crash can take
        away. A session that goes on is a job of its own: some vendors refuse whatever reaches into today.
        """
        if self.sessions.is_empty():
            return []
        days = self.days.select("session", "following", "finished").with_row_index("position")
        # Closed days before the first session belong to it.
        begins = pl.when(pl.col("position") == 0).then(self.start).otherwise("session")
        rows = self.sessions.join(days, on="session").sort("symbol", "position")
        step = _step_of(pl.col("session"), self.resolution)
        broken = (
            (pl.col("symbol") != pl.col("symbol").shift())
            | (pl.col("position") != pl.col("position").shift() + 1)
            | (step != step.shift())
            | ~pl.col("finished")
        )
        runs = (
            rows.with_columns(begins.alias("begin"), broken.fill_null(True).cum_sum().alias("run"))
            .group_by("run", maintain_order=True)
            .agg(pl.col("symbol").first(), pl.col("begin").first(), pl.col("following").last())
            .sort("begin", "following", "symbol")
        )
        symbols = {symbol.code: symbol for symbol in self.symbols}
        return [Job(symbols[code], begin, end) for _, code, begin, end in runs.iter_rows()]


def find_backlog(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    symbols: Sequence[Symbol],
    start: date,
    end: date | None = None,
    *,
    again: bool = False,
    recent: int = 0,
) -> Backlog:
    """What is missing of some symbols, in the sessions [start, end).

    A session is missing if it was never fetched, if its fetch failed or its rows were refused, if bars are absent that nothing
    explains, if bars have closed since it was fetched, or if it was empty and that was said longer than
    `empty_expires_days` ago. It is not missing while it is complete, or while the vendor's own
    answer or an incident explains what it lacks. A session of which no bar has closed is not missing yet.

    Args:
        store: whose ledger tells what is there, and whose clock is the present.
        source: of gb.yaml: its calendar, and when each symbol was listed.
        resolution: of the bars.
        symbols: of the source.
        start: first day.
        end: first day that is not wanted any more; everything that has begun by default.
        again: every session, also those that are stored or were removed on purpose.
        recent: so many of the newest sessions that have ended, of the range, also where they are stored.

    Raises:
        ConfigError: the calendar does not know these days.

    Example:
        >>> find_backlog(store, source, Resolution.MINUTE, source.instruments, source.start).reasons
        {<Why.NEW: 'never fetched'>: 2, <Why.OPEN_GAPS: 'with unexplained gaps'>: 1}
    """
    now, rules = store.clock(), source.rules(resolution)
    last = _last_day(rules, end, now)
    first = min(start, last)
    days = _days(rules, first, last, now)
    codes = sorted({symbol.code for symbol in symbols})
    wanted = _listed_days(codes, days, {code: source.listing(code) for code in codes})
    recorded = _recorded(store, source, resolution, codes, first, last)
    rows = wanted.join(recorded, on="place", how="left", maintain_order="left")
    rows = rows.join(_closed_bars_since(rules, rows, now), on="session", how="left", maintain_order="left")
    rows = rows.with_columns(_why(again=again).alias("why"))
    if recent:
        newest = days.filter("finished")["session"].tail(recent)
        is_recent = pl.col("listed") & ~_is_removed() & pl.col("session").is_in(newest.implode())
        rows = rows.with_columns(pl.when(is_recent).then(pl.lit(Why.RECENT.value)).alias("recent"))
        rows = rows.with_columns(pl.coalesce("why", "recent").alias("why"))
    sessions = rows.select(*_KEYS, "why").filter(pl.col("why").is_not_null())
    empty = rows.filter("listed", pl.col("why").is_null(), pl.col("status") == SessionStatus.EMPTY.value).height
    settled = rows.filter("listed").height - sessions.filter(pl.col("why") != Why.NOT_LISTED.value).height
    removed = rows.filter("listed", pl.col("why").is_null(), _is_removed()).height
    end = days["following"][-1] if days.height else last
    return Backlog(source, resolution, tuple(symbols), first, end, sessions, settled, again, days, empty, removed)


def is_confirmed(now: datetime, expires_days: int | None = None) -> pl.Expr:
    """Whether an answer that explains what is absent still counts, for rows with the ledger's columns.

    Who was asked and when is in the ledger. A vendor that fills its history later has to be asked again: that a session is
    empty is believed for `expires_days`, for ever where there are none.
    """
    if expires_days is None:
        return pl.lit(True)
    is_empty = pl.col("status") == SessionStatus.EMPTY.value
    return ~is_empty | (pl.col("fetched_at") + timedelta(days=expires_days) > instant_literal(now))


def _last_day(rules: BarRules, end: date | None, now: datetime) -> date:
    """The end of the range: no day of the future, and no day that the calendar does not know.

    Some sessions begin on the evening before the day that they are named by.
    """
    tomorrow = now.date() + 2 * _DAY
    last = tomorrow if end is None else min(end, tomorrow)
    return last if rules.calendar.end is None else min(last, rules.calendar.end)


def _days(rules: BarRules, first: date, last: date, now: datetime) -> pl.DataFrame:
    """The sessions of [first, last) of which a bar has closed: `session`, `following`, `ends`.

    `following` is the next session, or where the range ends; `ends` is when the last bar has closed.
    """
    calendar, resolution = rules.calendar, rules.resolution
    if resolution.intraday and (length := resolution.duration) is not None:
        # A bar on the clock may begin before the close and end after it.
        days = calendar.schedule(first, last).select("session", ends=pl.col("close") + length)
    else:
        labels = calendar.expected(first, last, resolution, rules.alignment)
        days = labels.select("session", calendar.bar_ends(labels["timestamp"], resolution).alias("ends"))
    # Closed days after a session belong to it, as far as they have begun.
    tomorrow = pl.max_horizontal(pl.lit(now.date() + _DAY), pl.col("session") + _DAY)
    following = pl.min_horizontal(pl.col("session").shift(-1).fill_null(last), tomorrow)
    days = days.with_columns(pl.col("ends") + rules.grace, following.alias("following"))
    days = days.with_columns((pl.col("ends") <= instant_literal(now)).alias("finished"))
    unfinished = days.filter(~pl.col("finished"))["session"]
    begun = _count_closed_bars(rules, unfinished, now)["session"]
    return days.filter(~pl.col("session").is_in(unfinished.implode()) | pl.col("session").is_in(begun.implode()))


def _closed_bars_since(rules: BarRules, rows: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How many bars of a session have closed, for sessions that were fetched before they ended: `session`, `closed_bars`."""
    return _count_closed_bars(rules, rows["session"].filter(rows["fetched_at"] < rows["ends"]).unique().sort(), now)


def _count_closed_bars(rules: BarRules, sessions: pl.Series, now: datetime) -> pl.DataFrame:
    """`session` and `closed_bars` of some sessions, in order; sessions without a closed bar are left out."""
    if sessions.is_empty():
        return pl.DataFrame(schema={"session": pl.Date(), "closed_bars": pl.Int64()})
    calendar, resolution = rules.calendar, rules.resolution
    bars = calendar.expected(sessions[0], sessions[-1] + _DAY, resolution, rules.alignment)
    bars = bars.filter(pl.col("session").is_in(sessions.implode()))
    ends = bars.select("session", calendar.bar_ends(bars["timestamp"], resolution).alias("end"))
    closed = ends.filter(pl.col("end") + rules.grace <= instant_literal(now))
    return closed.group_by("session").agg(pl.len().cast(pl.Int64).alias("closed_bars")).sort("session")


def _listed_days(codes: Sequence[str], days: pl.DataFrame, listings: Mapping[str, Listing]) -> pl.DataFrame:
    """Every symbol in every session: `symbol`, `session`, `ends`, and `listed`, whether it was listed then."""
    symbols = pl.DataFrame(
        [(code, *listings[code]) for code in codes],
        schema={"symbol": pl.String(), "from": pl.Date(), "until": pl.Date()},
        orient="row",
    )
    listed = (pl.col("session") >= pl.col("from")).fill_null(True) & (pl.col("session") < pl.col("until")).fill_null(
        True
    )
    return symbols.join(days, how="cross").select(*_KEYS, "ends", listed.alias("listed"), _place(codes))


def _recorded(
    store: LakeStore, source: SourceSettings, resolution: Resolution, codes: Sequence[str], first: date, last: date
) -> pl.DataFrame:
    """What the ledger has recorded of these sessions: `place`, `status`, `expected`, `fetched_at`, `confirmed` and
    `has_open_gap` of each.

    `confirmed` says that the vendor's answer explains all that is absent, and still counts.
    """
    days = (first, last)
    scanned = ledger.scan(store.tables, source.name, resolution, codes, days, _RECORDED) if codes else _NOTHING
    rows = scanned.collect()
    # What became known last is valid.
    placed = rows.with_columns(_place(codes)).sort("place", "known_at")
    valid = placed.filter((pl.col("place") != pl.col("place").shift(-1)).fill_null(True))
    is_explained = pl.lit(False)
    if store.incidents is not None and (incidents := store.incidents()).items:
        series = pl.lit(source.name).alias("source"), pl.lit(resolution.value).alias("resolution")
        valid = explain_sessions(valid.with_columns(series), incidents)
        # What an incident explains is not asked for again, however old the answer is.
        is_explained = _any_reason([GapReason.INCIDENT.value])
    has_open_gap = _any_reason(_OPEN)
    confirmed = ~has_open_gap & (is_explained | is_confirmed(store.clock(), source.empty_expires_days))
    return valid.select(
        "place", "status", "expected", "fetched_at", confirmed.alias("confirmed"), has_open_gap.alias("has_open_gap")
    )


def _any_reason(reasons: Sequence[str]) -> pl.Expr:
    """Whether a gap has one of some reasons."""
    return pl.col("gaps").list.eval(pl.element().struct.field("reason").is_in(reasons)).list.any()


def _place(codes: Sequence[str]) -> pl.Expr:
    """A number for each symbol and session: a million of them are joined in half a second, as texts and dates in two."""
    symbol = pl.col("symbol").cast(pl.Enum(codes or ["-"])).to_physical().cast(pl.Int64)
    return (symbol * 2**32 + pl.col("session").to_physical().cast(pl.Int64)).alias("place")


def _why(*, again: bool) -> pl.Expr:
    """Why a session is missing, null where it is not."""
    status = pl.col("status")

    def because(why: Why) -> pl.Expr:
        return pl.lit(why.value)

    return (
        pl.when(~pl.col("listed"))
        .then(pl.when(status.ne_missing(SessionStatus.NOT_LISTED.value) & ~_is_removed()).then(because(Why.NOT_LISTED)))
        .when(_is_removed())
        .then(because(Why.BACK) if again else pl.lit(None, pl.String))
        .when(pl.lit(again))
        .then(because(Why.AGAIN))
        # Recorded when the calendar or the listing of the symbol was another one.
        .when(status.is_null() | status.is_in([SessionStatus.CLOSED.value, SessionStatus.NOT_LISTED.value]))
        .then(because(Why.NEW))
        .when(status == SessionStatus.FAILED.value)
        .then(because(Why.FAILED))
        .when(status == SessionStatus.REFUSED.value)
        .then(because(Why.REFUSED))
        .when(pl.col("closed_bars") > pl.col("expected"))
        .then(because(Why.MORE_BARS))
        .when(~pl.col("confirmed") & (status == SessionStatus.EMPTY.value) & ~pl.col("has_open_gap"))
        .then(because(Why.EXPIRED))
        .when(~pl.col("confirmed"))
        .then(because(Why.OPEN_GAPS))
    )


def _is_removed() -> pl.Expr:
    return (pl.col("status") == SessionStatus.REMOVED.value).fill_null(False)


def _step_of(sessions: pl.Expr, resolution: Resolution) -> pl.Expr:
    """The number of the step that a session lies in: as many whole months as one question of a vendor holds."""
    length = resolution.duration
    months = 120 if length is None else max(1, int(CHUNK_ROWS * length / (31 * _DAY)))
    return (sessions.dt.year().cast(pl.Int32) * 12 + sessions.dt.month().cast(pl.Int32) - 1) // months
