"""This module removes series, whole or in part, and lets them be fetched again: resolution by resolution, table by table.

What happens in one table is in `removing` and `purging`. Killed in between, running it again does what is left.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError, UnknownSeries
from gb_pipeline.lake import ledger
from gb_pipeline.lake.purging import purge, refuse_pinned
from gb_pipeline.lake.removal_targets import Days, Target, find_targets, select_bars
from gb_pipeline.lake.removals import check_reason
from gb_pipeline.lake.removing import delete, restore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables


def delete_series(
    tables: Tables,
    source: str,
    symbol: str,
    resolution: Resolution | None,
    days: Days,
    reason: str,
    clock: Clock,
    *,
    purged: bool = False,
    dry_run: bool = False,
) -> pl.DataFrame:
    """See `LakeStore.delete`."""
    reason = reason if dry_run else check_reason(reason)
    chosen = _targets(tables, source, symbol, resolution, days)
    found = select_bars(tables, chosen)
    if purged:
        refuse_pinned(tables.storage, chosen)
    if dry_run:
        return found
    if found.is_empty() and not purged:
        raise nothing_stored(tables, source, symbol, resolution, days)
    ended = [delete(tables, target, reason, clock) for target in chosen]
    if not purged and not any(ended):
        raise changed_meanwhile(source, symbol)
    if purged:
        purge(tables, chosen, reason, clock)
    return found


def restore_series(
    tables: Tables, source: str, symbol: str, resolution: Resolution | None, days: Days, reason: str, clock: Clock
) -> int:
    """See `LakeStore.restore`."""
    chosen = _targets(tables, source, symbol, resolution, days)
    reason = check_reason(reason or "may be fetched again")
    count = sum(restore(tables, target, reason, clock) for target in chosen)
    if not count:
        raise ConfigError(f"no session of {source}:{symbol} is removed", fix="`gb removals` lists what was")
    return count


def _targets(tables: Tables, source: str, symbol: str, resolution: Resolution | None, days: Days) -> list[Target]:
    first, end = days
    if first is not None and end is not None and first >= end:
        raise ConfigError(f"no session lies from {first} to before {end}", fix="the end is exclusive: name a later one")
    chosen = find_targets(tables, source, symbol, None if resolution is None else [resolution], days)
    if not chosen:
        raise nothing_stored(tables, source, symbol, resolution, days)
    return chosen


def changed_meanwhile(source: str, symbol: str) -> LakeError:
    """The error where all bars that were found had ended by the time they were to be."""
    return LakeError(
        f"another process removed or renamed {source}:{symbol} in this moment; nothing was changed",
        fix="`gb removals` lists what was",
    )


def nothing_stored(
    tables: Tables, source: str, symbol: str, resolution: Resolution | None, days: Days
) -> UnknownSeries | ConfigError:
    """The error for a series that is not there, or has no bar in a range."""
    kind = "" if resolution is None else f" {resolution}"
    first, end = (None if day is None else str(day) for day in days)
    span = f"{f' from {first}' if first else ''}{f' to before {end}' if end else ''}"
    keys = ["source", "symbol"]
    known = [f"{name}:{code}" for name, code in ledger.scan(tables, columns=keys).unique().collect().sort(keys).rows()]
    series = f"{source}:{symbol}"
    if series in known:
        return ConfigError(f"no bar of {series}{kind} is stored{span}", fix="`gb removals` lists what was removed")
    near = near_names(series, known)
    return UnknownSeries(
        f"the lake has nothing that is called {series}", near=near, fix=did_you_mean(near, "see `gb status`")
    )
