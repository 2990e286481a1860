"""This module lets a series stand under another symbol from a moment on; what was known before stays under the old one.

Each table of bars is one commit: bars end under the old symbol and begin under the new one, with the ledger's rows, the corrections
in force and a row of `removals`. Corporate actions, and the questions that brought them, go before. Killed in between, running it
again moves what is left.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import corporate_actions, fetches, ledger_notes, overrides, removals
from gb_pipeline.lake.adjustments import refuse_other_adjustment, stored_adjustments
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, FETCHES
from gb_pipeline.lake.precisions import unite
from gb_pipeline.lake.removal_targets import Target, find_targets, select_bars
from gb_pipeline.lake.removals import Action, check_reason
from gb_pipeline.lake.removed_sessions import REMOVED, describe_removed, describe_renamed, describe_rest, removable
from gb_pipeline.lake.removing import (
    SESSION_COLUMNS,
    describe_target,
    end_bars,
    end_overrides,
    read_rest,
    take_over,
)
from gb_pipeline.lake.series_removal import changed_meanwhile, nothing_stored
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.schema import CONTENT, SPLIT, Adjustment, Precision
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import SUPERSEDED_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

_BAR = ["symbol", "timestamp"]
_ASKED = ["window_start", "window_end", "fetched_at"]


def rename_series(tables: Tables, source: str, old: str, new: str, reason: str, clock: Clock) -> pl.DataFrame:
    """See `LakeStore.rename`."""
    reason = check_reason(reason)
    if old == new:
        raise ConfigError(f"{source}:{old} is called so already", fix="name another symbol")
    chosen = find_targets(tables, source, old, None, (None, None))
    found = select_bars(tables, chosen)
    actions = corporate_actions.read(tables, source, [old], withdrawn=True)
    if found.is_empty() and actions.is_empty():
        raise nothing_stored(tables, source, old, None, (None, None))
    for target in chosen:
        _refuse_overlap(tables, target, new)
    _refuse_late_splits(tables, source, old, chosen)
    _move_questions(tables, source, old, new, clock)
    _move_actions(tables, source, old, new, clock)
    moved = [_move_bars(tables, target, new, reason, clock) for target in chosen]
    if found.height and not any(moved):
        raise changed_meanwhile(source, old)
    return found


def _move_bars(tables: Tables, target: Target, new: str, reason: str, clock: Clock) -> bool:
    there = Target(target.source, new, target.resolution, target.precision)

    def decide(draft: Draft) -> bool:
        view = tables.view(draft.base)
        _refuse_shared(view, target, there)
        ending = end_bars(draft, view, target, new)
        if ending is None:
            return False
        version = draft.base.version + 1
        recorded = target.sessions(view)
        moved = ending.filter(pl.col(SUPERSEDED_AT).is_null()).with_columns(pl.lit(new).alias("symbol"))
        rest = read_rest(view, target, None)
        gone = removable(recorded)
        ended = (
            describe_removed(gone, target.resolution, version)
            if rest.is_empty()
            else describe_rest(gone, rest, target.source, target.resolution, Precision.WIDE, version)
        )
        rows = pl.concat([ended.select(SESSION_COLUMNS), _describe_new(view, there, recorded, moved, version)])
        ledger_notes.carry(draft, view, rows.sort("symbol", "session"))
        in_force = end_overrides(tables, draft, target, ending, reason, clock)
        ids = pl.Series("override_id", [uuid4().hex[:16] for _ in range(in_force.height)], pl.String())
        kept = in_force.with_columns(pl.lit(new).alias("symbol"), ids)
        overrides.come_into_force(tables, draft, kept, clock=clock)
        removals.record(
            tables, draft, target.source, target.symbol, Action.RENAMED, reason,
            sessions=ended["session"], bars=moved.height, renamed_to=new, clock=clock,
        )  # fmt: skip
        draft.info = {"operation": "UPDATE", "gb": {**describe_target(target), "renamed_to": new}, **draft.info}
        return True

    return commit(tables[target.table], decide, clock=clock, afterwards=lambda draft: take_over(tables, draft, clock))


def _describe_new(
    view: Tables, there: Target, recorded: pl.DataFrame, moved: pl.DataFrame, version: int
) -> pl.DataFrame:
    """Rows of the ledger for the new symbol: of sessions whose bars come with this entry, and of days without any."""
    held = moved.select(*_BAR, *CONTENT)
    sibling = view.newest(there.sibling)
    if there.precision is Precision.WIDE and sibling.version >= 0:
        # A session may share its bars between both tables: those of the other one have come before.
        columns = [*_BAR, *CONTENT]
        before = reading.read(view.storage, sibling.dataset, there.select(sibling, None), columns)
        held = unite(held, before.filter(there.holds(None)), _BAR)
    named = recorded.filter(pl.col("status") != REMOVED).with_columns(pl.lit(there.symbol).alias("symbol"))
    known = there.sessions(view).filter(pl.col("status") != REMOVED)
    edges = known.select("session", first="first_timestamp", last="last_timestamp")
    named = named.join(edges, on="session", how="left", maintain_order="left").with_columns(
        pl.min_horizontal("first_timestamp", "first").alias("first_timestamp"),
        pl.max_horizontal("last_timestamp", "last").alias("last_timestamp"),
    )
    named = named.select(recorded.columns)
    rows = describe_renamed(named, held.sort(_BAR), there.source, there.resolution, there.precision, version)
    without = pl.col("actual") == 0
    told = rows.filter(without).join(known, on="session", how="anti")
    return pl.concat([rows.filter(~without), told]).select(SESSION_COLUMNS)


def _refuse_overlap(tables: Tables, target: Target, new: str) -> None:
    """Raise where the new symbol has bars of sessions of the old one, unless these came with this renaming, cut off.

    Cut off, it has moved all bars of the one table, and none of the other.
    """
    has_bars = pl.col("actual") > 0
    there = Target(target.source, new, target.resolution, target.precision)
    own, other = (item.sessions(tables).filter(has_bars) for item in (target, there))
    both = own.join(other, on="session", how="semi")
    done = removals.read(tables, target.source, [target.symbol]).filter(
        pl.col("renamed_to") == new, pl.col("resolution") == target.resolution.value
    )
    begun_before = (
        both.height > 0 and done.height > 0 and not all(_moments(tables, item, both).len() for item in (target, there))
    )
    if both.height and not begun_before:
        first, last = (str(day) for day in (both["session"].min(), both["session"].max()))
        raise LakeError(
            f"{target.source}:{new} has {target.resolution} bars of its own in {both.height:,} of the sessions, {first} to {last}",
            fix=f"remove one of the two first: gb delete {target.source}:{new} {target.resolution} --from {first}",
        )
    for kind in set(stored_adjustments(tables, target.source, target.resolution, [target.symbol]).values()):
        refuse_other_adjustment(tables, target.source, target.resolution, [new], kind)


def _refuse_shared(view: Tables, target: Target, there: Target) -> None:
    """Raise where the new symbol has a bar of the same moment in either table: none may be there twice, or hide another."""
    moved = _moments(view, target)
    if moved.is_empty():
        return
    for item in (there, there.other_precision()):
        shared = moved.filter(moved.is_in(_moments(view, item).implode()))
        if shared.len():
            raise LakeError(
                f"{there.source}:{there.symbol} has {shared.len():,} {there.resolution} bars of its own of the same moments",
                fix=f"remove one of the two first: gb delete {there.source}:{there.symbol} {there.resolution}",
            )


def _moments(tables: Tables, target: Target, sessions: pl.DataFrame | None = None) -> pl.Series:
    """When the bars of a target in its table begin, also those that a wider one hides; only within recorded sessions."""
    snapshot = tables.newest(target.table)
    if snapshot.version < 0:
        return snapshot.dataset.no_rows["timestamp"]
    rows = reading.read(tables.storage, snapshot.dataset, target.select(snapshot, None), _BAR)
    stamps = rows.filter(target.holds(None))["timestamp"]
    if sessions is None:
        return stamps
    return stamps.filter(stamps.is_between(sessions["first_timestamp"].min(), sessions["last_timestamp"].max()))


def _refuse_late_splits(tables: Tables, source: str, old: str, chosen: list[Target]) -> None:
    """Raise where it hangs on when the lake learnt of a split whether a price has it: under a new symbol it would learn anew.

    Raises:
        LakeError: a split was listed late, corrected or withdrawn, and prices are stored as adjusted for splits.
    """
    kinds = [stored_adjustments(tables, source, target.resolution, [old]).get(old) for target in chosen]
    if Adjustment.SPLIT not in kinds:
        return
    splits = corporate_actions.history(tables, source, [old]).filter(pl.col("kind") == SPLIT)
    asked = _questions(tables, source, old)
    for versions in splits.partition_by("ex_date", "label"):
        day = versions["ex_date"].dt.strftime("%Y-%m-%d")[0]
        midnight = instant_literal(datetime.combine(versions["ex_date"][0], time(), UTC))
        inside = (pl.col("window_start") <= midnight) & (pl.col("window_end") > midnight)
        since = pl.col("fetched_at").is_between(midnight, instant_literal(versions["fetched_at"][0]))
        # One of them is the question that the split came with.
        if versions.height > 1 or asked.filter(inside & since).height > 1:
            raise LakeError(
                f"{source}:{old} has adjusted prices, and its split of {day} was listed late or corrected: which prices have it"
                " cannot be told under another symbol",
                fix=f"fetch it under the new symbol, then gb delete {source}:{old}",
            )


def _questions(tables: Tables, source: str, symbol: str) -> pl.DataFrame:
    """Answered questions about the corporate actions of a symbol."""
    rows = fetches.scan(tables, source, [symbol])
    return rows.filter(pl.col("kind") == corporate_actions.TABLE, pl.col("outcome").is_in(["ok", "empty"])).collect()


def _move_questions(tables: Tables, source: str, old: str, new: str, clock: Clock) -> None:
    """Tell under the new symbol what the vendor was asked about the old one's actions, so that they are known to be complete."""
    told = _questions(tables, source, new)
    asked = _questions(tables, source, old).join(told, on=_ASKED, how="anti")
    ids = pl.Series("fetch_id", [uuid4().hex[:16] for _ in range(asked.height)], pl.String())
    rows = asked.with_columns(pl.lit(new).alias("symbol"), ids).select(FETCHES.columns.names)
    append.append(tables[FETCHES.name], rows, clock=clock)


def _move_actions(tables: Tables, source: str, old: str, new: str, clock: Clock) -> None:
    key = ["ex_date", "kind", "label"]

    def decide(draft: Draft) -> None:
        chosen = draft.base.select({"source": source}, holding={"symbol": [old, new]})
        files = reading.current_files(draft.base, chosen)
        stored = reading.read(tables.storage, CORPORATE_ACTIONS, files, with_file=True)
        ending = stored.filter(pl.col("symbol") == old)
        both = ending.join(stored.filter(pl.col("symbol") == new), on=key, how="semi")
        if both.height:
            raise LakeError(
                f"{source}:{new} has a corporate action of {both['ex_date'][0]} of its own ({both['kind'][0]})",
                fix="the two are not one instrument, or were fetched under both names: keep them apart",
            )
        if ending.height:
            added = ending.with_columns(pl.lit(new).alias("symbol")).select(CORPORATE_ACTIONS.columns.names)
            revise(draft, added.sort("symbol", *key), ending, files, stored)

    commit(tables[CORPORATE_ACTIONS.name], decide, clock=clock)
