"""This module looks at the stored prices around a split of a vendor that adjusts its prices: has it applied the split at all?

Its prices are compared with themselves. Where they jump over the night by just the ratio of a split that its own list has, the
list is ahead of the prices, or the prices never follow. Nothing is stored differently because of that; it is said.
"""

from __future__ import annotations

import math
from datetime import date, timedelta

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.lake import corporate_actions
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SPLIT
from gb_pipeline.quality.advice import Advice
from gb_pipeline.quality.rules import BarRules

# A smaller split looks like any other morning.
_SMALLEST = math.log(1.25)
# How far the night's own change may take prices from the ratio, as a logarithm.
_NIGHT = 0.15
# The session before may lie behind a long holiday.
_BEFORE, _AFTER = timedelta(days=10), timedelta(days=5)


def find_unapplied_split(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    rules: BarRules,
    code: str,
    days: tuple[date, date],
) -> Advice | None:
    """A split of some days that the stored prices do not have, although their vendor lists it as past.

    Args:
        store: with the bars and the corporate actions of the source.
        source: whose prices are adjusted for splits.
        resolution: of the bars.
        rules: of these bars.
        code: of the symbol.
        days: first day, and first day that is not looked at.

    Returns:
        What the prices look like, and what to do; None where nothing is wrong.
    """
    actions = corporate_actions.read(store.tables, source.name, [code])
    splits = actions.filter((pl.col("kind") == SPLIT) & pl.col("ex_date").is_between(*days, closed="left"))
    for ex_date, to, from_ in splits.select("ex_date", "split_to", "split_from").sort("ex_date").iter_rows():
        due, seen = math.log(to / from_), _jump(store, source, resolution, rules, code, ex_date)
        if seen is not None and abs(due) >= _SMALLEST and abs(seen - due) <= _NIGHT and abs(seen) > abs(seen - due):
            return Advice(
                f"{code}: prices change by a factor of {math.exp(-seen):.3g} over the night to {ex_date}, just as a split of"
                f" {to.normalize():f}:{from_.normalize():f} would make them, which {source.name} lists and says to have applied",
                f"compare with another source; once {source.name} has applied it, `gb fetch {source.name} {code} --again` fetches"
                " the history again",
            )
    return None


def _jump(
    store: LakeStore, source: SourceSettings, resolution: Resolution, rules: BarRules, code: str, ex_date: date
) -> float | None:
    """The logarithm of the last close before a day over the first open from then on; None where either is not stored."""
    window = rules.calendar.window(ex_date - _BEFORE, ex_date + _AFTER, resolution)
    newest = store.tables.newest(bars_dataset(resolution, rules.precision).name)
    rows = read_window(store.tables, newest, source.name, [code], window).sort("timestamp")
    rows = rows.filter(~pl.col("withdrawn").fill_null(False))
    sessions = rules.calendar.session_of(rows["timestamp"], resolution)
    before, after = rows.filter(sessions < ex_date), rows.filter(sessions >= ex_date)
    if before.is_empty() or after.is_empty():
        return None
    close, open_ = float(before["close"][-1]), float(after["open"][0])
    return math.log(close / open_) if close > 0 and open_ > 0 else None
