"""This module takes bars of one series out of the present, or lets removed sessions be fetched again.

Each table of bars is one commit: bars end, the ledger says that their sessions are removed, corrections of them end with them, and
a row of `removals` tells why. No version is lost: `as_of` a moment before reads them. A series that went wide has bars in two
tables; those of the standard one end first, so that none of them comes to light in between, and running it again ends the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger, ledger_notes, overrides, removals
from gb_pipeline.lake.datasets import SESSIONS
from gb_pipeline.lake.removal_targets import Target, taken
from gb_pipeline.lake.removals import Action
from gb_pipeline.lake.removed_sessions import REMOVED, describe_removed, describe_rest, describe_restored, removable
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import IS_CURRENT, SUPERSEDED_AT
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

# What the ledger keeps of a session, without the moments that a commit decides.
SESSION_COLUMNS = SESSIONS.columns.names


def delete(tables: Tables, target: Target, reason: str, clock: Clock) -> bool:
    """End what is stored of a target, in one commit; whether there was anything."""

    def decide(draft: Draft) -> bool:
        view = tables.view(draft.base)
        ending = end_bars(draft, view, target)
        if ending is None:
            return False
        recorded = removable(target.sessions(view))
        rest = read_rest(view, target, target.window(view))
        version = draft.base.version + 1
        if rest.is_empty():
            rows = describe_removed(recorded, target.resolution, version)
        else:
            rows = describe_rest(recorded, rest, target.source, target.resolution, Precision.WIDE, version)
        rows = rows.select(SESSION_COLUMNS)
        ledger_notes.carry(draft, view, rows)
        end_overrides(tables, draft, target, ending, reason, clock)
        removals.record(
            tables, draft, target.source, target.symbol, Action.DELETED, reason,
            sessions=rows["session"], bars=ending.filter(pl.col(SUPERSEDED_AT).is_null()).height, clock=clock,
        )  # fmt: skip
        draft.info = {"operation": "DELETE", "gb": describe_target(target), **draft.info}
        return True

    return commit(tables[target.table], decide, clock=clock, afterwards=lambda draft: take_over(tables, draft, clock))


def restore(tables: Tables, target: Target, reason: str, clock: Clock) -> int:
    """Let the removed sessions of a target be fetched again, in one commit; how many there were."""

    def decide(draft: Draft) -> int:
        view = tables.view(draft.base)
        recorded = target.sessions(view).filter(
            pl.col("status") == REMOVED, pl.col("precision") == target.precision.value
        )
        if recorded.is_empty():
            return 0
        stamp_late(draft, view, target.resolution)
        rows = describe_restored(recorded, target.resolution, -1)
        ledger_notes.carry(draft, view, rows.select(SESSION_COLUMNS))
        removals.record(
            tables, draft, target.source, target.symbol, Action.RESTORED, reason,
            sessions=rows["session"], bars=0, clock=clock,
        )  # fmt: skip
        return rows.height

    return commit(tables[target.table], decide, clock=clock, afterwards=lambda draft: take_over(tables, draft, clock))


def end_bars(draft: Draft, view: Tables, target: Target, renamed_to: str | None = None) -> pl.DataFrame | None:
    """Fill a draft with the end of a target's bars, and with themselves under another symbol; None where there are none.

    Returns:
        The bars that end, all columns of the table; `superseded_at` is filled in where a wider bar hid them before.
    """
    window = target.window(view)
    files = target.select(draft.base, window)
    file_rows = reading.read(view.storage, draft.base.dataset, files, with_file=True)
    bars = file_rows.filter(target.holds(window))
    if bars.is_empty():
        return None
    stamp_late(draft, view, target.resolution)
    hidden = taken(view, target, window)
    ending = bars.drop(SUPERSEDED_AT).join(hidden, on="timestamp", how="left", maintain_order="left")
    ending = ending.rename({"taken_at": SUPERSEDED_AT}).select(bars.columns)
    names = [name for name in draft.base.dataset.columns.names if name in bars.columns]
    new = bars.clear().select(names)
    if renamed_to is not None:
        visible = ending.filter(pl.col(SUPERSEDED_AT).is_null())
        new = visible.with_columns(pl.lit(renamed_to).alias("symbol")).select(names).sort("symbol", "timestamp")
    revise(draft, new, ending, files, file_rows)
    written = draft.write()
    _refuse_lost(files[ending["file"].unique().sort().to_list()], ending, new, written)
    return ending


def _refuse_lost(
    files: pl.DataFrame, ending: pl.DataFrame, new: pl.DataFrame, written: Sequence[dict[str, Any]]
) -> None:
    """Count what was written against what was read: no bar but those that end may leave the present."""
    counts = {True: 0, False: 0}
    for action in written:
        counts[action["partitionValues"][IS_CURRENT] == "true"] += json.loads(action["stats"])["numRecords"]
    before = int(files["rows"].sum())
    if counts != {True: before - ending.height + new.height, False: ending.height}:
        raise LakeError(
            f"{before:,} bars were read, {ending.height:,} of them to end, and {counts[True]:,} would stay",
            fix="nothing was changed; this is a bug of gb_pipeline: please report it with these numbers",
        )


def end_overrides(
    tables: Tables, draft: Draft, target: Target, ending: pl.DataFrame, reason: str, clock: Clock
) -> pl.DataFrame:
    """Let the corrections of bars end with them; those that were in force."""
    first, last = ending["timestamp"].min(), ending["timestamp"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    in_force = overrides.read_in_force(
        tables, draft.base, target.source, target.resolution, [target.symbol], Window(first, last + MICROSECOND)
    ).join(ending.select("timestamp"), on="timestamp", how="semi")
    overrides.withdraw(tables, draft, in_force, reason, clock=clock)
    return in_force


def stamp_late(draft: Draft, view: Tables, resolution: Resolution) -> None:
    """Stamp a draft later than whatever is known of bars of a resolution."""
    draft.stamp = max(draft.stamp, ledger.newest_moment(view, resolution) + MICROSECOND)


def take_over(tables: Tables, draft: Draft, clock: Clock) -> None:
    """Let the ledger take over what waits for it, now and then."""
    reach("before_ledger")
    with suppress(LakeError, OSError):
        # The next writer can do it as well.
        ledger.take_over(tables, draft.table, least=ledger_notes.BATCH, clock=clock)
    reach("acknowledged")


def describe_target(target: Target) -> dict[str, object]:
    """What an entry says of itself."""
    days = [None if day is None else day.isoformat() for day in target.days]
    return {"source": target.source, "symbol": target.symbol, "resolution": target.resolution.value, "sessions": days}


def read_rest(tables: Tables, target: Target, window: Window | None) -> pl.DataFrame:
    """The wide bars that stay when the standard ones of a series end."""
    sibling = tables.newest(target.sibling)
    names = ["symbol", "timestamp", *CONTENT]
    if target.precision is Precision.WIDE:
        return sibling.dataset.no_rows[names]
    rows = reading.read(tables.storage, sibling.dataset, target.select(sibling, window), names)
    return rows.filter(target.holds(window)).sort("symbol", "timestamp")
