"""`gb fetch` fetches, validates and stores what is missing, without Dagster.

This module puts the steps in order. What is missing is what `backlog_arguments` makes of the arguments, `fetching` fetches it, and
`fetch_summary` prints what became of it.
"""

from __future__ import annotations

import typer

from gb_pipeline.cli.backlog_arguments import (
    Again,
    BarResolution,
    EndDate,
    FirstSession,
    SourceNames,
    parse_backlog,
)
from gb_pipeline.cli.fetch_summary import print_summary, report_problems, sum_by_symbol
from gb_pipeline.cli.fetching import Fetching
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import note, print_json
from gb_pipeline.cli.plan import describe_nothing_missing, describe_plan, plan_backlog
from gb_pipeline.market.spelling import format_count


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(fetch)


def fetch(
    names: SourceNames,
    resolution: BarResolution = None,
    start: FirstSession = None,
    end: EndDate = None,
    again: Again = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch what is missing into the lake, without Dagster.

    Without dates: everything from the source's start until now. Asks only for sessions that are not stored, that failed or were
    refused, that have gaps which nothing explains, or of which bars have closed since; with --again for all of them: what is
    stored is compared, only differences are written, and what was deleted comes back. Runs the same code as Dagster's assets,
    refreshes the catalog, and tells the project's Dagster. Ctrl-C stops it; the same command goes on where it stopped. Exits with
    1 when a session was rejected or the vendor refuses permanently, and with 3 after a temporary failure or when the vendor's
    daily quota is used up: the rest is deferred, and the same command continues with it another day.
    """
    from gb_pipeline.ingest.backlog import Why

    settings = load_settings(config)
    store = open_store(settings)
    backlog = parse_backlog(settings, store, names, resolution, start, end, again=again)
    source = backlog.source
    fetching = Fetching(settings, store, quiet=as_json)
    outcomes = []
    if not as_json and backlog.wanted.is_empty():
        note(describe_nothing_missing(backlog))
    elif not as_json:
        for line in describe_plan(backlog, plan_backlog(store, backlog)):
            note(line)
        if removed := backlog.reasons.get(Why.BACK):
            note(
                f"this brings back {format_count(removed, 'session')} that {'was' if removed == 1 else 'were'} removed on purpose"
            )
    if backlog.sessions.height:
        outcomes = fetching.run(backlog)
    rows = sum_by_symbol(outcomes)
    if as_json:
        print_json({"source": source.name, "resolution": backlog.resolution, "symbols": rows})
    elif outcomes:
        print_summary(rows)
    if not as_json and resolution is None and len(source.resolutions) > 1:
        others = ", ".join(source.resolutions[1:])
        note(
            f"only {backlog.resolution} was fetched: `-r` names another one, `gb update {source.name}` fetches {others} too"
        )
    return report_problems(outcomes)
