"""This module makes fingerprints of trades, quotes, books and their evidence, out of the tables' logs: no file of rows is opened.

The name of a file carries the checksums of what it holds, so two lakes with equal fingerprints hold the same files: a copy and its
source. Unlike those of bars they change when files are merged; what the rows say does not.
"""

from __future__ import annotations

import hashlib

import polars as pl

from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, STREAM_TABLES, WATERMARKS, stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.fingerprint import combine
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.table import Tables

DESCRIBED = pl.Schema(
    {
        **dict.fromkeys(("table", "source", "symbol", "period"), pl.String()),
        "rows": pl.Int64(),
        "fingerprint": pl.String(),
    }
)
_KEYS = ["table", "source", "symbol", "period"]


def describe_streams(tables: Tables) -> pl.DataFrame:
    """What the logs list of each stream and day, and of the evidence of each source and month.

    Returns:
        Columns of `DESCRIBED`, sorted; `fingerprint` is the SHA-256 of the sorted names of the files, a line each. `symbol` is
        empty where the table is not cut by it.

    Raises:
        LakeError: a table is damaged.
    """
    datasets = [stream_dataset(name, precision) for name in STREAM_TABLES for precision in Precision]
    parts = [pl.DataFrame(schema=DESCRIBED)]
    for dataset in (*datasets, STREAM_INTERVALS, CONNECTION_EVENTS, WATERMARKS):
        files = tables.newest(dataset.name).files
        symbol = pl.col("symbol") if "symbol" in dataset.partitions else pl.lit("")
        named = files.select(
            pl.lit(dataset.name).alias("table"), "source", symbol.alias("symbol"), pl.col(PERIOD).alias("period"),
            pl.col("rows").cast(pl.Int64), "path",
        )  # fmt: skip
        listed = named.group_by(_KEYS).agg(pl.col("rows").sum(), pl.col("path").sort().str.join("\n").alias("paths"))
        texts = [hashlib.sha256(text.encode()).hexdigest() for text in listed["paths"]]
        parts.append(
            listed.with_columns(pl.Series("fingerprint", texts, pl.String)).select(DESCRIBED.names()).cast(DESCRIBED)
        )
    return pl.concat(parts).sort(_KEYS)


def combine_streams(described: pl.DataFrame) -> str:
    """The fingerprint of all of them: SHA-256 over one line `<table> <source> <symbol> <period> <rows> <fingerprint>` for each.

    Args:
        described: columns of `DESCRIBED`.

    Returns:
        64 hexadecimal digits; empty without a stream.
    """
    return combine(described)
