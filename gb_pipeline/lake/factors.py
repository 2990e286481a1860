"""This module reads and writes stored factors, as they are now and as they were at any earlier moment.

A stretch of sessions is written as a whole, as one commit: what is stored with the same value is left alone, what came out
otherwise gets a new version, and what the set has no row of any more is marked so. What was computed from older data than a stored
row never replaces it. Computing is left to `research.factors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.lake.datasets import FACTOR_RUNS, FACTORS
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, with_known_at
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

TABLE, RUNS_TABLE = FACTORS.name, FACTOR_RUNS.name
# What a computation says of each value.
COMPUTED = ("factor", "symbol", "session", "kind", "value", "text")
_KEY = ["factor", "symbol", "session"]
_CONTENT = ("kind", "value", "text")


@dataclass(frozen=True, slots=True)
class FactorsReport:
    """One write of a stretch of sessions; `received == new + restated + unchanged + late`.

    Attributes:
        received: values of the frame.
        new: values that the lake did not hold.
        restated: values that it held otherwise, or as withdrawn; the old versions stay.
        unchanged: values that it held.
        withdrawn: values that it held and that the set has no more.
        late: values that differ from what was computed of newer data; they changed nothing.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    received: int
    new: int
    restated: int
    unchanged: int
    withdrawn: int
    late: int
    version: int | None


def read(
    tables: Tables,
    name: str,
    start: date | None = None,
    end: date | None = None,
    *,
    factors: Sequence[str] | None = None,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """The values of a set that are valid now, or were at a moment; not those that were withdrawn.

    Args:
        start, end: half-open range of sessions.
        factors, symbols: only these.

    Returns:
        Columns of `COMPUTED`, `data_as_of` and `known_at`, sorted by session, symbol and factor.
    """
    snapshot = tables.newest(TABLE)
    first, last = start or date.min, end or date.max
    holding = {column: values for column, values in (("factor", factors), ("symbol", symbols)) if values is not None}
    chosen = snapshot.select({"factor_set": name}, between={"session": (first, last)}, holding=holding or None)
    files = reading.current_files(snapshot, chosen) if as_of is None else reading.files_valid_at(chosen, as_of)
    names = [*COMPUTED, "withdrawn", "data_as_of", KNOWN_AT]
    if as_of is not None:
        names = [*names, "superseded_at"]
    rows = reading.read(tables.storage, FACTORS, files, names)
    wanted = [pl.col("session").is_between(first, last, closed="left"), ~pl.col("withdrawn").fill_null(False)]
    wanted += [pl.col(column).is_in(list(values)) for column, values in holding.items()]
    if as_of is not None:
        wanted.append(reading.valid_at(as_of, history=True))
    rows = rows.filter(*wanted)
    return rows.sort("session", "symbol", "factor").select(*COMPUTED, "data_as_of", KNOWN_AT)


def write_factors(
    tables: Tables, name: str, start: date, end: date, rows: pl.DataFrame, *, data_as_of: datetime, clock: Clock
) -> FactorsReport:
    """Store all values of a set in the sessions of [start, end). Idempotent.

    Args:
        rows: columns of `COMPUTED`; every value of these sessions, also those that are null.
        data_as_of: they were computed from what was known at this moment.

    Raises:
        WindowRefused: a row lies outside the sessions, or comes twice; nothing was stored.
        LakeError: the lake cannot be written.
    """
    types = {column: FACTORS.polars[column] for column in COMPUTED}
    rows = rows.select(pl.col(column).cast(kind) for column, kind in types.items())
    outside = rows.filter(~pl.col("session").is_between(start, end, closed="left"))
    if outside.height or rows.select(_KEY).is_duplicated().any():
        raise WindowRefused(
            f"values of {name} lie outside of {start} to {end} (exclusive), or come twice",
            fix="compute the stretch as a whole, with one value for each factor, symbol and session",
        )

    def decide(draft: Draft) -> FactorsReport:
        chosen = draft.base.select({"factor_set": name}, between={"session": (start, end)})
        files = reading.current_files(draft.base, chosen)
        held = reading.read(draft.table.storage, FACTORS, files, with_file=True)
        stored = held.filter(pl.col("session").is_between(start, end, closed="left"))
        return _revise(draft, name, rows, data_as_of, files, held, stored)

    return commit(tables[TABLE], decide, clock=clock)


def _revise(
    draft: Draft,
    name: str,
    rows: pl.DataFrame,
    data_as_of: datetime,
    files: pl.DataFrame,
    held: pl.DataFrame,
    stored: pl.DataFrame,
) -> FactorsReport:
    """One attempt: compare, and fill the draft."""
    beside = stored.select(
        *_KEY, *(pl.col(column).alias(f"{column}_stored") for column in (*_CONTENT, "withdrawn", "data_as_of"))
    )
    both = rows.join(beside, on=_KEY, how="left", maintain_order="left")
    is_stored = pl.col("data_as_of_stored").is_not_null()
    same = is_stored & ~pl.col("withdrawn_stored").fill_null(False)
    for column in _CONTENT:
        same = same & pl.col(column).eq_missing(pl.col(f"{column}_stored"))
    newer = (pl.col("data_as_of_stored") > data_as_of).fill_null(False)
    change = (
        pl.when(same).then(pl.lit("unchanged")).when(newer).then(pl.lit("late"))
        .when(is_stored).then(pl.lit("restated")).otherwise(pl.lit("new"))
    )  # fmt: skip
    both = both.with_columns(change.alias("change"))
    gone = stored.filter(~pl.col("withdrawn").fill_null(False), pl.col("data_as_of") <= data_as_of)
    gone = gone.join(rows, on=_KEY, how="anti", maintain_order="left")
    counts = dict(both.group_by("change").len().rows())
    names = FACTORS.columns.names
    about = {"factor_set": pl.lit(name), "data_as_of": instant_literal(data_as_of)}
    changed = both.filter(pl.col("change").is_in(["new", "restated"])).with_columns(withdrawn=pl.lit(False), **about)
    ended = gone.with_columns(withdrawn=pl.lit(True), **about)
    added = pl.concat([changed.select(names), ended.select(names)]).sort(_KEY)
    version = None
    if added.height:
        version = draft.base.version + 1
        replaced = stored.join(added, on=_KEY, how="semi", maintain_order="left")
        revise(draft, added, replaced, files, held)
    new, restated, unchanged, late = (counts.get(key, 0) for key in ("new", "restated", "unchanged", "late"))
    return FactorsReport(rows.height, new, restated, unchanged, gone.height, late, version)


def record_run(tables: Tables, run: pl.DataFrame, *, clock: Clock) -> None:
    """Keep what a computation read and what came of it: one row with the columns of `FACTOR_RUNS`, but `computed_at`."""

    def decide(draft: Draft) -> None:
        row = run.with_columns(computed_at=instant_literal(draft.stamp)).select(FACTOR_RUNS.columns.names)
        draft.add(with_known_at(row, draft.stamp, history=False))

    commit(tables[RUNS_TABLE], decide, clock=clock)


def read_runs(tables: Tables, name: str | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """Every computation, or those that were known at a moment, in the order of sets, stretches and time."""
    snapshot = tables.newest(RUNS_TABLE)
    files = snapshot.select({} if name is None else {"factor_set": name})
    rows = reading.read(tables.storage, FACTOR_RUNS, files, FACTOR_RUNS.columns.names)
    if as_of is not None:
        rows = rows.filter(pl.col("computed_at") <= instant_literal(as_of))
    return rows.sort("factor_set", "start", "end", "computed_at")


def newest_runs(tables: Tables, name: str | None = None) -> pl.DataFrame:
    """The newest computation of each stretch; columns as `read_runs`."""
    runs = read_runs(tables, name).sort("data_as_of", "computed_at")
    return runs.unique(["factor_set", "start"], keep="last", maintain_order=True).sort("factor_set", "start")
