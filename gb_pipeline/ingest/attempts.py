"""This module counts how often sessions were asked for: by the rows of `fetches`, and by runs that ended before they could ask.

What is open, and when it is asked for again, is said in `open_work`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.lake import fetches
from gb_pipeline.lake.fetches import FetchOutcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT, instant_literal
from gb_pipeline.market.resolution import Resolution

_KEYS = ["symbol", "session"]
_ANSWERED = [FetchOutcome.OK.value, FetchOutcome.EMPTY.value]
# Whoever asks without a run of Dagster has no id; questions of one command come within this time.
_ONE_COMMAND = "1h"
# A failure is recorded when its run stores what came, which is after it was asked for, and no run takes longer.
_LONGEST_RUN = timedelta(days=1)

# Runs that were to ask: of which symbol, sessions [first, end), when they began, and who they are.
ASKED = pl.Schema({"symbol": pl.String(), "first": pl.Date(), "end": pl.Date(), "at": INSTANT, "run_id": pl.String()})
# Runs that were to ask, and had to leave it to the vendor's next day, which begins at `until`.
DEFERRED = pl.Schema({**ASKED, "until": INSTANT})


def find_questions(
    store: LakeStore, source: SourceSettings, resolution: Resolution, rows: pl.DataFrame, days: pl.DataFrame
) -> tuple[pl.DataFrame, datetime | None]:
    """What was asked of these sessions since they are open, as `spread_runs` says it; and when the vendor last answered anybody."""
    since: datetime = rows["since"].min()  # type: ignore[assignment]
    if rows["since"].max() > store.clock():  # type: ignore[operator]
        # The clock went back since: what was asked after that is older than what it is about.
        told = fetches.scan(store.tables, source.name)
    else:
        told = fetches.scan(store.tables, source.name, since=since - _LONGEST_RUN)
    told = told.filter(pl.col("kind").fill_null("bars") == "bars", pl.col("resolution") == resolution.value)
    told = told.filter(pl.col("outcome") != FetchOutcome.DEFERRED.value)
    found = told.select(
        "symbol", "window_start", "window_end", "fetched_at", "run_id", "outcome", "error", "message"
    ).collect()
    answered = found.filter(pl.col("outcome").is_in(_ANSWERED))["fetched_at"].max()
    found = found.filter(pl.col("symbol").is_in(rows["symbol"].unique().implode()))
    opens = days["opens"]
    ranges = found.with_columns(
        opens.search_sorted(found["window_start"], "left").cast(pl.Int64).alias("from"),
        opens.search_sorted(found["window_end"], "left").cast(pl.Int64).alias("to"),
        pl.col("fetched_at").alias("at"),
    )
    return _explode(ranges), answered  # type: ignore[return-value]


def spread_runs(runs: pl.DataFrame, days: pl.DataFrame, *more: str) -> pl.DataFrame:
    """Runs over ranges of sessions, as a row per symbol and session: `symbol`, `place`, `at`, `run_id`, `error`, `message`."""
    sessions = days["session"]
    nothing = pl.lit(None, pl.String)
    return _explode(
        runs.with_columns(
            sessions.search_sorted(runs["first"], "left").cast(pl.Int64).alias("from"),
            sessions.search_sorted(runs["end"], "left").cast(pl.Int64).alias("to"),
            nothing.alias("error"),
            nothing.alias("message"),
        ),
        *more,
    )


def _explode(ranges: pl.DataFrame, *more: str) -> pl.DataFrame:
    spread = ranges.with_columns(pl.int_ranges("from", "to").alias("place")).explode("place").drop_nulls("place")
    return spread.select("symbol", "place", "at", "run_id", "error", "message", *more)


def count_attempts(rows: pl.DataFrame, questions: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How often each session was asked for since it is open: `symbol`, `session`, `attempts`, `last`, `error`, `message`."""
    present = instant_literal(now)
    # A clock that was ahead has left moments of the future: they count, and nobody waits for them.
    own = rows.select(*_KEYS, "place", "since", "found_failing").join(questions, on=["symbol", "place"])
    # The question that failed was asked before its failure was recorded.
    before = pl.col("at").filter(pl.col("at").is_between(pl.col("since") - _LONGEST_RUN, pl.col("since"))).max()
    begun = pl.when(pl.col("found_failing").fill_null(False)).then(before.over(_KEYS))
    counted = (pl.col("at") >= pl.coalesce(begun, "since")) | (pl.col("since") > present)
    ids = pl.coalesce("run_id", pl.col("at").dt.truncate(_ONE_COMMAND).cast(pl.String)).alias("id")
    own = own.filter(counted).with_columns(ids).sort("at")
    told = pl.col("error").is_not_null()
    return own.group_by(_KEYS).agg(
        pl.col("id").n_unique().cast(pl.Int64).alias("attempts"),
        pl.col("at").filter(pl.col("at") <= present).max().alias("last"),
        pl.col("error").filter(told).last(),
        pl.col("message").filter(told).last(),
    )
