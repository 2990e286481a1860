"""This module sums up what is kept of each stream, and counts the rows that are not settled yet."""

from __future__ import annotations

import polars as pl

from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.lake.settled_streams import settled_series
from gb_pipeline.lake.stream_files import STREAM_DATA, list_files, summarize_files
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import reading
from gb_pipeline.storage.table import Tables

_SERIES = ["source", "symbol"]
STREAM_STATUS = pl.Schema({**STREAM_DATA, "settled_until": INSTANT, "unsettled": pl.Int64()})


def read_stream_status(tables: Tables, source: str | None) -> pl.DataFrame:
    """See `Lake.stream_status`."""
    found = summarize_files(list_files(tables, source))
    parts = [pl.DataFrame(schema=STREAM_STATUS)]
    for table in STREAM_TABLES:
        own = found.filter(pl.col("table") == table)
        if own.is_empty():
            continue
        until = (pl.col("until") // 1000).cast(INSTANT).alias("settled_until")
        ends = settled_series(tables, table, own.select(_SERIES)).select(*_SERIES, until)
        counted = own.join(ends, on=_SERIES, how="left").join(
            _count_unsettled(tables, table, ends), on=_SERIES, how="left"
        )
        parts.append(
            counted.with_columns(pl.col("unsettled").fill_null(0)).select(STREAM_STATUS.names()).cast(STREAM_STATUS)
        )
    return pl.concat(parts).sort("source", "symbol", "table")


def _count_unsettled(tables: Tables, table: str, ends: pl.DataFrame) -> pl.DataFrame:
    """`source, symbol, unsettled`: rows at or behind the end of each series; those of whole files are in the log."""
    parts = [pl.DataFrame(schema={**dict.fromkeys(_SERIES, pl.String()), "unsettled": pl.Int64()})]
    for precision in Precision:
        dataset = stream_dataset(table, precision)
        files = tables.newest(dataset.name).files.join(ends.drop_nulls(), on=_SERIES, maintain_order="left")
        behind = files.filter(pl.col("max.timestamp") >= pl.col("settled_until"))
        whole = behind.filter(pl.col("min.timestamp") >= pl.col("settled_until"))
        parts.append(whole.select(*_SERIES, pl.col("rows").cast(pl.Int64).alias("unsettled")))
        for file in behind.filter(pl.col("min.timestamp") < pl.col("settled_until")).iter_slices(1):
            moments = reading.read(tables.storage, dataset, file, ["timestamp"])["timestamp"]
            count = int((moments >= file["settled_until"][0]).sum())
            parts.append(file.select(*_SERIES, pl.lit(count, pl.Int64).alias("unsettled")))
    return pl.concat(parts).group_by(_SERIES).agg(pl.col("unsettled").sum())
