"""This module estimates how much a lake grows by what is heard: from what was heard lately, else from public recordings.

Rates are rows in covered time, so that holes make no estimate smaller. Nothing is asked of a venue, and no file of trades or books
is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.config.collect import CollectSettings, StreamSettings
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, measure_stored, read_intervals
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.stream_coverage import STREAM, covered_stretches
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.storage.table import Tables

DAYS_OF_MONTH = 30
_DAY_SECONDS = 86_400
_SECOND = 1_000_000_000
# What was heard earlier tells less of today.
_LATELY = timedelta(days=7)
# Less than this of covered time is no measurement.
_LEAST_SECONDS = 600.0
_LEAST_ROWS = 1_000

# Rows in a second of one instrument where nothing was heard yet, counted in public recordings. Binance's are those of its busiest
# instrument (hftbacktest, examples/usdm/btcusdt_20240719.gz and examples/spot/btcusdt_20240808.gz), an upper bound; Coinbase's and
# Kraken's are the mean of ten middling pairs in the samples of cryptofeed (COINBASE.ws.28.0, KRAKEN.ws.48.0 to 50.0, April 2021).
DOCUMENTED_ROWS_PER_SECOND = {
    "binance": {"trades": 32.0, "book_updates": 1_081.0, "quotes": 150.0},
    "coinbase": {"trades": 0.3, "book_updates": 32.0, "quotes": 0.3},
    "kraken": {"trades": 0.6, "book_updates": 14.0, "quotes": 0.2},
}
# As the lake has stored five minutes of the first of those recordings.
DOCUMENTED_BYTES_PER_ROW = {"trades": 7.8, "book_updates": 4.7, "book_snapshots": 4.7, "quotes": 10.0}
# Levels on each side of a whole book where gb.yaml does not say it.
_DEPTH = 1_000


@dataclass(frozen=True)
class FeedGrowth:
    """What one table of one stream takes.

    Attributes:
        source, table: which.
        symbols: instruments; of a `series` those that were heard lately.
        rows_per_day: of all of them; None where nobody knows.
        bytes_per_row: on disk.
        because: where the numbers come from.
    """

    source: str
    table: str
    symbols: int
    rows_per_day: float | None
    bytes_per_row: float
    because: str

    @property
    def bytes_per_month(self) -> float | None:
        """Of thirty days; None where nobody knows."""
        return None if self.rows_per_day is None else self.rows_per_day * self.bytes_per_row * DAYS_OF_MONTH


def estimate_growth(tables: Tables, collect: CollectSettings, now: datetime, sources: list[str]) -> list[FeedGrowth]:
    """How much some streams of gb.yaml add to a lake.

    Args:
        tables: of the lake, which need not exist yet.
        collect: what is heard.
        now: the present, in UTC.
        sources: names of streams.

    Returns:
        One for each table that they fill.

    Raises:
        LakeError: a table is damaged.
    """
    since = now - _LATELY
    begin, end = microseconds(since.replace(hour=0, minute=0, second=0, microsecond=0)) * 1000, microseconds(now) * 1000
    stored = measure_stored(tables).filter(pl.col("day") >= since.date().isoformat())
    found = covered_stretches(read_intervals(tables, begin, end)).with_columns(
        pl.col("start_time").clip(begin), pl.col("end_time").clip(upper_bound=end)
    )
    seconds = (pl.col("end_time") - pl.col("start_time")).sum() / _SECOND
    covered = found.group_by(STREAM).agg(seconds.alias("seconds")).filter(pl.col("seconds") >= _LEAST_SECONDS)
    return [
        growth for source in sources for growth in _estimate_stream(source, collect.streams[source], stored, covered)
    ]


def _estimate_stream(
    source: str, stream: StreamSettings, stored: pl.DataFrame, covered: pl.DataFrame
) -> Iterator[FeedGrowth]:
    for dataset in stream.datasets:
        own = covered.filter(pl.col("source") == source, pl.col("dataset") == dataset.value)
        symbols = len(stream.symbols) or own.height
        tables = [table for table, of in STREAM_OF_TABLE.items() if of is dataset]
        for table in tables:
            rows = stored.filter(pl.col("source") == source, pl.col("table") == table).join(
                own, on="symbol", how="semi"
            )
            size = _bytes_per_row(stored, table)
            if rows.height:
                rate = int(rows["rows"].sum()) * _DAY_SECONDS / float(own["seconds"].sum())
                hours = max(own["seconds"]) / 3600
                because = f"measured in up to {hours:,.3g} h of {own.height:,} instruments"
                # Those that were not heard yet count as the others.
                yield FeedGrowth(source, table, symbols, rate * symbols, size, because)
            else:
                a_day, because = _documented(stream, dataset, table)
                yield FeedGrowth(source, table, symbols, None if a_day is None else a_day * symbols, size, because)


def _bytes_per_row(stored: pl.DataFrame, table: str) -> float:
    """As the lake stores them, whichever source they are of."""
    known = stored.filter(pl.col("table") == table)
    rows = int(known["rows"].sum())
    return int(known["bytes"].sum()) / rows if rows >= _LEAST_ROWS else DOCUMENTED_BYTES_PER_ROW[table]


def _documented(stream: StreamSettings, dataset: StreamDataset, table: str) -> tuple[float | None, str]:
    """Rows in a day of one instrument of which nothing was heard, and where that stands."""
    if table == "book_snapshots":
        if stream.snapshot_every is None:
            return 0.0, "never: snapshot_every is null"
        depth = stream.depth or _DEPTH
        return 2 * depth * _DAY_SECONDS / stream.snapshot_every.total_seconds(), f"{depth:,} levels a side at most"
    rate = DOCUMENTED_ROWS_PER_SECOND.get(stream.venue, {}).get(dataset.value)
    if rate is None or not stream.symbols:
        return None, "not known before it was heard for ten minutes"
    busiest = " of the busiest instrument" if stream.venue == "binance" else ""
    return rate * _DAY_SECONDS, f"{rate:,g} rows a second in a public recording{busiest}"
