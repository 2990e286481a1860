"""`run_pipeline`: the numbers of a pipeline, each of what was known before its session opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.windows import OnGap
from gb_pipeline.reading.arguments import Moment, required_moment
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.factors.bars import read_bars
from gb_pipeline.research.factors.datasets import Dataset
from gb_pipeline.research.factors.evaluate import Evaluation
from gb_pipeline.research.factors.events import add_columns
from gb_pipeline.research.factors.nodes import Axis, Node, distinct, lookbacks
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.request import AUTO, Market, UniverseLike
from gb_pipeline.research.factors.series import FILLED_OVER, build_frame
from gb_pipeline.research.factors.terms import Factor
from gb_pipeline.research.factors.timeline import Block, Timeline, block_start, blocks

# A week behind any day there is a session.
_BEHIND = timedelta(days=15)
FACTOR_KEY = {"session": pl.Date(), "symbol": pl.String()}


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

    A row of a session sees the bars of the sessions before it, all closed when it opens: it can be traded on in that session. Prices
    are in shares of the row's day: splits count from the morning of their ex date on, and none that comes later is known.

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
        strict: leave out what this lake had not known when the session opened, also of bars that were restated since.
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

    The other arguments, the columns and the errors are those of `run_pipeline`; together the frames are what it returns, to the bit.
    """
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise ConfigError(f"frames of {chunk!r:.40} sessions", fix="use a whole number of at least 1")
    if not pipeline.columns:
        raise ConfigError("a pipeline without a column", fix="add one: Pipeline({'momentum': Returns(120)})")
    market = Market.open(
        lake if lake is not None else Lake.open(), universe, pipeline.benchmarks, source=source,
        resolution=resolution, calendar=calendar, adjustment=adjustment, on_gap=on_gap, strict=strict, as_of=as_of,
    )  # fmt: skip
    return _iterate(
        pipeline, market, required_moment(start).date(), None if end is None else required_moment(end).date(), chunk
    )


def output_schema(pipeline: Pipeline) -> pl.Schema:
    """The columns of an answer without rows."""
    return pl.Schema(FACTOR_KEY | {name: term.data_type for name, term in pipeline.columns.items()})


def _iterate(
    pipeline: Pipeline, market: Market, first: date, last: date | None, chunk: int | None
) -> Iterator[pl.DataFrame]:
    needs = _Needs.of(pipeline, market.on_gap)
    newest = market.now.date()
    timeline = Timeline.of(market.calendar, block_start(first), max(first, newest) + _BEHIND, needs.live + needs.warm)
    end = min(len(timeline.days), timeline.first_after_close(market.now))
    end = end if last is None else min(end, timeline.first_from(last))
    for block in blocks(timeline, max(1, timeline.first_from(first)), end, needs.live, needs.warm):
        frame = _compute(pipeline, market, timeline, block, needs)
        wanted = max(block.first, timeline.first_from(first))
        for position in range(wanted, block.end, chunk or block.end - wanted):
            until = min(block.end, position + (chunk or block.end - wanted))
            days = frame["session"].to_physical()
            begin, stop = (
                days.search_sorted(timeline.days[position]),
                days.search_sorted(timeline.days[until - 1], "right"),
            )
            yield frame[begin:stop]


@dataclass(frozen=True)
class _Needs:
    """What a pipeline reads.

    Attributes:
        live: sessions before a row whose cross-sections it rolls over.
        warm: sessions before those that windows reach.
        fields: of bars.
        columns: of datasets.
    """

    live: int
    warm: int
    fields: tuple[str, ...]
    columns: dict[str, tuple[Dataset, list[str]]]

    @classmethod
    def of(cls, pipeline: Pipeline, on_gap: OnGap) -> _Needs:
        nodes = distinct(pipeline.roots)
        known = lookbacks(nodes)
        warm = max((known[root.digest] for root in pipeline.roots), default=0)
        if on_gap is OnGap.SKIP:
            warm = 2 * warm + FILLED_OVER
        elif on_gap is OnGap.FFILL:
            warm += FILLED_OVER
        columns: dict[str, tuple[Dataset, list[str]]] = {}
        fields = {"close"}
        for node in nodes:
            if node.axis is Axis.SOURCE and node.source is None:
                fields.add(str(node.parameters[0]))
            elif node.axis is Axis.SOURCE:
                dataset, name = node.source
                known_dataset, names = columns.setdefault(dataset.name, (dataset, []))
                if known_dataset is not dataset:
                    raise ConfigError(f"two datasets are called {dataset.name}", fix="give each a name of its own")
                names.append(name)
        # One row more, as every series begins with one that has no numbers.
        return cls(_above_cross_sections(pipeline, nodes), warm + 1, tuple(sorted(fields)), columns)


def _above_cross_sections(pipeline: Pipeline, nodes: list[Node]) -> int:
    """How many sessions back the numbers of cross-sections are needed at most."""
    above = {root.digest: 0 for root in pipeline.roots}
    deepest = 0
    for node in reversed(nodes):
        at = above.get(node.digest, 0)
        if node.axis in {Axis.SESSION, Axis.BENCHMARK} or node.by_session:
            deepest = max(deepest, at)
        for each in node.inputs:
            above[each.digest] = max(above.get(each.digest, 0), at + node.lookback)
    return deepest


def _compute(pipeline: Pipeline, market: Market, timeline: Timeline, block: Block, needs: _Needs) -> pl.DataFrame:
    bars = read_bars(market, timeline, block, needs.fields)
    frame, several = build_frame(market, timeline, block, bars, needs.fields, needs.warm)
    for dataset, names in needs.columns.values():
        frame = add_columns(frame, market, timeline, block, dataset, names)
    nodes = distinct(pipeline.roots)
    frame = frame.rename({_column(node): node.digest for node in nodes if node.axis is Axis.SOURCE})
    frame = Evaluation(market.names, several).run(frame, pipeline.roots)
    rows = pl.col("live") & pl.col("member") & (pl.col("session") >= int(timeline.days[block.first]))
    if pipeline.screen is not None:
        rows = rows & pl.col(pipeline.screen.node.digest)
    symbols = pl.Series(market.names, dtype=pl.String)
    return (
        frame.filter(rows)
        .sort("session", "symbol")
        .select(
            pl.col("session").cast(pl.Date),
            pl.lit(symbols).gather(pl.col("symbol")).alias("symbol"),
            *(_as_result(term.node.digest, name, isinstance(term, Factor)) for name, term in pipeline.columns.items()),
        )
    )


def _column(node: Node) -> str:
    if node.source is None:
        return str(node.parameters[0])
    dataset, name = node.source
    return f"{dataset.name}.{name}"


def _as_result(digest: str, name: str, is_number: bool) -> pl.Expr:
    own = pl.col(digest)
    if not is_number:
        return own.alias(name)
    numbers = own.cast(pl.Float64)
    return pl.when(numbers.is_finite()).then(numbers).alias(name)
