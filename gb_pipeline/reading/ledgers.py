"""What is known about the lake rather than about prices: coverage, gaps, series, restatements, withdrawn bars, quarantine.

The answers come from the Delta logs and the small ledgers. Only for restated and withdrawn bars are files of bars opened, those
that hold versions of them.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.catalog import tables as catalog_tables
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.lake import decisions, ledger, overrides, quarantine, versions
from gb_pipeline.lake.datasets import QUARANTINE
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.restatement_shares import measure_changes
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import LATEST, Selection
from gb_pipeline.reading.series import known_series, unknown_series_error
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.table import Tables


def coverage(tables: Tables, selection: Selection, incidents: Incidents) -> pl.DataFrame:
    """See `Lake.coverage`."""
    return catalog_tables.coverage(_read_sessions(tables, selection, incidents))


def gaps(tables: Tables, selection: Selection, incidents: Incidents) -> pl.DataFrame:
    """See `Lake.gaps`."""
    return catalog_tables.gaps(_read_sessions(tables, selection, incidents))


def symbols(tables: Tables, selection: Selection) -> pl.DataFrame:
    """See `Lake.symbols`."""
    files = catalog_tables.file_list(tables, selection.as_of)
    sessions = ledger.current(tables, selection.source, selection.resolution, as_of=selection.as_of)
    series = catalog_tables.symbol_data(tables, files, sessions, by_log=selection.as_of is None)
    return _filter_series(series.drop("exchange", "asset_class"), selection.source, selection.resolution)


def withdrawn(tables: Tables, selection: Selection) -> pl.DataFrame:
    """See `Lake.withdrawn`."""
    rows = versions.withdrawn(
        tables, selection.source, selection.resolution, selection.symbols, selection.bounds, selection.as_of
    )
    return require_known(tables, rows, selection)


def restated(tables: Tables, selection: Selection, since: datetime | None = None) -> pl.DataFrame:
    """See `Lake.restatements`."""
    rows = versions.restatements(tables, selection.source, selection.resolution, selection.symbols, selection.bounds)
    require_known(tables, rows, selection)
    rows = overrides.leave_out_corrections(tables, rows, selection.source, selection.symbols)
    rows = rows.sort("source", "resolution", "symbol", "timestamp", "replaced_at")
    if since is not None:
        rows = rows.filter(pl.col("replaced_at") > instant_literal(since))
    return measure_changes(rows)


def quarantined(tables: Tables, selection: Selection) -> pl.DataFrame:
    """See `Lake.quarantine`."""
    window = None if selection.bounds is None else selection.window
    rows = quarantine.read(tables, selection.source, selection.symbols, window)
    rows = rows.select(name for name in QUARANTINE.schema.names if name != PERIOD)
    rows = decisions.with_decisions(tables, rows, selection.source, selection.symbols)
    rows = _filter_series(rows, None, selection.resolution).sort(
        "source", "symbol", "resolution", "timestamp", "quarantined_at"
    )
    return require_known(tables, rows, selection)


def days_of(selection: Selection) -> tuple[date, date] | None:
    """Days that lie in the window, half-open; one that the window only touches counts. None for all."""
    if selection.bounds is None:
        return None
    start, end = selection.bounds
    if end == LATEST:
        return start.date(), LATEST.date()
    return start.date(), (end + timedelta(days=1) - timedelta(microseconds=1)).date()


def _read_sessions(tables: Tables, selection: Selection, incidents: Incidents) -> pl.DataFrame:
    rows = ledger.current(
        tables, selection.source, selection.resolution, selection.symbols, days_of(selection), selection.as_of
    )
    return explain_sessions(require_known(tables, rows, selection), incidents)


def require_known(tables: Tables, rows: pl.DataFrame, selection: Selection) -> pl.DataFrame:
    """The rows, unless a name without rows does not exist: an empty answer would read as "nothing is missing"."""
    without_rows = [code for code in selection.symbols or () if code not in rows["symbol"]]
    if rows.height and not without_rows:
        return rows
    known = known_series(tables, open_bars=False)
    stored = _filter_series(known, selection.source, selection.resolution)
    if selection.source is not None and stored.is_empty():
        named = None if selection.symbols is None else ", ".join(selection.symbols)
        raise unknown_series_error(known, named, selection.resolution, selection.source)
    for code in without_rows:
        if code not in stored["symbol"]:
            raise unknown_series_error(known, code, selection.resolution, selection.source)
    return rows


def _filter_series(frame: pl.DataFrame, source: str | None, resolution: Resolution | None) -> pl.DataFrame:
    if source is not None:
        frame = frame.filter(pl.col("source") == source)
    return frame if resolution is None else frame.filter(pl.col("resolution") == resolution.value)
