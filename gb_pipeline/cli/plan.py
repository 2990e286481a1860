"""`gb plan` says what a fetch would take before anything is fetched.

This module prints a plan, which `ingest.planner` makes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.fetch import parse_jobs, parse_resolution
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, format_count, print_json, print_table

if TYPE_CHECKING:
    from gb_pipeline.ingest.planner import FetchPlan

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all symbols of the source by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the source's first by default.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First session, such as 2024-01-02; yesterday (UTC) by default.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); the day after --start by default.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Estimate what `gb fetch` would take.

    With the same arguments: calls, rows, time, and days where the vendor has a daily quota. Sends no request and writes nothing. A
    call is assumed to take as long as those that the lake has recorded; repeats after failures are not counted.
    """
    from gb_pipeline.ingest import planner

    settings = load_settings(config)
    source_settings = settings.source(source)
    bar_resolution = parse_resolution(source_settings, resolution)
    jobs = parse_jobs(source_settings, symbols or [], start, end)
    fetch_plan = planner.plan(open_store(settings), source_settings, bar_resolution, jobs)
    if as_json:
        document = asdict(fetch_plan) | {"rate": fetch_plan.rate.model_dump() if fetch_plan.rate else None}
        if fetch_plan.budget is not None:
            document["budget"] |= {"used": fetch_plan.budget.used}
        print_json(document)
        return ExitCode.OK
    print_table(("what", "how much", "because"), _plan_lines(fetch_plan))
    return ExitCode.OK


def _plan_lines(fetch_plan: FetchPlan) -> list[tuple[str, str, str]]:
    pace = (
        "no pace is kept"
        if fetch_plan.rate is None
        else f"{fetch_plan.rate.calls:,} in {fetch_plan.rate.seconds:g} s at most"
    )
    latency_source = f"the median of {fetch_plan.measured:,} measured" if fetch_plan.measured else "assumed"
    lines = [
        (
            "calls",
            f"{fetch_plan.calls:,}",
            f"{format_count(fetch_plan.symbols, 'symbol')} of {fetch_plan.resolution}, without repeats",
        ),
        ("rows", f"{fetch_plan.rows:,}", "bars that the calendar expects"),
        (
            "time",
            _format_rough_duration(fetch_plan.seconds),
            f"{fetch_plan.latency:.2f} s a call ({latency_source}), {fetch_plan.at_once} at once, {pace}",
        ),
    ]
    if fetch_plan.budget is not None:
        budget = fetch_plan.budget
        today = (
            f"{budget.used:,} used and {budget.left:,} left" if budget.known else f"{budget.calls:,} assumed to be left"
        )
        lines.append(("quota", f"{budget.calls:,} a day", f"today in {budget.zone}: {today}"))
        lines.append(("ends on", str(budget.ends), "the rest of each day is deferred to the next"))
    return lines


def _format_rough_duration(seconds: float) -> str:
    """`about 3 hours`: more would be more than is known."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"about {format_count(round(seconds / size), unit)}"
    return "under a second"
