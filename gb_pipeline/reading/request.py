"""What `Lake.bars` and its siblings are asked for, and the one way from there to a plan and to rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.reading.adjusted import adjust_plan
from gb_pipeline.reading.arguments import Symbols, moment, named_source, named_symbols
from gb_pipeline.reading.dividends import reinvest_plan
from gb_pipeline.reading.execute import collect_plan
from gb_pipeline.reading.plan import Plan, Question, check_columns, make_plan, no_data_error
from gb_pipeline.reading.price_adjustment import PriceAdjustment, parse_adjustment
from gb_pipeline.reading.priority import choose_sources
from gb_pipeline.reading.settled import no_settled_error, without_provisional
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables


@dataclass(frozen=True, slots=True)
class Context:
    """What a question is answered from.

    Attributes:
        tables: of the lake.
        clock: the present.
        facts: gives what is known of the sources, the one that is asked first at the beginning; called where it matters.
    """

    tables: Tables
    clock: Clock
    facts: Callable[[], Sequence[SourceFacts]]

    def priority(self) -> list[str]:
        """Names of sources, the one that is asked first at the beginning."""
        return [source.name for source in self.facts()]


@dataclass(frozen=True, slots=True)
class Request:
    """A question, columns of its answer (None: the usual ones), what is done to prices, and whether only settled bars count."""

    question: Question
    columns: Sequence[str] | None
    adjustment: PriceAdjustment | None
    settled_only: bool = False


def make_request(
    symbols: Symbols | None,
    resolution: Resolution | str,
    window: Window,
    source: str | None,
    columns: Sequence[str] | None,
    as_of: datetime | None,
    adjustment: str | PriceAdjustment | None,
    settled_only: bool = False,
) -> Request:
    """From what a caller wrote.

    Raises:
        ReadError: ticks are asked for.
        ConfigError: a name or an adjustment that cannot be.
    """
    kind = Resolution.parse(resolution)
    if kind is Resolution.TICK:
        raise ReadError("ticks are not bars", fix="name a resolution such as 1m")
    question = Question(tuple(named_symbols(symbols) or ()), kind, window, named_source(source), as_of)
    return Request(question, columns, parse_adjustment(adjustment), settled_only)


def plan_request(context: Context, request: Request) -> tuple[Plan, list[str]]:
    """The plan, and the columns of the answer.

    Raises:
        UnknownSeries, ReadError, ConfigError: as `Lake.bars`.
    """
    question = request.question
    plan = make_plan(context.tables, question)
    names = check_columns(request.columns, plan.schema)
    mixed = request.adjustment is not None
    plan = choose_sources(context.tables, question, plan, context.priority, mixed=mixed)
    if request.settled_only:
        plan = without_provisional(context.tables, question, plan, context.facts(), context.clock())
    wanted = request.adjustment
    if wanted is None:
        return adjust_plan(context.tables, question, plan, None), names
    known = moment(wanted.as_known, context.clock)
    if known is not None:
        # What was known later than the question's own moments is not asked for.
        question = replace(question, told_at=min(filter(None, (known, question.told_at, question.as_of))))
    simple = wanted.by_splits_alone
    plan = adjust_plan(context.tables, question, plan, simple or Adjustment.RAW)
    return (plan if simple else reinvest_plan(context.tables, question, plan, wanted, context.clock())), names


def collect_request(
    context: Context, request: Request, *, as_float: bool, in_units: bool = False
) -> tuple[pl.DataFrame, Plan]:
    """The rows, at least one, and the plan that they come from.

    Args:
        in_units: standard decimals as counts of their last digit (Int64).

    Raises:
        NoDataInRange: there is none; and what `plan_request` raises.
    """
    plan, names = plan_request(context, request)
    frame = collect_plan(plan, names, as_float=as_float, in_units=in_units)
    if frame.is_empty() and request.settled_only:
        # Where there is no bar at all, this says so.
        collect_request(context, replace(request, settled_only=False), as_float=as_float)
        raise no_settled_error(request.question)
    if frame.is_empty():
        raise no_data_error(context.tables, request.question)
    return frame, plan


def refuse_options(options: Mapping[str, Any], *taken: str) -> None:
    """Refuse keywords that a method sets itself.

    Raises:
        ConfigError: one of them is given.
    """
    for name in taken:
        if name in options:
            raise ConfigError(f"{name} cannot be chosen here", fix="leave it out, or use `bars`")
