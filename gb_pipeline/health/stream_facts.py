"""This module measures what is heard around the clock: how far commits are behind, and how much of the last day is covered.

Everything is a frame out of the lake, of what stands in gb.yaml under `collect`. What of it is wrong is said in `streams`.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import find_first_evidence, read_intervals, read_watermarks
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.stream_coverage import GAPS_PER_MILLION, STREAM, count_gaps, find_holes, gaps_per_million

SECOND = 1_000_000_000
DAY = timedelta(days=1)
FEED = ["source", "dataset"]
# Behind its last evidence a stream is being heard: what became of that is told by the next commit.
_TOLD_SOON = 600 * SECOND


def expected_streams(settings: Settings) -> pl.DataFrame:
    """What gb.yaml names, one row each: `source, symbol, dataset`. Contracts of a `series` are not named in it."""
    rows = [
        (source, symbol, dataset.value)
        for source, stream in settings.collect.streams.items()
        for dataset in stream.datasets
        for symbol in stream.symbols
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(STREAM, pl.String()), orient="row").unique(maintain_order=True)


def watermark_limit(state: ProjectState) -> float:
    """Seconds that a watermark may be behind the present."""
    minutes = timedelta(minutes=state.limits.watermark_minutes)
    return (state.settings.collect.flush.every + minutes).total_seconds()


def watermark_ages(state: ProjectState) -> pl.DataFrame:
    """How far the commits of each feed are, by the collector that is furthest.

    Returns:
        `source, dataset, collector` (String), `through_time` (Int64 ns), `behind_seconds` (Float64); nulls where nothing of a feed
        was ever committed.
    """
    rows = [
        (source, dataset.value)
        for source, stream in state.settings.collect.streams.items()
        for dataset in stream.datasets
    ]
    feeds = pl.DataFrame(rows, schema=dict.fromkeys(FEED, pl.String()), orient="row").unique(maintain_order=True)
    newest = read_watermarks(state.store.tables).sort("through_time").unique(FEED, keep="last", maintain_order=True)
    behind = (pl.lit(now_of(state)) - pl.col("through_time")).clip(lower_bound=0) / SECOND
    return feeds.join(newest, on=FEED, how="left", maintain_order="left").select(
        *FEED, "collector", "through_time", behind.alias("behind_seconds")
    )


def uncovered_of_last_day(state: ProjectState) -> pl.DataFrame:
    """How much of the last day that is committed nothing covers, of every stream that gb.yaml names or whose series it does.

    A stream counts from its first evidence on, and up to its feed's watermark; a contract of a series up to its last evidence.

    Returns:
        `source, symbol, dataset` (String); `uncovered_seconds, uncovered_share` (Float64); `holes, messages, gaps` (integers);
        `gaps_per_million` (Float64, null without messages); `reason` (String) of the longest hole, where a gap row says it.
    """
    end = now_of(state)
    start = end - int(DAY.total_seconds()) * SECOND
    windows = _windows(state.settings, state.store, start, end)
    intervals = read_intervals(state.store.tables, start, end)
    holes = find_holes(intervals, windows).with_columns(seconds=(pl.col("end_time") - pl.col("start_time")) / SECOND)
    of_holes = holes.group_by(STREAM).agg(
        pl.col("seconds").sum().alias("uncovered_seconds"),
        pl.len().alias("holes"),
        pl.col("reason").sort_by("seconds", descending=True).first(),
    )
    found = windows.join(of_holes, on=STREAM, how="left").join(count_gaps(intervals), on=STREAM, how="left")
    found = found.with_columns(pl.col("uncovered_seconds", "holes", "messages", "gaps").fill_null(0))
    return found.select(
        *STREAM,
        "uncovered_seconds",
        (pl.col("uncovered_seconds") / DAY.total_seconds()).alias("uncovered_share"),
        "holes",
        "messages",
        "gaps",
        GAPS_PER_MILLION,
        "reason",
    ).sort(STREAM)


def _windows(settings: Settings, store: LakeStore, start: int, end: int) -> pl.DataFrame:
    """Which stretch of the last day each stream is expected to cover."""
    first = find_first_evidence(store.tables).rename({"start_time": "first_time"})
    series = [source for source, stream in settings.collect.streams.items() if stream.series]
    expected = expected_streams(settings)
    named = expected.join(first, on=STREAM, how="inner")
    discovered = first.filter(pl.col("source").is_in(series)).join(expected, on=STREAM, how="anti")
    through = read_watermarks(store.tables).group_by(FEED).agg(pl.col("through_time").max())
    last = read_intervals(store.tables, start, end).group_by(STREAM).agg(pl.col("end_time").max().alias("last_time"))
    named = named.join(through, on=FEED, how="inner").join(last, on=STREAM, how="left")
    is_told_soon = pl.col("through_time") - pl.col("last_time") < _TOLD_SOON
    named = named.with_columns(pl.when(is_told_soon).then("last_time").otherwise("through_time").alias("through_time"))
    discovered = discovered.join(last.rename({"last_time": "through_time"}), on=STREAM, how="inner")
    both = pl.concat([named, discovered], how="diagonal")
    windows = both.select(
        *STREAM,
        pl.max_horizontal(pl.lit(start), "first_time").alias("start_time"),
        pl.min_horizontal(pl.lit(end), "through_time").alias("end_time"),
    )
    return windows.filter(pl.col("start_time") < pl.col("end_time")).sort(STREAM)


def count_coverage(streams: pl.DataFrame) -> dict[str, int | float]:
    """Numbers of `uncovered_of_last_day`, for a plot over time."""
    messages, gaps = int(streams["messages"].sum()), int(streams["gaps"].sum())
    counts: dict[str, int | float] = {
        "streams": streams.height,
        "uncovered_seconds": round(float(streams["uncovered_seconds"].sum()), 3),
        "holes": int(streams["holes"].sum()),
        "messages": messages,
        "gaps": gaps,
    }
    rate = gaps_per_million(gaps, messages)
    return counts if rate is None else counts | {"gaps_per_million": round(rate, 3)}


def describe_coverage(streams: pl.DataFrame) -> str:
    """`3 streams are covered; 0.2 gaps per million messages`."""
    counts = count_coverage(streams)
    uncovered = counts["uncovered_seconds"]
    what = f"all but {format_seconds(uncovered)} of the last day" if uncovered else "all of the last day"
    rate = f"; {counts['gaps_per_million']:,.3g} gaps per million messages" if "gaps_per_million" in counts else ""
    return f"{what} of {streams.height:,} streams is covered{rate}"


def format_seconds(seconds: float) -> str:
    """A stretch of time as a person reads it: `0.4 s`, `12 s`, `3 min`, `2.5 h`, `4 days`."""
    for unit, length in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.3g} {unit}"
    return f"{seconds:,.3g} s"


def now_of(state: ProjectState) -> int:
    """The present, in ns since 1970 UTC."""
    return microseconds(state.now) * 1000
