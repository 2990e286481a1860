"""This module holds back what an answer has of sessions that were removed on purpose while it was on its way.

Whoever asked did not know of the removal, which is newer: their rows go to quarantine, and the sessions stay removed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import polars as pl

from gb_pipeline.lake.merge import MergeResult
from gb_pipeline.lake.removed_sessions import REMOVED
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.quality.reasons import FETCHED_BEFORE_STORED, REMOVED_MEANWHILE

_SESSION = ["symbol", "session"]


def find_held(recorded: pl.DataFrame, planned_at: datetime | None) -> pl.DataFrame:
    """Rows of the ledger for sessions that were removed since a request was planned.

    Args:
        recorded: what the ledger has of its sessions.
        planned_at: when it was; None for somebody who knows of all removals.
    """
    if planned_at is None or recorded.is_empty():
        return recorded.clear()
    return recorded.filter(pl.col("status") == REMOVED, pl.col("known_at") > instant_literal(planned_at))


def hold_back(merged: MergeResult, held: pl.DataFrame) -> MergeResult:
    """What new rows mean when those of some sessions come too late."""
    if held.is_empty():
        return merged
    sessions = held.select(_SESSION)
    late = merged.added.join(sessions, on=_SESSION, how="semi", maintain_order="left")
    added = merged.added.join(sessions, on=_SESSION, how="anti", maintain_order="left")
    return replace(merged, added=added, late=pl.concat([merged.late, late.select(merged.late.columns)]))


def describe_held(described: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Described sessions, with what the ledger has of those that stay removed."""
    if held.is_empty():
        return described
    kept = held.select(*_SESSION, pl.lit(True).alias("is_held"), pl.col("gaps").alias("held gaps"))
    joined = described.join(kept, on=_SESSION, how="left", maintain_order="left")
    return joined.with_columns(
        pl.when("is_held").then(pl.lit(REMOVED)).otherwise("status").alias("status"),
        pl.when("is_held").then("expected").otherwise("missing").alias("missing"),
        pl.when("is_held").then("held gaps").otherwise("gaps").alias("gaps"),
    ).select(described.columns)


def late_rows(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Good rows that change nothing, as refused ones, each with its reason."""
    row = pl.struct("timestamp", *CONTENT).struct.json_encode().alias("row")
    removed = held.select("symbol", "session", pl.lit(REMOVED_MEANWHILE).alias("reason"))
    reason = pl.col("reason").fill_null(FETCHED_BEFORE_STORED)
    named = rows.join(removed, on=["symbol", "session"], how="left", maintain_order="left")
    return named.select("symbol", "session", "timestamp", pl.concat_list(reason).alias("reasons"), row)
