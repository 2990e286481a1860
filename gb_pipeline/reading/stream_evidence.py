"""This module answers what is known of streams beside their rows: watermarks, covered stretches, holes, masks, and files.

What intervals mean is known to `market.stream_coverage`, and `lake.stream_evidence` reads the tables. No file of rows is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from gb_pipeline.config.durations import parse_duration
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.settled_streams import with_life
from gb_pipeline.lake.stream_evidence import STREAM_OF_TABLE, find_first_evidence, read_intervals, read_watermarks
from gb_pipeline.lake.stream_files import list_files
from gb_pipeline.market.event_time import NANOSECOND_INSTANT
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.stream_coverage import (
    GAPS_PER_MILLION,
    STREAM,
    count_gaps,
    covered_stretches,
    find_holes,
    windows_covered,
)
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.reading.arguments import Moment
from gb_pipeline.reading.stream_request import FIRST, LAST, StreamRequest, nanoseconds
from gb_pipeline.reading.stream_rows import find_series
from gb_pipeline.storage.commit import Clock, wall_clock
from gb_pipeline.storage.table import Tables

_FEED = ["source", "dataset"]
_SECOND = 1e9


def watermarks(tables: Tables, source: str | None) -> pl.DataFrame:
    """See `Lake.watermarks`."""
    marks = with_life(tables, read_watermarks(tables, source))
    stored = list_files(tables, source).with_columns(
        pl.col("table").replace_strict({name: item.value for name, item in STREAM_OF_TABLE.items()}).alias("dataset")
    )
    newest = stored.group_by(_FEED).agg(pl.col("last_timestamp").max().alias("stored_through"))
    until = pl.col("through_time").cast(NANOSECOND_INSTANT)
    return (
        marks.join(newest, on=_FEED, how="left", maintain_order="left")
        .with_columns((pl.col("stored_through") >= until.cast(INSTANT)).fill_null(False).alias("unsettled"))
        .select(
            *_FEED, "collector", until.alias("through"), "segment", "running", "silent", "stored_through", "unsettled"
        )
    )


def named_dataset(name: str) -> str:
    """The name of a stream's dataset.

    Raises:
        ConfigError: there is none of that name.
    """
    names = [item.value for item in StreamDataset]
    if name not in names:
        near = near_names(str(name)[:40], names, 2)
        raise ConfigError(
            f"no stream is called {name!r:.40}", fix=f"{did_you_mean(near)} use {', '.join(names)}".strip()
        )
    return str(name)


def coverage(
    tables: Tables, source: str | None, symbols: list[str] | None, dataset: str | None, start: int, end: int
) -> pl.DataFrame:
    """See `Lake.stream_coverage`."""
    intervals = read_intervals(tables, start, end, source=source, dataset=dataset, symbols=symbols)
    covered = covered_stretches(intervals).with_columns(
        pl.col("start_time").clip(lower_bound=start), pl.col("end_time").clip(upper_bound=end)
    )
    return _as_moments(covered.filter(pl.col("start_time") < pl.col("end_time")))


def gaps(
    tables: Tables, source: str | None, symbols: list[str] | None, dataset: str | None, start: int, end: int
) -> pl.DataFrame:
    """See `Lake.stream_gaps`."""
    intervals, windows = _evidence(tables, source, symbols, dataset, start, end)
    return _as_moments(find_holes(intervals, windows))


def statistics(
    tables: Tables, source: str | None, symbols: list[str] | None, dataset: str | None, start: int, end: int
) -> pl.DataFrame:
    """See `Lake.stream_statistics`."""
    intervals, windows = _evidence(tables, source, symbols, dataset, start, end)
    length = pl.col("end_time") - pl.col("start_time")
    holes = (
        find_holes(intervals, windows)
        .group_by(STREAM)
        .agg(pl.len().cast(pl.Int64).alias("holes"), (length.sum() / _SECOND).alias("hole_seconds"))
    )
    found = (
        windows.with_columns((length / _SECOND).alias("seconds"))
        .join(count_gaps(intervals), on=STREAM, how="left")
        .join(holes, on=STREAM, how="left")
        .with_columns(pl.col("messages", "rows", "gaps", "missing", "holes", "hole_seconds").fill_null(0))
    )
    return found.select(
        *STREAM,
        "messages",
        "rows",
        "gaps",
        "holes",
        "missing",
        (pl.col("seconds") - pl.col("hole_seconds")).alias("covered_seconds"),
        "hole_seconds",
        GAPS_PER_MILLION,
    ).sort(STREAM)


def _evidence(
    tables: Tables, source: str | None, symbols: list[str] | None, dataset: str | None, start: int, end: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Intervals that touch a window, and of each stream the part of it that is expected to be covered."""
    first = find_first_evidence(tables)
    wanted = [
        pl.col(name).is_in(values)
        for name, values in (
            ("source", None if source is None else [source]),
            ("symbol", symbols),
            ("dataset", None if dataset is None else [dataset]),
        )
        if values is not None
    ]
    through = read_watermarks(tables, source).group_by(_FEED).agg(pl.col("through_time").max())
    begin = pl.col("start_time") if start == FIRST else pl.lit(start, pl.Int64)
    finish = pl.col("through_time") if end == LAST else pl.lit(end, pl.Int64)
    windows = (
        first.filter(*wanted)
        .join(through, on=_FEED, how="left")
        .select(*STREAM, begin.alias("start_time"), finish.alias("end_time"))
        .filter(pl.col("start_time") < pl.col("end_time"))
        .sort(STREAM)
    )
    intervals = read_intervals(tables, start, end, source=source, dataset=dataset, symbols=symbols)
    return intervals, windows


def _as_moments(stretches: pl.DataFrame) -> pl.DataFrame:
    more = [name for name in ("reason", "missing") if name in stretches.columns]
    edges = [pl.col(f"{edge}_time").cast(NANOSECOND_INSTANT).alias(edge) for edge in ("start", "end")]
    return stretches.select(*STREAM, *edges, *more)


def valid_mask(
    tables: Tables,
    clock: Clock,
    symbol: str,
    timestamps: pl.Series | Sequence[Moment | int],
    window: timedelta | str | int,
    datasets: str | Sequence[str],
    source: str | None,
) -> pl.Series:
    """See `Lake.valid_mask`."""
    length = window_length(window)
    ends = moments_of(timestamps, clock)
    names = [datasets] if isinstance(datasets, str) else list(datasets)
    if not names:
        raise ConfigError("no dataset was named", fix="pass datasets=, such as ('trades',)")
    valid: pl.Series | None = None
    low, high = ends.min(), ends.max()
    for name in names:
        request = StreamRequest(named_dataset(name), source, [symbol], FIRST, LAST)
        ((own, code),) = find_series(tables, request).rows()
        since, until = (low - length, high) if isinstance(low, int) and isinstance(high, int) else (0, 0)
        intervals = read_intervals(tables, since, until, source=own, dataset=name, symbols=[code])
        covered = windows_covered(covered_stretches(intervals), ends, length)
        valid = covered if valid is None else valid & covered
    assert valid is not None, "at least one dataset"
    return valid


def window_length(window: timedelta | str | int) -> int:
    """The length of a window in ns.

    Raises:
        ConfigError: it is none.
    """
    try:
        value = parse_duration(window) if isinstance(window, str) else window
    except ValueError as error:
        raise ConfigError(str(error), fix="pass a window such as 5m, a timedelta, or ns") from None
    length = value // timedelta(microseconds=1) * 1000 if isinstance(value, timedelta) else value
    if not isinstance(length, int) or isinstance(length, bool) or not 0 < length < LAST // 2:
        raise ConfigError(f"{window!r:.40} is no length of a window", fix="pass one such as 5m, a timedelta, or ns")
    return length


def moments_of(timestamps: pl.Series | Sequence[Moment | int], clock: Clock = wall_clock) -> pl.Series:
    """Moments as Int64, ns since 1970 UTC.

    Raises:
        ConfigError: a series of another type.
    """
    if not isinstance(timestamps, pl.Series):
        return pl.Series("timestamp", [nanoseconds(value, clock) for value in timestamps], dtype=pl.Int64)
    kind = timestamps.dtype
    if isinstance(kind, pl.Datetime):
        # A zone only shows: the count is of UTC in each of them.
        return timestamps.cast(pl.Datetime("ns", kind.time_zone)).cast(pl.Int64)
    if kind == pl.Int64:
        return timestamps
    raise ConfigError(f"moments of type {kind} cannot be used", fix="pass Datetime, or Int64 as ns since 1970 UTC")
