"""`gb plan`: what a fetch would take, before anything is fetched.

Belongs here: arguments to jobs, and a plan as lines for a person. Does not belong here: making the plan (`ingest.planner`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.fetch import fetched_resolution, jobs_of
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, count, print_json, print_table

if TYPE_CHECKING:
    from gb_pipeline.ingest.planner import FetchPlan

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source of gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL]...", help="Canonical codes; all of the source by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Such as 1m; the source's first one by default.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First session, as 2024-01-02; yesterday (UTC) by default.")] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); the day after --start by default.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Say what `gb fetch` with the same arguments would take: calls, rows, time, and days where a vendor counts calls.

    Nothing is asked and nothing is written. A call takes as long as those in the lake's ledger did; repeats after failures
    are not foreseen.
    """
    from gb_pipeline.ingest import planner

    settings = load_settings(config)
    chosen = settings.source(source)
    length = fetched_resolution(chosen, resolution)
    jobs = jobs_of(chosen, symbols or [], start, end)
    made = planner.plan(open_store(settings), chosen, length, jobs)
    if as_json:
        body = asdict(made) | {"rate": made.rate.model_dump() if made.rate else None}
        if made.budget is not None:
            body["budget"] |= {"used": made.budget.used}
        print_json(body)
        return ExitCode.OK
    print_table(("what", "how much", "because"), _lines(made))
    return ExitCode.OK


def _lines(made: FetchPlan) -> list[tuple[str, str, str]]:
    speed = "no pace is kept" if made.rate is None else f"{made.rate.calls:,} in {made.rate.seconds:g} s at most"
    told = f"the median of {made.measured:,} measured" if made.measured else "assumed"
    lines = [
        ("calls", f"{made.calls:,}", f"{count(made.symbols, 'symbol')} of {made.resolution}, without repeats"),
        ("rows", f"{made.rows:,}", "bars that the calendar expects"),
        ("time", _about(made.seconds), f"{made.latency:.2f} s a call ({told}), {made.at_once} at once, {speed}"),
    ]
    if made.budget is not None:
        budget = made.budget
        today = (
            f"{budget.used:,} used and {budget.left:,} left" if budget.known else f"{budget.calls:,} assumed to be left"
        )
        lines.append(("quota", f"{budget.calls:,} a day", f"today in {budget.zone}: {today}"))
        lines.append(("ends on", str(budget.ends), "the rest of each day is deferred to the next"))
    return lines


def _about(seconds: float) -> str:
    """`about 3 hours`: more would be more than is known."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"about {count(round(seconds / size), unit)}"
    return "under a second"
