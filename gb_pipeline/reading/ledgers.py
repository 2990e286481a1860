"""Questions about the lake rather than about prices: what is there, what is missing and why, what was changed or refused.

Belongs here: `Lake.coverage`, `.gaps`, `.symbols`, `.restatements`, `.withdrawn`, `.quarantine`. They are answered from the Delta
logs and the small ledgers; only for restated and withdrawn bars are the files opened that hold versions of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.lake import catalog_tables, ledger, quarantine, versions
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading.plan import EARLIEST, LATEST
from gb_pipeline.reading.series import known_series, unknown
from gb_pipeline.storage.table import Tables


def coverage(
    tables: Tables,
    source: str | None,
    symbols: Sequence[str] | None,
    resolution: Resolution | None,
    window: Window,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """See `Lake.coverage`."""
    return catalog_tables.coverage(_sessions(tables, source, symbols, resolution, window, as_of))


def gaps(
    tables: Tables,
    source: str | None,
    symbols: Sequence[str] | None,
    resolution: Resolution | None,
    window: Window,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """See `Lake.gaps`."""
    return catalog_tables.gaps(_sessions(tables, source, symbols, resolution, window, as_of))


def symbols_of(
    tables: Tables, source: str | None, resolution: Resolution | None, as_of: datetime | None = None
) -> pl.DataFrame:
    """See `Lake.symbols`."""
    listed = catalog_tables.file_list(tables, as_of)
    sessions = ledger.current(tables, as_of=as_of)
    found = catalog_tables.symbol_data(tables, listed, sessions, by_log=as_of is None).drop("exchange", "asset_class")
    return _of(found, source, resolution)


def withdrawn(
    tables: Tables,
    source: str | None,
    symbols: Sequence[str] | None,
    resolution: Resolution | None,
    window: Window,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """See `Lake.withdrawn`."""
    rows = versions.withdrawn(tables, source, resolution, symbols, _between(window), as_of)
    return _checked(tables, rows, source, symbols, resolution)


def restated(
    tables: Tables, source: str | None, symbols: Sequence[str] | None, resolution: Resolution | None, window: Window
) -> pl.DataFrame:
    """See `Lake.restatements`."""
    rows = versions.restatements(tables, source, resolution, symbols, _between(window))
    return _checked(tables, rows, source, symbols, resolution)


def quarantined(
    tables: Tables, source: str | None, symbols: Sequence[str] | None, resolution: Resolution | None, window: Window
) -> pl.DataFrame:
    """See `Lake.quarantine`."""
    rows = quarantine.read(tables, source, symbols, None if _between(window) is None else window)
    rows = _of(rows, None, resolution).sort("source", "symbol", "resolution", "timestamp", "quarantined_at")
    return _checked(tables, rows, source, symbols, resolution)


def _sessions(
    tables: Tables,
    source: str | None,
    symbols: Sequence[str] | None,
    resolution: Resolution | None,
    window: Window,
    as_of: datetime | None,
) -> pl.DataFrame:
    rows = ledger.current(tables, source, resolution, symbols, _days(window), as_of)
    return _checked(tables, rows, source, symbols, resolution)


def _checked(
    tables: Tables,
    rows: pl.DataFrame,
    source: str | None,
    symbols: Sequence[str] | None,
    resolution: Resolution | None,
) -> pl.DataFrame:
    """The rows, unless a name without a row does not exist: an empty answer would read as "nothing is missing"."""
    silent = [code for code in symbols or () if code not in rows["symbol"]]
    if rows.height and not silent:
        return rows
    known = known_series(tables, open_bars=False)
    there = _of(known, source, resolution)
    if source is not None and there.is_empty():
        raise unknown(known, ", ".join(symbols or ()), resolution, source)
    for code in silent:
        if code not in there["symbol"]:
            raise unknown(known, code, resolution, source)
    return rows


def _of(frame: pl.DataFrame, source: str | None, resolution: Resolution | None) -> pl.DataFrame:
    if source is not None:
        frame = frame.filter(pl.col("source") == source)
    return frame if resolution is None else frame.filter(pl.col("resolution") == resolution.value)


def _between(window: Window) -> tuple[datetime, datetime] | None:
    return None if (window.start, window.end) == (EARLIEST, LATEST) else (window.start, window.end)


def _days(window: Window) -> tuple[date, date] | None:
    """Sessions whose date lies in the window; a day that the window only touches counts."""
    if _between(window) is None:
        return None
    if window.end == LATEST:
        return window.start.date(), LATEST.date()
    return window.start.date(), (window.end + timedelta(days=1) - timedelta(microseconds=1)).date()
