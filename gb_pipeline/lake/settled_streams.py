"""This module says up to when what collectors heard is settled: committed, so that a later reading gives the same rows.

Only commits tell, never a clock. Where several collectors hear one stream, it is settled where all of them have committed, or
where one that has covers it without a hole. A collector that died without a word would hold readers back for ever at the first
hole of the others: it is not waited for any more once the others are `SILENT_AFTER` ahead of it, or three of its own commits.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from gb_pipeline.lake.datasets import CONNECTION_EVENTS
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, read_intervals, read_watermarks
from gb_pipeline.market.stream_coverage import STREAM, find_holes
from gb_pipeline.market.tick_schema import FILE_COLLECTOR, ConnectionEventKind
from gb_pipeline.storage import reading
from gb_pipeline.storage.table import Tables

# So far behind the others of its feed, who has not said how seldom it commits is taken for dead.
SILENT_AFTER = timedelta(days=1)
_SILENT_NS = SILENT_AFTER // timedelta(microseconds=1) * 1000
# As long as so many commits of its own are due.
_SILENT_COMMITS = 3


def settled_series(
    tables: Tables, table: str, series: pl.DataFrame, collectors: tuple[str, ...] | None = None
) -> pl.DataFrame:
    """Up to when each series of a table is settled.

    Args:
        tables: of the lake.
        table: a name of `STREAM_TABLES`.
        series: `source, symbol`.
        collectors: only their commits count; None for those of all.

    Returns:
        `source, symbol` and `until` (Int64 ns, exclusive; null where no collector ever committed to the source: what files
        brought is settled as it is).

    Raises:
        LakeError: a table is damaged.
    """
    dataset = STREAM_OF_TABLE[table].value
    marks = read_watermarks(tables).filter(
        pl.col("dataset") == dataset, pl.col("source").is_in(series["source"].to_list())
    )
    if collectors is not None:
        marks = marks.filter(pl.col("collector").is_in(collectors))
    # Of one collector alone it does not matter.
    alone = marks.height == marks["source"].n_unique()
    marks = marks.with_columns(pl.lit(True).alias("running")) if alone else with_life(tables, marks)
    # What has stopped as asked has nothing left to commit; where all have, the one that came furthest tells.
    counted = marks.filter(pl.col("running") | ~pl.col("running").any().over("source"))
    last = pl.col("through_time").filter(pl.col("running")).min().fill_null(pl.col("through_time").max())
    ends = counted.group_by("source").agg(last.alias("low"), pl.col("through_time").max().alias("high"))
    found = series.select("source", "symbol").join(ends, on="source", how="left", maintain_order="left")
    uneven = found.filter(pl.col("low") < pl.col("high"))
    if uneven.is_empty():
        return found.select("source", "symbol", pl.col("low").alias("until"))
    windows = uneven.select(
        "source",
        "symbol",
        pl.lit(dataset).alias("dataset"),
        pl.col("low").alias("start_time"),
        pl.col("high").alias("end_time"),
    )
    (low,), (high,) = windows.select(pl.col("start_time").min()).row(0), windows.select(pl.col("end_time").max()).row(0)
    intervals = read_intervals(tables, low, high, dataset=dataset)
    if collectors is not None:
        intervals = intervals.filter(pl.col("collector").is_in(collectors))
    first = find_holes(intervals, windows).group_by(STREAM[:2]).agg(pl.col("start_time").min().alias("hole"))
    until = pl.when(pl.col("low") < pl.col("high")).then(pl.coalesce("hole", "high")).otherwise(pl.col("low"))
    return found.join(first, on=list(STREAM[:2]), how="left", maintain_order="left").select(
        "source", "symbol", until.alias("until")
    )


def with_life(tables: Tables, marks: pl.DataFrame) -> pl.DataFrame:
    """Watermarks, and how their collectors are as far as they told.

    Returns:
        Columns of `marks`, all of the newest ones of some feeds, and `silent` (Boolean: so far behind the one of its feed that is
        furthest that nobody waits for it) and `running` (Boolean: false where it is silent, or stopped as asked and said no more).
    """
    columns = ["collector", "event_time", "kind", "detail"]
    events = reading.scan(tables.storage, CONNECTION_EVENTS, tables.newest(CONNECTION_EVENTS.name).files, columns)
    # A start says how often there will be commits.
    pause = pl.col("detail").str.json_path_match("$.flush_seconds").cast(pl.Float64, strict=False)
    started = pl.col("kind") == ConnectionEventKind.STARTED.value
    ordered = events.sort("event_time", maintain_order=True).with_columns(pl.when(started).then(pause).alias("pause"))
    last = ordered.group_by("collector").agg(
        pl.col("kind").last(), (pl.col("pause").drop_nulls().last() * _SILENT_COMMITS * 1e9).cast(pl.Int64)
    )
    joined = marks.join(last.collect(), on="collector", how="left", maintain_order="left")
    patience = pl.max_horizontal(pl.lit(_SILENT_NS, pl.Int64), "pause")
    behind = pl.col("through_time").max().over("source", "dataset") - pl.col("through_time")
    stopped = (pl.col("kind") == ConnectionEventKind.STOPPED.value).fill_null(False)
    told = joined.with_columns((behind > patience).alias("silent"), stopped.alias("stopped"))
    # What files brought is whole since its watermark.
    is_file = pl.col("collector") == FILE_COLLECTOR
    running = ~is_file & ~pl.col("stopped") & ~pl.col("silent")
    return told.select(
        *marks.columns, (pl.col("silent") & ~pl.col("stopped") & ~is_file).alias("silent"), running.alias("running")
    )
