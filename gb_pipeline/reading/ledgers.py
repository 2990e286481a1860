"""Questions about the lake rather than about prices: what is there, what is missing and why, what was changed or refused.

Belongs here: `Lake.coverage`, `.gaps`, `.symbols`, `.restatements`, `.withdrawn`, `.quarantine`. They are answered from the Delta
logs and the small ledgers; only for restated and withdrawn bars are the files opened that hold versions of them.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from gb_pipeline.catalog import tables as catalog_tables
from gb_pipeline.lake import ledger, quarantine, versions
from gb_pipeline.lake.datasets import QUARANTINE
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import LATEST, Selection
from gb_pipeline.reading.series import known_series, unknown
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.table import Tables


def coverage(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.coverage`."""
    return catalog_tables.coverage(_sessions(tables, chosen))


def gaps(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.gaps`."""
    return catalog_tables.gaps(_sessions(tables, chosen))


def symbols_of(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.symbols`."""
    listed = catalog_tables.file_list(tables, chosen.as_of)
    sessions = ledger.current(tables, as_of=chosen.as_of)
    found = catalog_tables.symbol_data(tables, listed, sessions, by_log=chosen.as_of is None)
    return _of(found.drop("exchange", "asset_class"), chosen.source, chosen.resolution)


def withdrawn(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.withdrawn`."""
    rows = versions.withdrawn(tables, chosen.source, chosen.resolution, chosen.symbols, chosen.bounds, chosen.as_of)
    return _checked(tables, rows, chosen)


def restated(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.restatements`."""
    rows = versions.restatements(tables, chosen.source, chosen.resolution, chosen.symbols, chosen.bounds)
    return _checked(tables, rows, chosen)


def quarantined(tables: Tables, chosen: Selection) -> pl.DataFrame:
    """See `Lake.quarantine`."""
    window = None if chosen.bounds is None else chosen.window
    rows = quarantine.read(tables, chosen.source, chosen.symbols, window)
    rows = rows.select(name for name in QUARANTINE.schema.names if name != PERIOD)
    rows = _of(rows, None, chosen.resolution).sort("source", "symbol", "resolution", "timestamp", "quarantined_at")
    return _checked(tables, rows, chosen)


def days_of(chosen: Selection) -> tuple[date, date] | None:
    """Days that lie in the window, half-open; one that the window only touches counts. None for all."""
    if chosen.bounds is None:
        return None
    start, end = chosen.bounds
    if end == LATEST:
        return start.date(), LATEST.date()
    return start.date(), (end + timedelta(days=1) - timedelta(microseconds=1)).date()


def _sessions(tables: Tables, chosen: Selection) -> pl.DataFrame:
    rows = ledger.current(tables, chosen.source, chosen.resolution, chosen.symbols, days_of(chosen), chosen.as_of)
    return _checked(tables, rows, chosen)


def _checked(tables: Tables, rows: pl.DataFrame, chosen: Selection) -> pl.DataFrame:
    """The rows, unless a name without a row does not exist: an empty answer would read as "nothing is missing"."""
    silent = [code for code in chosen.symbols or () if code not in rows["symbol"]]
    if rows.height and not silent:
        return rows
    known = known_series(tables, open_bars=False)
    there = _of(known, chosen.source, chosen.resolution)
    if chosen.source is not None and there.is_empty():
        raise unknown(known, ", ".join(chosen.symbols or ()), chosen.resolution, chosen.source)
    for code in silent:
        if code not in there["symbol"]:
            raise unknown(known, code, chosen.resolution, chosen.source)
    return rows


def _of(frame: pl.DataFrame, source: str | None, resolution: Resolution | None) -> pl.DataFrame:
    if source is not None:
        frame = frame.filter(pl.col("source") == source)
    return frame if resolution is None else frame.filter(pl.col("resolution") == resolution.value)
