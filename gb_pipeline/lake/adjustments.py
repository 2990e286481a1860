"""What was done to the prices of each series: a vendor's raw prices, or prices adjusted for splits.

This module reads it from the ledger of sessions and refuses to mix both in one series. Which splits are in adjusted prices is not
known here (`gb_pipeline.adjustment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.storage.table import Tables

# What was read once, by source, resolution and symbol: a series never changes its adjustment.
_REMEMBERED: WeakKeyDictionary[Tables, dict[tuple[str, str, str], Adjustment]] = WeakKeyDictionary()


def stored_adjustments(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str] | None = None
) -> dict[str, Adjustment]:
    """What was done to the prices of each series that holds bars, by symbol.

    Raises:
        LakeError: a series was written with two kinds.
    """
    rows = (
        ledger.scan(tables, source, resolution, symbols, columns=["symbol", "actual", "adjustment"])
        .filter(pl.col("actual") > 0)
        .select("symbol", pl.col("adjustment").fill_null(Adjustment.RAW.value))
        .unique()
        .collect()
    )
    by_symbol: dict[str, Adjustment] = {}
    for symbol, kind in rows.rows():
        if by_symbol.setdefault(symbol, Adjustment(kind)) != kind:
            raise LakeError(
                f"{source} {symbol} {resolution} is stored with two kinds of prices: {by_symbol[symbol]} and {kind}",
                fix="fetch it under another source name",
            )
    return by_symbol


def remembered_adjustments(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str]
) -> dict[str, Adjustment]:
    """The same, asking the ledger only once about each series that holds bars: it never changes its adjustment."""
    remembered = _REMEMBERED.setdefault(tables, {})
    keys = {symbol: (source, resolution.value, symbol) for symbol in symbols}
    unknown = [symbol for symbol, key in keys.items() if key not in remembered]
    if unknown:
        newly_read = stored_adjustments(tables, source, resolution, unknown)
        remembered.update({keys[symbol]: kind for symbol, kind in newly_read.items()})
    return {symbol: remembered[key] for symbol, key in keys.items() if key in remembered}


def refuse_other_adjustment(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str], adjustment: Adjustment
) -> None:
    """A series never changes what was done to its prices.

    Raises:
        LakeError: one of the symbols is stored with another adjustment.
    """
    for symbol, stored in remembered_adjustments(tables, source, resolution, symbols).items():
        if stored is not adjustment:
            raise LakeError(
                f"{source} {symbol} {resolution} is stored with {stored.value} prices, these are {adjustment.value}",
                fix="fetch them under a source name of their own",
            )
