"""The routes about backtests: strategies, versions, runs by conditions, the tables of one run, and two runs side by side.

`research.results` answers them; `run_uploads` saves runs.
"""

from __future__ import annotations

import base64
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
from gb_pipeline.research.results.canonical import to_json
from gb_pipeline.research.results.prepared import pinned_to_plain

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


class RunName(Question):
    """One run."""

    run: RunText


class RunArtifact(Question):
    """An artifact of a run."""

    run: RunText
    name: Name


class RunLineage(Question):
    """A table of what is behind a run."""

    run: RunText
    part: Literal["pins", "files", "fetches", "responses"] = "pins"


class Compared(Question):
    """A table of two runs side by side."""

    left: RunText
    right: RunText
    part: Literal["parameters", "metrics", "equity", "data", "environment"] = "metrics"


def describe_run(results: Results, name: str) -> pl.DataFrame:
    """One row: `document`, canonical JSON that `from_json` reads, with types; and `parts`, the frames that the run has."""
    run = results.load_backtest_data(name)
    frames = {"equity": run.equity, "fills": run.fills, "positions": run.positions}
    document = {
        "parameters": run.parameters, "metrics": run.metrics, "data": [pinned_to_plain(pin) for pin in run.data],
        "markets": run.markets, "seeds": run.seeds, "environment": run.environment, "timings": run.timings, "tags": run.tags,
        "state": run.state.value, "error": run.error, "started_at": run.started_at, "finished_at": run.finished_at,
        "metadata": results.load_metadata(run.strategy, run.version, run_id=run.run_id),
    }  # fmt: skip
    parts = [part for part, frame in frames.items() if frame is not None]
    return pl.DataFrame({"document": [to_json(document, "the run")], "parts": [parts]})


def result_routes(results: Results, settle: Callable[[], None]) -> tuple[TableRoute, ...]:
    """The routes of a lake's results.

    Args:
        results: that are asked.
        settle: called before each answer, so that it has all runs that were confirmed.
    """

    def ask(answer: Callable[[Mapping[str, Any]], pl.DataFrame]) -> Any:
        def frames(
            _: Lake, question: Mapping[str, Any], options: ServeOptions, __: QueryStop
        ) -> Iterator[pl.DataFrame]:
            settle()
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

    def artifact(question: Mapping[str, Any]) -> pl.DataFrame:
        data = results.load_artifact(question["run"], question["name"])
        return pl.DataFrame({"base64": [base64.b64encode(data).decode()]})

    return (
        TableRoute(
            "/run-document", RunName, ask(lambda question: describe_run(results, question["run"])),
            "All of a run but its frames and artifacts, as one JSON document with types", _TAG,
        ),
        TableRoute(
            "/artifacts", RunName, ask(lambda question: results.list_artifacts(question["run"])), "The artifacts of a run", _TAG
        ),
        TableRoute("/artifact", RunArtifact, ask(artifact), "The bytes of an artifact in base64", _TAG),
        TableRoute(
            "/lineage", RunLineage,
            ask(lambda question: getattr(results.lineage(question["run"]), question["part"])),
            "What is behind a run: pins, files, fetches, responses", _TAG,
        ),
        TableRoute("/strategies", Question, ask(lambda _: results.list_strategies()), "Which strategies there are", _TAG),
        TableRoute(
            "/versions", Versions, ask(lambda question: results.manage_versions(question["strategy"])),
            "The versions of a strategy", _TAG,
        ),
        TableRoute("/runs", Runs, ask(lambda question: results.query_metadata(**question)), "Runs by conditions", _TAG),
        TableRoute("/run", RunTable, ask(part_of), "A table of one run", _TAG),
        TableRoute("/comparison", Compared, ask(side_by_side), "Two runs side by side", _TAG),
    )  # fmt: skip
