"""This module keeps the ledger of open work: sessions that a vendor has to be asked for again, how often it was, and when next.

There is no table of it. What is open is found by `backlog`; that it was asked for is told by the rows of `fetches`, which are
recorded before anything of an answer is stored, and by runs that ended before they could ask. So the ledger cannot disagree
with the lake, whoever asked and wherever a process died. Nothing is asked and nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import polars as pl

from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError, VendorUnreachable, list_kinds
from gb_pipeline.ingest.attempts import ASKED, DEFERRED, count_attempts, find_questions, spread_runs
from gb_pipeline.ingest.backlog import Backlog, Why, find_backlog
from gb_pipeline.ingest.splits import find_stale
from gb_pipeline.lake import ledger
from gb_pipeline.lake.report import UNSTORED, SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.quality.gaps import OPEN_REASONS
from gb_pipeline.quality.rules import BarRules

_KEYS = ["symbol", "session"]
_OPEN = [reason.value for reason in OPEN_REASONS]
_UNREACHABLE = VendorUnreachable.__name__

# Why a session is open that is missing for no reason of a backlog's.
WHY_DEFERRED, WHY_STALE = SessionStatus.DEFERRED.value, "of before a split"
ITEMS = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "why": pl.String(),
        "since": INSTANT,
        "attempts": pl.Int64(),
        "last": INSTANT,
        "next": INSTANT,
        "state": pl.String(),
        "error": pl.String(),
        "message": pl.String(),
    }
)


class State(StrEnum):
    """What happens to a session of the ledger."""

    DUE = "due"
    WAITING = "waiting"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class OpenWork:
    """The open work of one source and resolution.

    Attributes:
        source: of gb.yaml.
        resolution: of the bars.
        items: one row per symbol and session, sorted; columns of `ITEMS`: `why` as `backlog` says it, `deferred`, or that its
            prices are `of before a split`; `since` when it is open, how many `attempts` there were, the `last` one and the
            `next`, `state` (a `State`), and what went wrong last: the `error`'s kind and its `message`, null where the vendor
            answered. Moments are UTC.
        backlog: what it was made of.
    """

    source: SourceSettings
    resolution: Resolution
    items: pl.DataFrame = field(repr=False)
    backlog: Backlog = field(repr=False)

    def count(self, state: State) -> int:
        """How many sessions are in a state."""
        return self.items.filter(pl.col("state") == state.value).height

    @property
    def due(self) -> pl.DataFrame:
        """The sessions to ask for now."""
        return self.items.filter(pl.col("state") == State.DUE.value)

    @property
    def next(self) -> datetime | None:
        """When the next session that waits is due; None where none waits."""
        waiting = self.items.filter(pl.col("state") == State.WAITING.value)["next"]
        return waiting.min() if waiting.len() else None  # type: ignore[return-value]


def find_open_work(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    symbols: Sequence[Symbol],
    healing: HealingSettings,
    *,
    asked: pl.DataFrame | None = None,
    failed: pl.DataFrame | None = None,
    deferred: pl.DataFrame | None = None,
) -> OpenWork:
    """The sessions of some symbols that are over and not stored as they should be, although somebody has asked for them.

    Sessions that nobody ever asked for are no open work: they are up to schedules, backfills and `gb update`. Gaps that an
    incident explains are not open. Stored sessions are open where a split has made their prices wrong.

    Args:
        store: whose ledger and fetches tell, and whose clock is the present.
        source: of gb.yaml.
        resolution: of the bars.
        symbols: of the source.
        healing: the waits.
        asked: runs that were to ask (columns of `ASKED`): each counts as an attempt, also where it died before it could ask.
        failed: runs that failed: what they were to fetch and never asked for is open too.
        deferred: what runs left to the vendor's next day (columns of `DEFERRED`): it is open, and nothing is asked for before.

    Example:
        >>> find_open_work(store, source, Resolution.MINUTE, source.instruments, settings.healing).count(State.DUE)
        3
    """
    now, rules = store.clock(), source.rules(resolution)
    runs = pl.concat([frame for frame in (asked, failed) if frame is not None] or [ASKED.to_frame()]).unique()
    backlog = find_backlog(store, source, resolution, symbols, source.start, source.end)
    days = _opens(rules, backlog)
    rows = backlog.wanted.join(days.filter("finished"), on="session", maintain_order="left")
    was_to_be = spread_runs(ASKED.to_frame() if failed is None else failed, days)
    known = rows.filter(pl.col("why") != Why.NEW.value)
    dropped = rows.filter(pl.col("why") == Why.NEW.value).join(was_to_be, on=["symbol", "place"], how="semi")
    waiting = _deferred(DEFERRED.to_frame() if deferred is None else deferred, rows, days, now)
    stale = _stale(find_stale(store, source, resolution, [symbol.code for symbol in symbols]), days)
    open_rows = pl.concat([known, dropped.join(waiting, on=_KEYS, how="anti")])
    stale = stale.join(open_rows, on=_KEYS, how="anti")
    if open_rows.is_empty() and stale.is_empty():
        return OpenWork(source, resolution, waiting, backlog)
    open_rows = open_rows.join(
        _since(store, source, resolution, open_rows), on=_KEYS, how="left", maintain_order="left"
    )
    open_rows = pl.concat([open_rows.with_columns(pl.coalesce("since", "ends").alias("since")), stale])
    questions, answered = find_questions(store, source, resolution, open_rows, days)
    attempts = count_attempts(open_rows, pl.concat([questions, spread_runs(runs, days)]), now)
    items = open_rows.join(attempts, on=_KEYS, how="left", maintain_order="left")
    items = _schedule(items, healing, answered, now).select(ITEMS.names()).cast(ITEMS)
    items = _hold(items, None if deferred is None else deferred["until"].max(), now)  # type: ignore[arg-type]
    return OpenWork(source, resolution, pl.concat([items, waiting]).sort(_KEYS), backlog)


def _deferred(runs: pl.DataFrame, wanted: pl.DataFrame, days: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """What waits for the vendor's next day and of which nothing is known, as rows of `ITEMS`."""
    unknown = wanted.filter(pl.col("why") == Why.NEW.value)
    found = unknown.join(spread_runs(runs, days, "until"), on=["symbol", "place"])
    until = pl.col("until").sort_by("at").last()
    items = found.group_by(_KEYS).agg(
        pl.lit(WHY_DEFERRED).alias("why"),
        pl.col("at").min().alias("since"),
        pl.col("run_id").n_unique().cast(pl.Int64).alias("attempts"),
        pl.col("at").max().alias("last"),
        until.alias("next"),
        pl.when(until > instant_literal(now))
        .then(pl.lit(State.WAITING.value))
        .otherwise(pl.lit(State.DUE.value))
        .alias("state"),
        pl.lit(None, pl.String).alias("error"),
        pl.lit(None, pl.String).alias("message"),
    )
    return items.select(ITEMS.names()).cast(ITEMS).sort(_KEYS)


def _stale(stale: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose prices are of before a split, with the columns of open rows."""
    rows = stale.join(days.filter("finished"), on="session")
    return rows.select(
        *_KEYS,
        pl.lit(WHY_STALE).alias("why"),
        *(name for name in days.columns if name != "session"),
        "since",
        pl.lit(False).alias("found_failing"),
    )


def _hold(items: pl.DataFrame, until: datetime | None, now: datetime) -> pl.DataFrame:
    """Nothing is asked for while the calls of the vendor's day are used up."""
    if until is None or until <= now:
        return items
    kept = pl.col("state") == State.GIVEN_UP.value
    return items.with_columns(
        pl.when(~kept).then(pl.max_horizontal("next", instant_literal(until))).alias("next"),
        pl.when(kept).then("state").otherwise(pl.lit(State.WAITING.value)).alias("state"),
    )


def _opens(rules: BarRules, backlog: Backlog) -> pl.DataFrame:
    """The sessions that have begun: `session`, `ends`, `finished`, when its first bar `opens`, and its `place` in the order."""
    days = backlog.days.select("session", "ends", "finished")
    if days.is_empty():
        return days.with_columns(pl.lit(None, INSTANT).alias("opens"), pl.lit(0, pl.Int64).alias("place"))
    first, end = days["session"][0], days["session"][-1] + timedelta(days=1)
    if rules.resolution.intraday:
        opens = rules.calendar.schedule(first, end).select("session", pl.col("open").alias("opens"))
    else:
        opens = rules.calendar.expected(first, end, rules.resolution, rules.alignment)
        opens = opens.group_by("session").agg(pl.col("timestamp").min().alias("opens"))
    days = days.join(opens, on="session", how="left", maintain_order="left")
    return days.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("place"))


def _since(store: LakeStore, source: SourceSettings, resolution: Resolution, rows: pl.DataFrame) -> pl.DataFrame:
    """Since when each session is as it is: `symbol`, `session`, `since`, and `found_failing`, whether a failure began it.

    The ledger has a row for every change of a session. Of the rows since it was last as it should be, the first one tells.
    """
    between = (rows["session"].min(), rows["session"].max() + timedelta(days=1))  # type: ignore[operator]
    codes = rows["symbol"].unique().to_list()
    columns = (*_KEYS, "status", "gaps", "fetched_at", "known_at")
    recorded = ledger.scan(store.tables, source.name, resolution, codes, between, columns)  # type: ignore[arg-type]
    is_open = pl.col("status").is_in(UNSTORED) | pl.col("gaps").list.eval(
        pl.element().struct.field("reason").is_in(_OPEN)
    ).list.any().fill_null(False)
    history = (
        recorded.join(rows.lazy().select(*_KEYS, "why", "ends"), on=_KEYS)
        .with_columns(is_open.alias("is_open"))
        .sort(*_KEYS, "known_at")
        .with_columns((~pl.col("is_open")).cum_sum(reverse=True).over(_KEYS).alias("later_sound"))
    )
    why = pl.col("why").first()
    newest = pl.col("fetched_at").last()
    is_late = pl.col("later_sound") == 0
    streak = pl.col("fetched_at").filter(is_late).first()
    failed = pl.col("status").filter(is_late).first() == SessionStatus.FAILED.value
    expired = newest + timedelta(days=source.empty_expires_days or 0)
    return (
        history.group_by(_KEYS)
        .agg(
            pl.when(why == Why.EXPIRED.value)
            .then(expired)
            .when(why == Why.MORE_BARS.value)
            .then(pl.col("ends").first())
            .otherwise(pl.coalesce(streak, newest))
            .alias("since"),
            failed.fill_null(False).alias("found_failing"),
        )
        .collect()
    )


def _schedule(rows: pl.DataFrame, healing: HealingSettings, answered: datetime | None, now: datetime) -> pl.DataFrame:
    """`attempts`, `last`, `next` and `state` of each session."""
    present, steps = instant_literal(now), list(healing.after)
    known = pl.when(pl.col("since") <= present).then("since")
    expired = pl.col("why").is_in([Why.EXPIRED.value, Why.MORE_BARS.value, WHY_STALE])
    # That it is open was found by the first question; an answer that expired, or a split overtook, was not asked for yet.
    least = pl.when(expired).then(0).otherwise(1)
    rows = rows.with_columns(pl.max_horizontal(pl.col("attempts").fill_null(0), least).alias("attempts"))
    rows = rows.with_columns(pl.coalesce("last", known).alias("last"))
    waits = pl.Series("wait", [timedelta(0), *steps], dtype=pl.Duration("us"))
    position = pl.min_horizontal(pl.col("attempts"), pl.lit(len(steps)))
    permanent = pl.col("error").is_in(list_kinds(PermanentVendorError)).fill_null(False)
    # One failure for good buys one retry, and that a long time after.
    wait = pl.when(permanent).then(pl.lit(steps[-1])).otherwise(pl.lit(waits.implode()).list.get(position))
    spent = (pl.col("attempts") > len(steps)) | (permanent & (pl.col("attempts") > 1))
    # The symbol was not to blame: once the vendor answers anybody, its sessions are asked for again.
    is_back = (
        pl.lit(False)
        if answered is None
        else ((pl.col("error") == _UNREACHABLE) & (pl.col("last") < instant_literal(answered))).fill_null(False)
    )
    due = pl.col("next").is_null() | (pl.col("next") <= present)
    rows = rows.with_columns(pl.when(is_back).then("last").otherwise(pl.col("last") + wait).alias("next"))
    return rows.with_columns(
        pl.when(~is_back & spent)
        .then(pl.lit(State.GIVEN_UP.value))
        .when(due)
        .then(pl.lit(State.DUE.value))
        .otherwise(pl.lit(State.WAITING.value))
        .alias("state")
    ).with_columns(pl.when(pl.col("state") != State.GIVEN_UP.value).then("next").alias("next"))
