"""The routes about backtests: strategies, versions, runs by conditions, the tables of one run, and two runs side by side.

`research.results` answers them; nothing is saved here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from gb_pipeline.api.downloads import in_slices
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.queries import Moment, Name, Question
from gb_pipeline.api.tables import TableRoute
from gb_pipeline.errors import LakeError
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.sql_stop import QueryStop
from gb_pipeline.research.results import Results

_TAG = "backtests"
Conditions = Annotated[list[Name], Field(max_length=50, examples=[["sharpe >= 1.5"]])]
RunText = Annotated[
    str, Field(max_length=700, description="`strategy/version/run_id`.", examples=["momentum/1.0/2024-01-02"])
]


class Runs(Question):
    """Which runs, as `RunQuery` has it."""

    strategy: list[Name] | None = None
    version: list[Name] | None = None
    run_id: list[Name] | None = None
    start: Moment | None = None
    end: Moment | None = None
    market: list[Name] | None = None
    tag: list[Name] | None = None
    parameters: Conditions | None = None
    metrics: Conditions | None = None
    state: Literal["succeeded", "failed"] | None = None
    retired: bool = False
    order_by: Name = "started_at"
    descending: bool = True
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0


class Versions(Question):
    """The versions of a strategy."""

    strategy: Name


class RunTable(Question):
    """A table of one run."""

    run: RunText
    part: Literal["equity", "fills", "positions"] = "equity"


class Compared(Question):
    """A table of two runs side by side."""

    left: RunText
    right: RunText
    part: Literal["parameters", "metrics", "equity", "data", "environment"] = "metrics"


def result_routes(results: Results) -> tuple[TableRoute, ...]:
    """The routes of a lake's results.

    Args:
        results: that are asked.
    """

    def ask(answer: Callable[[Mapping[str, Any]], pl.DataFrame]) -> Any:
        def frames(_: Lake, question: Mapping[str, Any], options: ServeOptions, __: QueryStop) -> Iterator[pl.DataFrame]:
            try:
                found = answer(question)
            except LakeError as error:
                if type(error) is LakeError:
                    # A name that nothing has; damage is a kind of its own.
                    raise Problem(404, error.what, error.fix or "see /v1/runs", "LakeError") from None
                raise
            yield from in_slices(found, options.piece_rows)

        return frames

    def part_of(question: Mapping[str, Any]) -> pl.DataFrame:
        part = question["part"]
        run = results.load_backtest_data(question["run"], parts=(part,))
        tables: dict[str, pl.DataFrame | None] = {
            "equity": run.equity, "fills": run.fills, "positions": run.positions,
        }  # fmt: skip
        table = tables[part]
        return pl.DataFrame() if table is None else table

    def side_by_side(question: Mapping[str, Any]) -> pl.DataFrame:
        found = results.compare(question["left"], question["right"])
        tables = {
            "parameters": found.parameters, "metrics": found.metrics, "equity": found.equity, "data": found.data,
            "environment": found.environment,
        }  # fmt: skip
        return tables[question["part"]]

    return (
        TableRoute("/strategies", Question, ask(lambda _: results.list_strategies()), "Which strategies there are", _TAG),
        TableRoute(
            "/versions", Versions, ask(lambda question: results.manage_versions(question["strategy"])),
            "The versions of a strategy", _TAG,
        ),
        TableRoute("/runs", Runs, ask(lambda question: results.query_metadata(**question)), "Runs by conditions", _TAG),
        TableRoute("/run", RunTable, ask(part_of), "A table of one run", _TAG),
        TableRoute("/comparison", Compared, ask(side_by_side), "Two runs side by side", _TAG),
    )  # fmt: skip
