"""This module makes fingerprints of series, sources and whole lakes of what the ledger recorded of their sessions.

No file of bars is opened, so neither files nor compaction nor the order of writes play a part. Sessions of which a window holds
only some bars, and bars that are to be compared with the ledger, are dealt with in `gb_pipeline.reading.fingerprints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.market.moments import INSTANT, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import combine, fingerprint_text
from gb_pipeline.storage.table import Tables

SERIES = ["source", "symbol", "resolution"]
SESSION_FINGERPRINTS = pl.Schema(
    {
        **dict.fromkeys(SERIES, pl.String()),
        "session": pl.Date(),
        "bars": pl.Int64(),
        "first": INSTANT,
        "last": INSTANT,
        "precision": pl.String(),
        "fingerprint": pl.String(),
    }
)
SERIES_FINGERPRINTS = pl.Schema(
    {
        **dict.fromkeys(SERIES, pl.String()),
        "sessions": pl.Int64(),
        "bars": pl.Int64(),
        "first": INSTANT,
        "last": INSTANT,
        "fingerprint": pl.String(),
    }
)
# Sessions may begin and end some days beside their date, and a label may stand for a month.
_MARGIN = timedelta(days=32)


def recorded_sessions(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    window: Window | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """What the ledger recorded of every session that has bars in a window.

    Args:
        window: of bar opens; everything by default. A session that lies in it only in part is listed as a whole.
        as_of: what was recorded at this moment.

    Returns:
        Columns of `SESSION_FINGERPRINTS`, sorted by series and session; sessions without a bar have no fingerprint and are
        left out.
    """
    rows = ledger.current(tables, source, resolution, symbols, None if window is None else _days(window), as_of)
    sessions = rows.filter(pl.col("fingerprint").is_not_null() & (pl.col("actual") > 0))
    if window is not None:
        sessions = sessions.filter(
            (pl.col("first_timestamp") < instant_literal(window.end))
            & (pl.col("last_timestamp") >= instant_literal(window.start))
        )
    return (
        sessions.select(
            *SERIES,
            "session",
            pl.col("actual").alias("bars"),
            pl.col("first_timestamp").alias("first"),
            pl.col("last_timestamp").alias("last"),
            "precision",
            fingerprint_text(sessions["fingerprint"]),
        )
        .sort(*SERIES, "session")
        .cast(SESSION_FINGERPRINTS)
    )


def combine_sessions(sessions: pl.DataFrame) -> pl.DataFrame:
    """The fingerprint of every series: SHA-256 over one line `<session> <fingerprint>` for each session.

    Args:
        sessions: columns of `SESSION_FINGERPRINTS`, sorted by series and session.

    Returns:
        Columns of `SERIES_FINGERPRINTS`, sorted by series.
    """
    counts = [
        pl.len().cast(pl.Int64).alias("sessions"),
        pl.col("bars").sum(),
        pl.col("first").min(),
        pl.col("last").max(),
    ]
    series = sessions.group_by(SERIES, maintain_order=True).agg(counts).sort(SERIES)
    by_series = sessions.select(*SERIES, "session", "fingerprint").partition_by(SERIES, as_dict=True, include_key=False)
    texts = [combine(by_series[key]) for key in series.select(SERIES).iter_rows()]
    return series.with_columns(pl.Series("fingerprint", texts, pl.String)).cast(SERIES_FINGERPRINTS)


def combine_series(series: pl.DataFrame) -> str:
    """The fingerprint of several series: SHA-256 over one line `<source> <symbol> <resolution> <fingerprint>` for each.

    Args:
        series: columns of `SERIES_FINGERPRINTS`, in any order.

    Returns:
        64 hexadecimal digits; empty where no series has a bar.
    """
    return combine(series.select(*SERIES, "fingerprint"))


def _days(window: Window) -> tuple[date, date]:
    first, last = window.start.date(), window.end.date()
    return first - min(_MARGIN, first - date.min), last + min(_MARGIN, date.max - last)
