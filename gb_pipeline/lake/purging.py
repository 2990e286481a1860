"""This module removes every version of bars, where the right to keep them has ended: `as_of` before shows nothing of them either.

Files that hold such rows are rewritten without them, one commit for each table; what they were stays on disk until it is vacuumed.
The ledger of sessions forgets what it knew, and keeps that the sessions are removed. Refused rows, corrections and kept responses
of the series go as well. Log entries, the ledger of fetches and copies elsewhere stay: they are named by `LEFT`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import fetches, ledger, pins, removals
from gb_pipeline.lake.datasets import OVERRIDES, QUARANTINE, SESSIONS
from gb_pipeline.lake.removal_targets import Target
from gb_pipeline.lake.removals import Action
from gb_pipeline.lake.removed_sessions import REMOVED
from gb_pipeline.lake.removing import describe_target, stamp_late, take_over
from gb_pipeline.lake.rewriting import leave_out, rewrite
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.window import Window
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline.storage.table import Tables

# What a purge leaves, to be said to whoever asks for one.
LEFT = (
    "files that held them, until `gb vacuum` frees them",
    "log entries with counts and dates, and the ledger of fetches: neither has a price",
    "corporate actions, and kept responses that answered for other series as well",
    "backups, synced copies, exports and pins in other places",
)


def refuse_pinned(storage: Storage, chosen: Sequence[Target]) -> None:
    """Raise where a pin holds bars of a target.

    Raises:
        LakeError: it names the pins.
    """
    holding = [name for name in pins.pin_names(storage) if any(_holds(storage, name, target) for target in chosen)]
    if holding:
        raise LakeError(
            f"pin{'s' if len(holding) > 1 else ''} {list_some(holding)} hold{'' if len(holding) > 1 else 's'} bars of"
            f" {chosen[0].source}:{chosen[0].symbol}, which could not be read again",
            fix=f"remove {'them' if len(holding) > 1 else 'it'} first: {'; '.join(f'gb unpin {name}' for name in holding[:5])}",
        )


def _holds(storage: Storage, name: str, target: Target) -> bool:
    sessions = pins.read_pin(storage, name).sessions.filter(
        pl.col("source") == target.source,
        pl.col("symbol") == target.symbol,
        pl.col("resolution") == target.resolution.value,
    )
    return sessions.filter(target.has_session()).height > 0


def purge(tables: Tables, chosen: Sequence[Target], reason: str, clock: Clock) -> None:
    """Remove every version of some targets of one series, all of which have ended; running it again does what is left."""
    # Before the ledger forgets where they lay.
    windows = [target.window(tables) for target in chosen]
    _purge_responses(tables, chosen, windows)
    for target, window in zip(chosen, windows, strict=True):
        _purge_bars(tables, target, window, reason, clock)
        _take_over(tables, target, clock)
    for target, window in zip(chosen, windows, strict=True):
        own = (pl.col("symbol") == target.symbol) & (pl.col("resolution") == target.resolution.value)
        rewrite(tables, OVERRIDES, target.source, target.symbol, own & target.holds(window), clock)
        refused = own if window is None else own & _lies_in(pl.coalesce("timestamp", "window_start"), window)
        rewrite(tables, QUARANTINE, target.source, target.symbol, refused, clock)
        _purge_sessions(tables, target, own, clock)


def _lies_in(moment: pl.Expr, window: Window) -> pl.Expr:
    return (moment >= instant_literal(window.start)) & (moment < instant_literal(window.end))


def _take_over(tables: Tables, target: Target, clock: Clock) -> None:
    """Let the ledger take over whatever entries of bars still carry for it."""
    with locked(tables.storage.state, target.table):
        ledger.take_over(tables, tables[target.table], clock=clock)


def _purge_responses(tables: Tables, chosen: Sequence[Target], windows: Sequence[Window | None]) -> None:
    """Remove kept responses that hold bars of some targets, and of nothing else."""
    asked = fetches.scan(tables, chosen[0].source).filter(pl.col("raw").is_not_null()).collect()
    is_one = pl.lit(False)
    for target, window in zip(chosen, windows, strict=True):
        own = (pl.col("symbol") == target.symbol) & (pl.col("resolution") == target.resolution.value)
        if window is not None:
            own &= (pl.col("window_start") < instant_literal(window.end)) & (
                pl.col("window_end") > instant_literal(window.start)
            )
        is_one |= own
    marked = asked.select("raw", is_one.fill_null(False).alias("is_one")).explode("raw")
    alone = marked.group_by("raw").agg(pl.col("is_one").all()).filter("is_one")["raw"]
    raw = RawStore(tables.storage)
    for name in alone:
        raw.remove(name)


def _purge_bars(tables: Tables, target: Target, window: Window | None, reason: str, clock: Clock) -> None:
    def decide(draft: Draft) -> None:
        view = tables.view(draft.base)
        # Later than whatever is known, before anything is written.
        stamp_late(draft, view, target.resolution)
        count = leave_out(draft, target.select(draft.base, window, current=False), target.holds(window))
        if not count:
            return
        removed = target.sessions(view).filter(pl.col("status") == REMOVED)
        removals.record(
            tables, draft, target.source, target.symbol, Action.PURGED, reason,
            sessions=removed["session"], bars=count, clock=clock,
        )  # fmt: skip
        draft.info = {"operation": "DELETE", "gb": {**describe_target(target), "purge": True}}

    commit(tables[target.table], decide, clock=clock, afterwards=lambda draft: take_over(tables, draft, clock))


def _purge_sessions(tables: Tables, target: Target, own: pl.Expr, clock: Clock) -> None:
    """Let the ledger forget what it recorded of removed sessions before they were."""
    removed = target.sessions(tables).filter(pl.col("status") == REMOVED)
    if removed.is_empty():
        return
    since = pl.col("session").replace_strict(removed["session"], removed["known_at"], default=None)
    rewrite(tables, SESSIONS, target.source, target.symbol, own & (pl.col(KNOWN_AT) < since), clock)
