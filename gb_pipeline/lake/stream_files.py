"""This module lists the data files of trades, quotes and books, and sums them up, out of the tables' logs alone.

Nothing is opened or listed in a bucket, and what was committed before is in the list.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.market.moments import INSTANT, from_microseconds
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.table import Tables

_LEAST, _MOST = -(2**63), 2**63 - 1
FILES = pl.Schema(
    {
        **dict.fromkeys(("source", "table", "symbol", "day", "path"), pl.String()),
        **dict.fromkeys(("rows", "bytes"), pl.Int64()),
        **dict.fromkeys(("first_timestamp", "last_timestamp"), INSTANT),
    }
)
STREAM_DATA = pl.Schema(
    {
        **dict.fromkeys(("source", "table", "symbol"), pl.String()),
        **dict.fromkeys(("rows", "bytes", "files", "days"), pl.Int64()),
        **dict.fromkeys(("start", "end"), INSTANT),
    }
)


def list_files(
    tables: Tables,
    source: str | None = None,
    symbols: list[str] | None = None,
    prefix: str | None = None,
    table: str | None = None,
    start: int = _LEAST,
    end: int = _MOST,
) -> pl.DataFrame:
    """Files by exact names, a prefix of symbols, a table and a window (ns since 1970 UTC); columns of `FILES`, sorted.

    Raises:
        ConfigError: there is no such table.
        LakeError: a table is damaged.
    """
    if table is not None and table not in STREAM_TABLES:
        near = near_names(str(table)[:40], STREAM_TABLES, 2)
        raise ConfigError(
            f"no table of streams is called {table!r:.40}",
            fix=f"{did_you_mean(near)} use {', '.join(STREAM_TABLES)}".strip(),
        )
    wanted: dict[str, object] = {}
    if source is not None:
        wanted["source"] = source
    if symbols is not None:
        wanted["symbol"] = symbols
    between = {"timestamp": (from_microseconds(start // 1000), from_microseconds(-(-end // 1000)))}
    parts = [pl.DataFrame(schema=FILES)]
    for name in STREAM_TABLES if table is None else (table,):
        for precision in Precision:
            dataset = stream_dataset(name, precision)
            found = tables.newest(dataset.name).select(wanted, between=between)
            if prefix is not None:
                found = found.filter(pl.col("symbol").str.starts_with(prefix))
            if found.height:
                place = f"{tables.storage.table_name(dataset.name)}/"
                parts.append(
                    found.select(
                        "source",
                        pl.lit(name).alias("table"),
                        "symbol",
                        pl.col(PERIOD).alias("day"),
                        (pl.lit(place) + pl.col("path")).alias("path"),
                        "rows",
                        pl.col("size").alias("bytes"),
                        pl.col("min.timestamp").alias("first_timestamp"),
                        pl.col("max.timestamp").alias("last_timestamp"),
                    ).cast(FILES)
                )
    return pl.concat(parts).sort("source", "table", "symbol", "day", "path")


def summarize_files(listed: pl.DataFrame) -> pl.DataFrame:
    """What there is of each stream, of `list_files`; columns of `STREAM_DATA`."""
    keys = ["source", "table", "symbol"]
    return (
        listed.group_by(keys)
        .agg(
            pl.col("rows", "bytes").sum(),
            pl.len().cast(pl.Int64).alias("files"),
            pl.col("day").n_unique().cast(pl.Int64).alias("days"),
            pl.col("first_timestamp").min().alias("start"),
            pl.col("last_timestamp").max().alias("end"),
        )
        .sort(keys)
        .cast(STREAM_DATA)
    )
