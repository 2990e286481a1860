"""This module decides about refused rows: it releases them, drops them, and takes either back.

What a release is made of is in `releasing`, what holds of a row in `decisions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import decisions, overrides, releasing
from gb_pipeline.lake.correcting import override_bar
from gb_pipeline.lake.datasets import OVERRIDES, QUARANTINE_DECISIONS
from gb_pipeline.lake.decisions import DECIDED, Decision
from gb_pipeline.lake.releasing import RulesOf
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.table import Tables


def release_rows(
    tables: Tables,
    ids: Sequence[str],
    values: Mapping[str, Any] | None,
    reason: str,
    rules_of: RulesOf,
    clock: Clock,
) -> list[WriteReport]:
    """See `LakeStore.release_quarantined`."""
    reason = _checked(reason)
    rows = decisions.find(tables, ids)
    decisions.refuse_decided(rows)
    # Who drops a row of this machine's lake meanwhile waits, and then sees that it is released.
    with locked(tables.storage.state, QUARANTINE_DECISIONS.name):
        now = decisions.with_decisions(tables, rows.drop(DECIDED.names()))
        if (now["decision"] != Decision.OPEN.value).any():
            raise decisions.decided_meanwhile()
        return releasing.release(tables, rows, values, reason, rules_of, clock)


def drop_rows(tables: Tables, ids: Sequence[str], reason: str, clock: Clock) -> pl.DataFrame:
    """See `LakeStore.drop_quarantined`."""
    reason = _checked(reason)
    rows = decisions.find(tables, ids)
    decisions.refuse_decided(rows)
    decisions.record(tables, rows, Decision.DROPPED, reason, clock=clock)
    return rows


def reopen_rows(tables: Tables, ids: Sequence[str], reason: str, rules_of: RulesOf, clock: Clock) -> pl.DataFrame:
    """See `LakeStore.reopen_quarantined`."""
    reason = _checked(reason)
    rows = decisions.find(tables, ids)
    still_open = rows.filter(pl.col("decision") == Decision.OPEN.value)
    if still_open.height:
        name = still_open["row_id"][0][: decisions.LEAST_DIGITS]
        raise ConfigError(
            f"{name} is open: nothing was decided about it", fix="`gb quarantine list --all` lists decisions"
        )
    dropped = rows.filter(pl.col("decision") == Decision.DROPPED.value)
    if dropped.height:
        decisions.record(tables, dropped, Decision.OPEN, reason, clock=clock)
    released = overrides.read_released(tables).filter(pl.col("row_id").is_in(rows["row_id"].implode()))
    for row in released.select(OVERRIDES.columns.names).iter_rows(named=True):
        kind = Resolution(row["resolution"])
        override_bar(
            tables,
            row["source"],
            row["symbol"],
            kind,
            row["timestamp"],
            None,
            reason,
            rules_of(row["source"], kind),
            clock,
        )
    return rows


def _checked(reason: str) -> str:
    if not reason.strip():
        raise ConfigError("a decision needs a reason", fix="say why, for whoever reads it in a year")
    return reason.strip()
