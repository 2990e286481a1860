"""`run_pipeline`: the numbers of a pipeline, each of what was known before its session opened."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.windows import OnGap
from gb_pipeline.reading.arguments import Moment, required_moment
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.factors.engine import PipelineRun, output_schema
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.request import AUTO, Market, UniverseLike


def run_pipeline(
    pipeline: Pipeline,
    start: Moment,
    end: Moment | None = None,
    *,
    lake: Lake | None = None,
    universe: UniverseLike | None = None,
    source: str | None = None,
    resolution: Resolution | str = Resolution.DAY,
    calendar: Calendar | str | None = None,
    adjustment: str | None = AUTO,
    on_gap: str = OnGap.NULL.value,
    strict: bool = False,
    as_of: Moment | None = None,
) -> pl.DataFrame:
    """The numbers of a pipeline for the sessions of [start, end).

    A row of a session sees the bars of the sessions before it, all closed when it opens: it can be traded on in that session.
    Prices are in shares of the row's day: splits count from the morning of their ex date on, and none that comes later is known.

    Args:
        pipeline: what is computed.
        start, end: sessions, half-open. Without an end the last row is that of the session that follows the newest closed one.
        lake: by default that of the project, as `Lake.open` finds it.
        universe: whose rows: symbols; or who was in when, as a frame `symbol, joined, left` or the intervals of a source's
            point-in-time list. By default every symbol of the source that had a bar in the session before. Ranks and other
            cross-sections are among those that were in at the session; one that the lake has no bars of has a row without numbers.
        source: whose bars, as in `Lake.bars`.
        resolution: of the stored bars; shorter ones are made into days first.
        calendar: of the sessions; by default that of the source in gb.yaml.
        adjustment: `splits`, `splits+dividends` (reinvested from the ex date on, at the close before), or None for prices as they
            are stored; `auto` is `splits` on the calendars of exchanges and None on 24/7, 24/5 and FX.
        on_gap: what a window does where a bar is missing: `null` leaves the number out; `ffill` takes the last close, over at most
            20 sessions, and volume 0; `skip` lets older bars make up for it, as far back as twice the window and 20 sessions;
            `error` raises.
        strict: leave out what this lake had not known when the session opened, also of bars that were restated since, and of
            splits and dividends.
        as_of: read what was known at this moment; by default now.

    Returns:
        `session` (Date), `symbol` (String) and a column per term: Float64 of factors, Boolean of filters, the classifier's own type
        else; sorted by session and symbol. A number that cannot be computed is null, never NaN or infinite.

    Raises:
        ConfigError: an argument that cannot be used.
        UnknownSeries: a symbol without bars, or one whose splits were never fetched.
        GapInWindow: a bar is missing and `on_gap` is `error`.
        NaiveTimestamp: a time of day without a zone.

    Example:
        >>> pipeline = Pipeline({"momentum": Returns(120).rank()}, screen=AverageDollarVolume(20).top(500))
        >>> run_pipeline(pipeline, "2020-01-01", "2021-01-01", source="yahoo")
    """
    parts = list(
        iter_pipeline(
            pipeline, start, end, lake=lake, universe=universe, source=source, resolution=resolution,
            calendar=calendar, adjustment=adjustment, on_gap=on_gap, strict=strict, as_of=as_of,
        )
    )  # fmt: skip
    return pl.concat(parts) if parts else pl.DataFrame(schema=output_schema(pipeline))


def iter_pipeline(
    pipeline: Pipeline,
    start: Moment,
    end: Moment | None = None,
    *,
    chunk: int | None = None,
    lake: Lake | None = None,
    universe: UniverseLike | None = None,
    source: str | None = None,
    resolution: Resolution | str = Resolution.DAY,
    calendar: Calendar | str | None = None,
    adjustment: str | None = AUTO,
    on_gap: str = OnGap.NULL.value,
    strict: bool = False,
    as_of: Moment | None = None,
) -> Iterator[pl.DataFrame]:
    """The same in parts, so that memory holds the sessions of two years, however long the range is.

    Args:
        chunk: sessions per frame; two years at most, and by default.

    The other arguments, the columns and the errors are those of `run_pipeline`, and so are the rows, to the bit.
    """
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ConfigError(f"frames of {chunk!r:.40} sessions", fix="use a whole number of at least 1")
    run = open_run(
        pipeline, start, end, lake=lake, universe=universe, source=source, resolution=resolution,
        calendar=calendar, adjustment=adjustment, on_gap=on_gap, strict=strict, as_of=as_of,
    )  # fmt: skip
    return (frame for _, frame in run.parts(chunk))


def open_run(
    pipeline: Pipeline,
    start: Moment,
    end: Moment | None = None,
    *,
    lake: Lake | None = None,
    universe: UniverseLike | None = None,
    source: str | None = None,
    resolution: Resolution | str = Resolution.DAY,
    calendar: Calendar | str | None = None,
    adjustment: str | None = AUTO,
    on_gap: str = OnGap.NULL.value,
    strict: bool = False,
    as_of: Moment | None = None,
) -> PipelineRun:
    """The run that `run_pipeline` makes of the same arguments; no bar is read yet."""
    market = Market.open(
        lake if lake is not None else Lake.open(), universe, pipeline.benchmarks, source=source,
        resolution=resolution, calendar=calendar, adjustment=adjustment, on_gap=on_gap, strict=strict, as_of=as_of,
    )  # fmt: skip
    last = None if end is None else required_moment(end).date()
    return PipelineRun.of(pipeline, market, required_moment(start).date(), last)
