"""Refused rows, kept as they were received.

Belongs here: appending each refusal once, however often the same answer is fetched. The table is append-only: two writers
that refuse the same row at the same moment may both append it, so a row counts once per `row_id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake.files import ledger_rows
from gb_pipeline.lake.specs import spec_of
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window


def read(
    tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None, window: Window | None = None
) -> pl.DataFrame:
    """Refused rows whose fetch window overlaps a window; columns of `market.schema.QUARANTINE`."""
    rows = ledger_rows(tables, "quarantine", source=source, symbols=symbols)
    if window is not None:
        rows = rows.filter((pl.col("window_start") < window.end) & (pl.col("window_end") > window.start))
    return rows.unique("row_id", keep="first", maintain_order=True).collect()


def record(
    tables: Tables,
    source: str,
    resolution: Resolution | str,
    window: Window,
    bad: pl.DataFrame,
    *,
    at: datetime,
    run_id: str | None,
) -> int:
    """Append the rows that are not there yet.

    Args:
        resolution: of the bars, or the name of the table that the rows would have gone to.
        bad: `symbol, session, timestamp, reasons, row` of a verdict.
        at: when they were refused.

    Returns:
        How many were new.
    """
    if bad.is_empty():
        return 0
    rows = bad.with_columns(
        pl.lit(source).alias("source"),
        pl.lit(str(resolution)).alias("resolution"),
        pl.lit(window.start).alias("window_start"),
        pl.lit(window.end).alias("window_end"),
        pl.lit(run_id, pl.String).alias("run_id"),
        pl.lit(at).alias("quarantined_at"),
        pl.int_range(pl.len()).over("symbol", "timestamp", "row", "reasons").alias("occurrence"),
    )
    rows = rows.with_columns(_row_ids(rows).alias("row_id"))
    known = read(tables, source, rows["symbol"].unique().to_list()).select("row_id")
    new = rows.join(known, on="row_id", how="anti", maintain_order="left")
    if not new.is_empty():
        tables.append(spec_of("quarantine"), new)
    return new.height


def _row_ids(rows: pl.DataFrame) -> pl.Series:
    # The same line may stand in a file three times: the third is the third, also when the file is read again. It may
    # also stand in the files of two days; where its own timestamp cannot be read, the window tells them apart.
    moment = pl.coalesce("timestamp", "window_start").cast(pl.String)
    reasons = pl.col("reasons").list.join(",")
    keys = rows.select(
        pl.concat_str("source", "symbol", "resolution", moment, reasons, "row", "occurrence", separator="\x1f")
    ).to_series()
    return pl.Series([hashlib.sha256(key.encode()).hexdigest() for key in keys], dtype=pl.String())
