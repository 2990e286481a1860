"""What a question about bars is answered from, and the one way from there to a plan and to rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import GbError
from gb_pipeline.market.schema import Adjustment, Precision
from gb_pipeline.reading.adjusted import adjust_plan
from gb_pipeline.reading.answers import Answers
from gb_pipeline.reading.arguments import moment
from gb_pipeline.reading.dividends import reinvest_plan
from gb_pipeline.reading.execute import collect_plan
from gb_pipeline.reading.plan import Plan, check_columns, make_plan, no_data_error
from gb_pipeline.reading.priority import choose_sources
from gb_pipeline.reading.request import Request
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
        answers: that are kept; None where none are.
    """

    tables: Tables
    clock: Clock
    facts: Callable[[], Sequence[SourceFacts]]
    answers: Answers | None = None

    def priority(self) -> list[str]:
        """Names of sources, the one that is asked first at the beginning."""
        return [source.name for source in self.facts()]


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
) -> tuple[pl.DataFrame, Precision]:
    """The rows, at least one, and the precision of the tables that they come from.

    Args:
        in_units: standard decimals as counts of their last digit (Int64).

    Raises:
        NoDataInRange: there is none; and what `plan_request` raises.
    """

    def collect(plan: Plan, names: list[str]) -> pl.DataFrame:
        frame = collect_plan(plan, names, as_float=as_float, in_units=in_units)
        if frame.is_empty():
            raise _nothing_error(context, request, as_float=as_float)
        return frame

    if context.answers is not None:
        form = "floats" if as_float else "units" if in_units else "decimals"
        return context.answers.get(request, form, lambda: plan_request(context, request), collect)
    plan, names = plan_request(context, request)
    return collect(plan, names), plan.precision


def _nothing_error(context: Context, request: Request, *, as_float: bool) -> GbError:
    if request.settled_only:
        # Where there is no bar at all, this says so.
        collect_request(context, replace(request, settled_only=False), as_float=as_float)
        return no_settled_error(request.question)
    return no_data_error(context.tables, request.question)
