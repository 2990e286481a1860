"""This module keeps what somebody decided about refused rows: which are open, which were released, and which were dropped.

A release is told by the override that holds; whatever else is decided is a row of `quarantine_decisions`. Nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import overrides, quarantine
from gb_pipeline.lake.datasets import QUARANTINE, QUARANTINE_DECISIONS
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.spelling import list_some
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft, commit, with_known_at
from gb_pipeline.storage.table import Tables

LEAST_DIGITS = 8


class Decision(StrEnum):
    """What holds of a refused row."""

    OPEN = "open"
    """Nobody has decided about it, or the decision was taken back."""
    RELEASED = "released"
    """It is a bar."""
    DROPPED = "dropped"
    """It needs nothing more."""


_REOPENED = "reopened"
DECIDED = pl.Schema({"decision": pl.String(), "decided_at": INSTANT, "decision_reason": pl.String()})


def with_decisions(
    tables: Tables, rows: pl.DataFrame, source: str | None = None, symbols: Sequence[str] | None = None
) -> pl.DataFrame:
    """Refused rows with what holds of each: `decision`, and for one that is decided `decided_at` and `decision_reason`.

    Args:
        rows: of the dataset `quarantine`.
        source, symbols: of all of them, where that is known.
    """
    found = rows.join(_read_decided(tables, source, symbols), on="row_id", how="left", maintain_order="left")
    return found.with_columns(pl.col("decision").fill_null(Decision.OPEN.value))


def _read_decided(tables: Tables, source: str | None, symbols: Sequence[str] | None) -> pl.DataFrame:
    names = ["row_id", *DECIDED.names()]
    # Under whatever symbol: a renamed series takes its released bars along, and the rows stay where they were refused.
    released = overrides.read_released(tables, source).select(
        "row_id",
        pl.lit(Decision.RELEASED.value).alias("decision"),
        pl.col("known_at").alias("decided_at"),
        pl.col("reason").alias("decision_reason"),
    )
    snapshot = tables.newest(QUARANTINE_DECISIONS.name)
    files = snapshot.select(
        {} if source is None else {"source": source}, holding={} if symbols is None else {"symbol": symbols}
    )
    said = reading.read(tables.storage, QUARANTINE_DECISIONS, files)
    last = said.sort("known_at").unique("row_id", keep="last").filter(pl.col("decision") != _REOPENED)
    dropped = last.rename({"known_at": "decided_at", "reason": "decision_reason"}).select(names)
    # A bar that is there is no dropped row.
    return pl.concat([released, dropped.join(released, on="row_id", how="anti")]).cast({"decision": pl.String()})


def find(tables: Tables, ids: Sequence[str]) -> pl.DataFrame:
    """The rows that unique beginnings of ids name, each once, with their decisions.

    Raises:
        ConfigError: a beginning that names none, or several.
    """
    wanted = list(dict.fromkeys(text.strip().lower() for text in ids if text.strip()))
    if not wanted:
        raise ConfigError("no row is named", fix="name ids as `gb quarantine list` prints them")
    known = quarantine.scan(tables).select("row_id").collect()["row_id"].sort()
    places = known.search_sorted(pl.Series(wanted), "left")
    ends = known.search_sorted(pl.Series([text + "g" for text in wanted]), "left")
    for text, first, end in zip(wanted, places, ends, strict=True):
        if first == end:
            raise ConfigError(f"no refused row has the id {text[:64]!r}", fix="`gb quarantine list --all` prints them")
        if end - first > 1:
            longer = list_some([name[: short_length(known)] for name in known[first:end].head(4)])
            raise ConfigError(f"{text!r} is the beginning of {end - first:,} ids", fix=f"write more of it: {longer}")
    chosen = known.gather(places).unique()
    rows = quarantine.scan(tables).filter(pl.col("row_id").is_in(chosen.implode())).collect()
    return with_decisions(tables, rows.select(*QUARANTINE.columns.names, "known_at"))


def short_length(ids: pl.Series) -> int:
    """How many of the first digits tell all ids apart, at least 8."""
    total = ids.n_unique()
    return next((length for length in range(LEAST_DIGITS, 64) if ids.str.head(length).n_unique() == total), 64)


def refuse_decided(rows: pl.DataFrame) -> None:
    """Raise ConfigError where one of the rows is not open."""
    decided = rows.filter(pl.col("decision") != Decision.OPEN.value)
    if decided.height:
        first = decided.row(0, named=True)
        others = f", as are {decided.height - 1:,} others" if decided.height > 1 else ""
        raise ConfigError(
            f"{first['row_id'][:LEAST_DIGITS]} was {first['decision']} already"
            f" ({first['decided_at']:%Y-%m-%d %H:%M} UTC: {first['decision_reason'][:80]}){others}",
            fix="`gb quarantine reopen` takes a decision back",
        )


def record(tables: Tables, rows: pl.DataFrame, decision: Decision, reason: str, *, clock: Clock) -> None:
    """Drop open rows, or reopen dropped ones, in one commit.

    Raises:
        LakeError: another process decided about one of them in this moment; nothing was changed.
    """
    before = Decision.DROPPED if decision is Decision.OPEN else Decision.OPEN
    names = QUARANTINE_DECISIONS.columns.names
    said = rows.with_columns(
        pl.lit(_REOPENED if decision is Decision.OPEN else decision.value).alias("decision"),
        pl.lit(reason).alias("reason"),
        pl.lit(uuid4().hex[:16]).alias("decision_id"),
    ).select(names)

    def decide(draft: Draft) -> None:
        view = tables.view(draft.base)
        now = with_decisions(view, rows.drop(DECIDED.names()))
        if (now["decision"] != before.value).any():
            raise decided_meanwhile()
        draft.add(append.sort_rows(draft.table, with_known_at(said, draft.stamp, history=False)))

    commit(tables[QUARANTINE_DECISIONS.name], decide, clock=clock)


def decided_meanwhile() -> LakeError:
    """The error of who was slower."""
    return LakeError(
        "another process decided about one of these rows in this moment; nothing was changed",
        fix="look at them again: `gb quarantine list --all`",
    )
