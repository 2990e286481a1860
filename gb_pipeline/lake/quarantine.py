"""This module keeps refused rows as they were received.

Each refusal is appended once, however often the same response is fetched. What is stored already is looked up within the commit,
so two writers that refuse the same row at the same moment append it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, FUNDAMENTALS, LISTINGS, QUARANTINE
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock, with_known_at
from gb_pipeline.storage.table import Tables

# In the column `resolution`, of rows that would have gone to another table than one of bars.
OTHER_TABLES = frozenset({CORPORATE_ACTIONS.name, FUNDAMENTALS.name, LISTINGS.name})


def scan(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.LazyFrame:
    """Refused rows, lazily and in no order."""
    snapshot = tables.newest(QUARANTINE.name)
    files = snapshot.select(
        {"source": source} if source is not None else None, holding={"symbol": symbols} if symbols is not None else None
    )
    rows = reading.scan(tables.storage, QUARANTINE, files)
    return rows if symbols is None else rows.filter(pl.col("symbol").is_in(list(symbols)))


def read(
    tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None, window: Window | None = None
) -> pl.DataFrame:
    """Refused rows whose fetch window overlaps a window; columns of the dataset `quarantine`, oldest refusal first."""
    rows = scan(tables, source, symbols)
    if window is not None:
        rows = rows.filter((pl.col("window_start") < window.end) & (pl.col("window_end") > window.start))
    return rows.sort("known_at", "source", "symbol", "timestamp").collect()


def record(
    tables: Tables,
    source: str,
    resolution: Resolution | str,
    window: Window,
    bad: pl.DataFrame,
    *,
    quarantined_at: datetime,
    run_id: str | None,
    clock: Clock = wall_clock,
) -> int:
    """Append the rows that are not there yet.

    Args:
        resolution: of the bars, or the name of the table that the rows would have gone to.
        bad: `symbol, session, timestamp, reasons, row`, and perhaps `bar`, as validation returns them.
        quarantined_at: when they were refused.

    Returns:
        How many were new.
    """
    if bad.is_empty():
        return 0
    rows = bad if "bar" in bad.columns else bad.with_columns(pl.lit(None, pl.String).alias("bar"))
    rows = rows.with_columns(
        pl.lit(source).alias("source"),
        pl.lit(str(resolution)).alias("resolution"),
        instant_literal(window.start).alias("window_start"),
        instant_literal(window.end).alias("window_end"),
        pl.lit(run_id, pl.String).alias("run_id"),
        instant_literal(quarantined_at).alias("quarantined_at"),
        pl.int_range(pl.len()).over("symbol", "timestamp", "row", "reasons").alias("occurrence"),
    )
    rows = rows.with_columns(_row_ids(rows).alias("row_id")).unique("row_id", keep="first", maintain_order=True)
    codes = rows["symbol"].unique().to_list()

    def decide(draft: Draft) -> int:
        files = draft.base.select({"source": source}, holding={"symbol": codes})
        stored_ids = reading.read(tables.storage, QUARANTINE, files, ["row_id"])
        new = rows.join(stored_ids, on="row_id", how="anti", maintain_order="left")
        draft.add(with_known_at(new, draft.stamp, history=False).sort("symbol", "timestamp"))
        return new.height

    return commit(tables[QUARANTINE.name], decide, clock=clock)


def _row_ids(rows: pl.DataFrame) -> pl.Series:
    # The same line may stand in a file three times: the third is the third, also when the file is read again. It may
    # also stand in the files of two days; where its own timestamp cannot be read, the window tells them apart.
    moment = pl.coalesce("timestamp", "window_start").cast(pl.String)
    reasons = pl.col("reasons").list.join(",")
    keys = rows.select(
        pl.concat_str("source", "symbol", "resolution", moment, reasons, "row", "occurrence", separator="\x1f")
    ).to_series()
    return pl.Series([hashlib.sha256(key.encode()).hexdigest() for key in keys], dtype=pl.String())
