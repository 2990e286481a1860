"""This module reads the evidence of streams from the lake: watermarks, intervals, and how much of each stream is kept.

What the intervals mean is known to `market.stream_coverage`; the tables are written by collectors. No file of trades or books is
opened here: sizes and counts stand in the logs.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.lake.datasets import STREAM_INTERVALS, STREAM_TABLES, WATERMARKS, stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.stream_coverage import EVIDENCE, STREAM
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.table import Tables

_LEAST, _MOST = -(2**63), 2**63 - 1
# Snapshots belong to the stream of a book's updates.
STREAM_OF_TABLE = {
    name: StreamDataset.BOOK_UPDATES if name == "book_snapshots" else StreamDataset(name) for name in STREAM_TABLES
}
STORED = pl.Schema(
    {
        **dict.fromkeys(("source", "table", "symbol", "day"), pl.String()),
        **dict.fromkeys(("rows", "bytes", "files"), pl.Int64()),
    }
)


def read_watermarks(tables: Tables, source: str | None = None) -> pl.DataFrame:
    """The newest watermark of every source, dataset and collector.

    Returns:
        Columns of the dataset `watermarks`, sorted by source, dataset and collector.

    Raises:
        LakeError: the table is damaged.
    """
    files = tables.newest(WATERMARKS.name).select({"source": source} if source is not None else None)
    rows = reading.read(tables.storage, WATERMARKS, files)
    keys = ["source", "dataset", "collector"]
    return rows.sort(*keys, "through_time", "segment").unique(keys, keep="last", maintain_order=True)


def read_intervals(
    tables: Tables,
    start_time: int = _LEAST,
    end_time: int = _MOST,
    *,
    source: str | None = None,
    dataset: str | None = None,
    symbols: list[str] | None = None,
) -> pl.DataFrame:
    """All intervals that touch a window.

    Args:
        tables: of the lake.
        start_time, end_time: the window, half-open, ns since 1970 UTC; everything by default.
        source, dataset, symbols: only of these.

    Returns:
        Columns of the dataset `stream_intervals`.

    Raises:
        LakeError: the table is damaged.
    """
    wanted = {name: value for name, value in (("source", source), ("dataset", dataset)) if value is not None}
    files = tables.newest(STREAM_INTERVALS.name).select(
        wanted,
        between={"start_time": (_LEAST, end_time), "end_time": (start_time, _MOST)},
        holding=None if symbols is None else {"symbol": symbols},
    )
    rows = reading.read(tables.storage, STREAM_INTERVALS, files)
    touches = (pl.col("start_time") < end_time) & (pl.col("end_time") > start_time)
    return rows.filter(touches if symbols is None else touches & pl.col("symbol").is_in(symbols))


def find_first_evidence(tables: Tables) -> pl.DataFrame:
    """When each stream was heard first: `source, symbol, dataset` (String) and `start_time` (Int64, ns since 1970 UTC)."""
    columns = [*STREAM, "kind", "start_time"]
    rows = reading.scan(tables.storage, STREAM_INTERVALS, tables.newest(STREAM_INTERVALS.name).files, columns)
    first = rows.filter(pl.col("kind").is_in(EVIDENCE)).group_by(STREAM).agg(pl.col("start_time").min())
    return first.sort(STREAM).collect()


def measure_stored(tables: Tables, source: str | None = None) -> pl.DataFrame:
    """What is kept of streams, by table, symbol and day, out of the tables' logs.

    Returns:
        `source, table` (a name of `STREAM_TABLES`; its sibling of wide numbers counts to it), `symbol, day` (UTC, as 2024-01-31),
        `rows, bytes, files` (Int64).

    Raises:
        LakeError: a table is damaged.
    """
    parts = [pl.DataFrame(schema=STORED)]
    for name in STREAM_TABLES:
        for precision in Precision:
            files = tables.newest(stream_dataset(name, precision).name).select(
                {"source": source} if source is not None else None
            )
            if files.height:
                own = files.select(
                    "source", pl.lit(name).alias("table"), "symbol", pl.col(PERIOD).alias("day"), "rows", "size"
                )
                parts.append(own.with_columns(files=1).rename({"size": "bytes"}).select(STORED.names()).cast(STORED))
    keys = ["source", "table", "symbol", "day"]
    return pl.concat(parts).group_by(keys).agg(pl.col("rows", "bytes", "files").sum()).sort(keys)
