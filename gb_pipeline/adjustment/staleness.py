"""This module finds sessions whose stored prices lack a split that has happened, or hold one that was taken back.

It looks into the ledgers only; no file of bars is opened. Fetching these sessions again is left to `ingest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from gb_pipeline.adjustment.split_timeline import confirmations, split_factors, split_periods
from gb_pipeline.lake import ledger
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.storage.table import Tables

# A vendor that said so once says it every time: what it no longer has is not asked for again.
_FOR_GOOD = ("HistoryNotAvailable", "PermanentVendorError", "NotEntitled", "UnknownSymbol")
STALE = pl.Schema({"symbol": pl.String(), "session": pl.Date(), "splits": pl.List(pl.Date()), "lost": pl.Boolean()})


def split_adjusted(tables: Tables, source: str) -> tuple[Resolution, ...]:
    """The resolutions in which a source's split-adjusted bars are stored."""
    rows = ledger.scan(tables, source).filter(pl.col("adjustment") == Adjustment.SPLIT.value, pl.col("actual") > 0)
    stored = set(rows.select("resolution").unique().collect()["resolution"])
    return tuple(resolution for resolution in Resolution if resolution.value in stored)


def first_stored(tables: Tables, source: str, symbols: Sequence[str]) -> date | None:
    """The first session of which bars of any of these symbols are stored."""
    rows = ledger.scan(tables, source, symbols=symbols).filter(pl.col("actual") > 0)
    first = rows.select(pl.col("session").min()).collect().item()
    return first if isinstance(first, date) else None


def stale_sessions(
    tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str], now: datetime
) -> pl.DataFrame:
    """Sessions to be fetched again.

    Returns:
        `symbol`, `session`, `splits` (ex dates that the prices were fetched before) and `lost`: the vendor has said since
        that it does not have this session any more.
    """
    stale_by_symbol = [pl.DataFrame(schema=STALE)]
    periods = split_periods(tables, source, symbols)
    stored = ledger.current(tables, source, resolution, list(periods)) if periods else pl.DataFrame()
    for symbol, own_periods in periods.items():
        rows = stored.filter(
            pl.col("symbol") == symbol, pl.col("actual") > 0, pl.col("adjustment") == Adjustment.SPLIT.value
        ).select("session", "fetched_at", pl.col("first_timestamp").alias("timestamp"))
        if rows.is_empty():
            continue
        confirmed = confirmations(tables, source, resolution, symbol)
        codes, products = split_factors(rows, own_periods, confirmed, now.date())
        wrong = [code for code, (carried, due) in enumerate(products) if carried != due]
        stale = rows.filter(codes.is_in(wrong))
        if stale.is_empty():
            continue
        edges = [(period.ex_date, edge.latest) for period in own_periods for edge in period.edges]
        later = [
            pl.when((pl.col("session") < day) & (pl.col("fetched_at") < moment)).then(pl.lit(day))
            for day, moment in edges
        ]
        # The newest answer about a session counts.
        lost = pl.lit(False)
        since = confirmed.filter(pl.col("fetched_at") >= max(moment for _, moment in edges))
        for start, end, error in since.select("window_start", "window_end", "error").rows():
            inside = (pl.col("timestamp") >= start) & (pl.col("timestamp") < end)
            lost = pl.when(inside).then(pl.lit(error in _FOR_GOOD)).otherwise(lost)
        stale_by_symbol.append(
            stale.select(
                pl.lit(symbol).alias("symbol"),
                "session",
                pl.concat_list(later).list.drop_nulls().list.unique().list.sort().alias("splits"),
                lost.alias("lost"),
            ).cast(STALE)
        )
    return pl.concat(stale_by_symbol).sort("symbol", "session")
