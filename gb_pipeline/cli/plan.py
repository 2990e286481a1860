"""`gb plan` says what a fetch would take before anything is fetched, and how much a lake grows by what is heard.

This module prints a plan. What is missing is found in `ingest.backlog`, and what that takes is computed in `ingest.planner`; what
streams take is in `plan_streams`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from gb_pipeline.cli.backlog_arguments import (
    Again,
    BarResolution,
    EndDate,
    FirstSession,
    SourceNames,
    parse_backlog,
)
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table
from gb_pipeline.cli.plan_streams import DEFAULT_PRICE, OfStreams, Price, plan_streams, streams_of
from gb_pipeline.cli.symbols import advise_adding_symbols
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.ingest.backlog import Backlog
    from gb_pipeline.ingest.planner import FetchPlan
    from gb_pipeline.lake.store import LakeStore

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    names: SourceNames,
    resolution: BarResolution = None,
    start: FirstSession = None,
    end: EndDate = None,
    again: Again = False,
    of_streams: OfStreams = False,
    price: Price = DEFAULT_PRICE,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Estimate what `gb fetch` would take, or `gb collect` store.

    With the same arguments: the sessions that are missing, calls, bars, bytes, time, and days where the vendor has a daily quota.
    Sends no request and writes nothing. A call is assumed to take as long, and a bar as many bytes, as those that the lake has
    recorded; repeats after failures are not counted.

    Of a stream that `collect` names: rows and bytes that it adds in a month, and what they cost, by what was heard of it lately,
    else by public recordings.
    """
    settings = load_settings(config)
    store = open_store(settings)
    if streams := streams_of(settings, names, wanted=of_streams):
        return plan_streams(store, settings, streams, price, as_json=as_json)
    backlog = parse_backlog(settings, store, names, resolution, start, end, again=again)
    fetch_plan = plan_backlog(store, backlog)
    if as_json:
        print_json(_to_dict(backlog, fetch_plan))
    elif backlog.wanted.is_empty():
        note(describe_nothing_missing(backlog))
    else:
        print_table(("what", "how much", "because"), _plan_lines(backlog, fetch_plan))
    return ExitCode.OK


def plan_backlog(store: LakeStore, backlog: Backlog) -> FetchPlan:
    """What it takes to fetch what is missing.

    Raises:
        PermanentVendorError: the vendor has no such bars of one of the symbols.
        ConfigError: the source's provider cannot be built.
    """
    from gb_pipeline.ingest import planner

    return planner.plan(store, backlog.source, backlog.resolution, backlog.jobs())


def describe_plan(backlog: Backlog, fetch_plan: FetchPlan) -> list[str]:
    """A plan in three lines, as `gb fetch` prints it first."""
    first, last = _span(backlog)
    size = f", {format_size(fetch_plan.bytes)}" if fetch_plan.calls else ""
    return [
        f"{backlog.source.name} {backlog.resolution}: {format_count(backlog.wanted.height, 'session')} of"
        f" {format_count(backlog.wanted['symbol'].n_unique(), 'symbol')}, {first} to {last}",
        f"  {describe_reasons(backlog)}",
        f"  {format_count(fetch_plan.calls, 'call')}, {format_count(fetch_plan.rows, 'bar')}{size},"
        f" {_format_rough_duration(fetch_plan.seconds)}",
    ]


def describe_reasons(backlog: Backlog) -> str:
    """`1,200 never fetched, 34 with unexplained gaps`."""
    return ", ".join(f"{count:,} {why.value}" for why, count in backlog.reasons.items())


def describe_nothing_missing(backlog: Backlog) -> str:
    """Why there is nothing to do."""
    name = f"{backlog.source.name} {backlog.resolution}"
    if not backlog.symbols:
        return f"{backlog.source.name} has no symbols yet: {advise_adding_symbols(backlog.source)}"
    if not backlog.settled:
        return f"{name}: nothing to fetch: no bar has closed from {backlog.start} on"
    sessions = format_count(backlog.settled, "session")
    if backlog.removed:
        rest = (
            f"{backlog.settled - backlog.removed:,} are stored"
            if backlog.settled > backlog.removed
            else "none is stored"
        )
        return (
            f"{name}: nothing to fetch: {format_count(backlog.removed, 'session')} since {backlog.start} were removed on purpose"
            f" (`gb removals`; `--again` brings them back), and of the others {rest}"
        )
    if backlog.empty:
        return (
            f"{name}: nothing to fetch: of {sessions} since {backlog.start} {backlog.settled - backlog.empty:,} are stored, and"
            f" {backlog.empty:,} were empty when they were asked for (`--again` asks again)"
        )
    if backlog.settled == 1:
        return f"{name}: nothing to fetch: the only session since {backlog.start} is stored"
    return f"{name}: nothing to fetch: all {sessions} since {backlog.start} are stored"


def _span(backlog: Backlog) -> tuple[object, object]:
    return backlog.wanted["session"].min(), backlog.wanted["session"].max()


def _to_dict(backlog: Backlog, fetch_plan: FetchPlan) -> dict[str, object]:
    first, last = _span(backlog)
    document: dict[str, object] = {
        "sessions": backlog.wanted.height,
        "first_session": first,
        "last_session": last,
        "reasons": {why.value: count for why, count in backlog.reasons.items()},
        "stored": backlog.settled,
    }
    document |= asdict(fetch_plan) | {"rate": fetch_plan.rate.model_dump() if fetch_plan.rate else None}
    if fetch_plan.budget is not None:
        document["budget"] = asdict(fetch_plan.budget) | {"used": fetch_plan.budget.used}
    return document


def _plan_lines(backlog: Backlog, fetch_plan: FetchPlan) -> list[tuple[str, str, str]]:
    pace = (
        "no pace is kept"
        if fetch_plan.rate is None
        else f"{fetch_plan.rate.calls:,} in {fetch_plan.rate.seconds:g} s at most"
    )
    latency_source = f"the median of {fetch_plan.measured:,} measured" if fetch_plan.measured else "assumed"
    first, last = _span(backlog)
    stored = f"; {backlog.settled:,} are stored" if backlog.settled else ""
    lines = [
        ("sessions", f"{backlog.wanted.height:,}", describe_reasons(backlog) + stored),
        ("dates", f"{first} to {last}", "the first and the last of them"),
        (
            "calls",
            f"{fetch_plan.calls:,}",
            f"{format_count(fetch_plan.symbols, 'symbol')} of {fetch_plan.resolution}, without repeats",
        ),
        ("bars", f"{fetch_plan.rows:,}", "that the calendar expects"),
        (
            "download",
            f"about {format_size(fetch_plan.bytes)}",
            f"{fetch_plan.bytes / max(fetch_plan.rows, 1):.0f} bytes a bar ({'measured' if fetch_plan.measured else 'assumed'})",
        ),
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
    return lines if fetch_plan.calls else [line for line in lines if line[0] not in {"download", "calls"}]


def _format_rough_duration(seconds: float) -> str:
    """`about 3 hours`: more would be more than is known."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"about {format_count(round(seconds / size), unit)}"
    return "under a second"
