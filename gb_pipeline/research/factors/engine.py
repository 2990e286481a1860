"""`PipelineRun`, a pipeline over a lake: which sessions there are, what they need, and how a block of them is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.portal.windows import OnGap
from gb_pipeline.research.factors.bars import BarArrays, read_bars
from gb_pipeline.research.factors.datasets import Dataset
from gb_pipeline.research.factors.evaluate import Evaluation
from gb_pipeline.research.factors.events import add_columns
from gb_pipeline.research.factors.nodes import Axis, Node, distinct, lookbacks
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.request import Market
from gb_pipeline.research.factors.series import FILLED_OVER, build_frame
from gb_pipeline.research.factors.terms import Factor
from gb_pipeline.research.factors.timeline import Timeline, block_start, blocks

# A week behind any day there is a session.
_BEHIND = timedelta(days=15)
FACTOR_KEY = {"session": pl.Date(), "symbol": pl.String()}


def output_schema(pipeline: Pipeline) -> pl.Schema:
    """The columns of an answer without rows."""
    return pl.Schema(FACTOR_KEY | {name: term.data_type for name, term in pipeline.columns.items()})


@dataclass(frozen=True)
class PipelineRun:
    """A pipeline, and what it is computed over.

    Attributes:
        pipeline: what is computed.
        market: what is read.
        timeline: the sessions that are known.
        needs: what it reads.
        first, end: half-open range of the sessions of the result, as positions in the timeline.
    """

    pipeline: Pipeline
    market: Market
    timeline: Timeline
    needs: Needs
    first: int
    end: int

    @classmethod
    def of(cls, pipeline: Pipeline, market: Market, start: date, end: date | None) -> PipelineRun:
        """The sessions of [start, end) whose bars are closed; see `run_pipeline`.

        Raises:
            ConfigError: the pipeline has no column, or two datasets of one name; or the end lies before the start.
        """
        if not pipeline.columns:
            raise ConfigError("a pipeline without a column", fix="add one: Pipeline({'momentum': Returns(120)})")
        if end is not None and end < start:
            raise ConfigError(f"the sessions end before they start: {start} .. {end}", fix="swap start and end")
        needs = Needs.of(pipeline, market.on_gap)
        latest = max(start, market.now.date()) + _BEHIND
        timeline = Timeline.of(market.calendar, block_start(start), latest, needs.live + needs.warm)
        until = min(len(timeline.days), timeline.first_after_close(market.now))
        until = until if end is None else min(until, timeline.first_from(end))
        first = max(1, timeline.first_from(start))
        return cls(pipeline, market, timeline, needs, first, max(first, until))

    @cached_property
    def sessions(self) -> tuple[date, ...]:
        """The sessions of the result."""
        return tuple(self.timeline.day(position) for position in range(self.first, self.end))

    def days_behind(self, start: date) -> date:
        """The first day whose bars any row of the sessions from one on can depend on."""
        reach = self.needs.live + self.needs.warm
        return self.timeline.day(max(0, self.timeline.first_from(start) - reach))

    def newest_open(self, microseconds: int) -> date | None:
        """The newest session of the result that has opened by a moment; None before the first one."""
        position = min(int(np.searchsorted(self.timeline.opens, microseconds, side="right")), self.end) - 1
        return self.timeline.day(position) if position >= self.first else None

    def parts(self, chunk: int | None = None) -> Iterator[tuple[tuple[date, ...], pl.DataFrame]]:
        """Some sessions after the other, `chunk` at most, and their rows; columns as `run_pipeline` has them."""
        bars = None
        for block in blocks(self.timeline, self.first, self.end, self.needs.live, self.needs.warm):
            bars = read_bars(self.market, self.timeline, block, self.needs.fields, bars)
            wanted = max(block.first, self.first)
            frame = _compute(self.pipeline, self.market, self.timeline, bars, self.needs, wanted)
            days = frame["session"].to_physical()
            step = chunk or block.end - wanted
            for position in range(wanted, block.end, step):
                until = min(block.end, position + step)
                begin = days.search_sorted(self.timeline.days[position])
                stop = days.search_sorted(self.timeline.days[until - 1], "right")
                yield self.sessions[position - self.first : until - self.first], frame[begin:stop]


@dataclass(frozen=True)
class Needs:
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
    def of(cls, pipeline: Pipeline, on_gap: OnGap) -> Needs:
        """Of every term of a pipeline.

        Raises:
            ConfigError: two datasets have one name.
        """
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


def _compute(
    pipeline: Pipeline, market: Market, timeline: Timeline, bars: BarArrays, needs: Needs, wanted: int
) -> pl.DataFrame:
    block = bars.block
    frame, several = build_frame(market, timeline, bars, needs.fields, needs.warm, wanted - needs.live)
    for dataset, names in needs.columns.values():
        frame = add_columns(frame, market, timeline, block, dataset, names)
    nodes = distinct(pipeline.roots)
    frame = frame.rename({_column(node): node.digest for node in nodes if node.axis is Axis.SOURCE})
    frame = Evaluation(market.names, several).run(frame, pipeline.roots)
    wanted_rows = pl.col("live") & pl.col("member") & (pl.col("session") >= int(timeline.days[block.first]))
    if pipeline.screen is not None:
        wanted_rows = wanted_rows & pl.col(pipeline.screen.node.digest)
    rows = np.flatnonzero(frame.select(wanted_rows.fill_null(False)).to_series().to_numpy())
    # Rows stand in the order of symbols, so that they need be sorted by session alone; small numbers are sorted fastest.
    places = frame["session"].to_numpy()[rows] - int(timeline.days[block.warm])
    order = pl.Series(rows[np.argsort(places.astype(np.uint16), kind="stable")], dtype=pl.UInt32)
    symbols = pl.Series(market.names, dtype=pl.String)
    digests = {name: term.node.digest for name, term in pipeline.columns.items()}
    found = frame.select("session", "symbol", *dict.fromkeys(digests.values()))[order]
    return found.select(
        pl.col("session").cast(pl.Date),
        pl.lit(symbols).gather(pl.col("symbol")).alias("symbol"),
        *(_as_result(pl.col(digests[name]), name, isinstance(term, Factor)) for name, term in pipeline.columns.items()),
    )


def _column(node: Node) -> str:
    if node.source is None:
        return str(node.parameters[0])
    dataset, name = node.source
    return f"{dataset.name}.{name}"


def _as_result(own: pl.Expr, name: str, is_number: bool) -> pl.Expr:
    if not is_number:
        return own.alias(name)
    numbers = own.cast(pl.Float64)
    return pl.when(numbers.is_finite()).then(numbers).alias(name)
