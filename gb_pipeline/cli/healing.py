"""`gb healing` lists open work: what failed, waits or has gaps, how often it was asked for, and when it is asked for again.

This module groups and prints. `ingest.open_work` says what is open, and Dagster's sensors request it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_configured
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.ingest.open_work import OpenWork
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.symbol import Symbol

_HEADINGS = ("series", "", "sessions", "why", "since", "tries", "next")
_MOST_ERRORS = 3
_STYLES = {"given up": "red", "due": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("healing")(healing)


def healing(
    names: Names = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask now for all that is listed, also what was given up.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Lines to print; --json prints all.", min=1)] = 50,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List sessions that are asked for again, or were given up.

    Sessions that failed, were refused, have gaps that nothing explains, wait for the vendor's next day (deferred) or hold prices
    of before a split, of what somebody has fetched: since when, how often they were asked for, and when next. Dagster asks while
    it runs (`gb up`), with the waits of `healing` in gb.yaml. --retry asks now; what fails again stays as it is. Bars that are
    stored and that the vendor may still correct are not open: that is up to `refetch_sessions`.
    """
    settings = load_settings(config)
    store = open_store(settings)
    found = [
        work for work in find_all_work(settings, store, select_configured(settings, names or [])) if work.items.height
    ]
    if retry:
        return _retry(settings, store, found, quiet=as_json)
    if as_json:
        print_json([record for work in found for record in _to_dicts(work)])
        return ExitCode.OK
    groups = [group for work in found for group in _group(work)]
    if groups:
        print_table(_HEADINGS, [_line(group) for group in groups[:limit]], styles=_STYLES, optional=["since"])
    _summarise(settings, found, hidden=len(groups) - limit)
    return ExitCode.OK


def find_all_work(settings: Settings, store: LakeStore, chosen: Mapping[str, Sequence[Symbol]]) -> list[OpenWork]:
    """The open work of some series of gb.yaml, one entry per source and resolution."""
    from gb_pipeline.ingest.open_work import find_open_work

    found = []
    with _asked(settings, store.clock()) as ask:
        for name, symbols in chosen.items():
            source = settings.sources[name]
            for resolution in source.resolutions if symbols else ():
                known = ask(source, resolution)
                found.append(find_open_work(store, source, resolution, symbols, settings.healing, **known))
    return found


@contextmanager
def _asked(settings: Settings, now: datetime) -> Iterator[Callable[[SourceSettings, Resolution], dict[str, Any]]]:
    """What Dagster's runs were to fetch, for a source and resolution; nothing where the project has no Dagster yet."""
    from gb_pipeline.dagster_runtime.home import has_home

    if not has_home(settings.path.parent):
        yield lambda _source, _resolution: {}
        return
    from gb_pipeline.orchestration.events.project_events import open_instance
    from gb_pipeline.orchestration.healing.asking import find_asked, find_deferrals, find_failed
    from gb_pipeline.orchestration.series_group import SeriesGroup

    with open_instance(settings) as instance:

        def ask(source: SourceSettings, resolution: Resolution) -> dict[str, Any]:
            group = SeriesGroup(source, resolution)
            return {
                "asked": find_asked(instance, group, now),
                "failed": find_failed(instance, group, now),
                "deferred": find_deferrals(instance, group),
            }

        yield ask


def _retry(settings: Settings, store: LakeStore, found: Sequence[OpenWork], *, quiet: bool) -> int:
    from gb_pipeline.cli.fetch_summary import report_problems
    from gb_pipeline.cli.fetching import Fetching

    if not found:
        note("nothing is open")
    fetching, codes, closed = Fetching(settings, store, quiet=quiet), [], []
    for work in found:
        sessions = work.items.select("symbol", "session", "why")
        outcomes = fetching.run(replace(work.backlog, sessions=sessions))
        codes.append(report_problems(outcomes))
        asked = {(code, session) for code, session in sessions.select("symbol", "session").iter_rows()}
        left = find_all_work(settings, store, {work.source.name: work.backlog.symbols})
        still = {
            row
            for item in left
            if item.resolution is work.resolution
            for row in item.items.select("symbol", "session").rows()
        }
        closed.append({"source": work.source.name, "resolution": work.resolution.value, "asked": len(asked)})
        closed[-1]["open"] = len(asked & still)
        if not quiet:
            note(
                f"{work.source.name} {work.resolution}: {format_count(len(asked), 'session')} asked for,"
                f" {len(asked & still):,} still open"
            )
    if quiet:
        print_json(closed)
    return max(codes, default=ExitCode.OK)


def _to_dicts(work: OpenWork) -> Iterator[dict[str, Any]]:
    for row in work.items.to_dicts():
        yield {"source": work.source.name, "resolution": work.resolution, **row}


def _group(work: OpenWork) -> list[dict[str, Any]]:
    """Neighbouring sessions of which the same is said, as one record each, the newest first."""
    import polars as pl

    places = work.backlog.days.select("session", pl.int_range(pl.len()).alias("place"))
    rows = work.items.join(places, on="session").sort("symbol", "place")
    rows = rows.with_columns(pl.col("next").dt.truncate("1m"), pl.col("since").dt.truncate("1m"))
    said = ["symbol", "why", "attempts", "state", "next", "message"]
    changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in said)
    follows = pl.col("place") == pl.col("place").shift() + 1
    groups = rows.with_columns((changed | ~follows.fill_null(False)).cum_sum().alias("group")).group_by("group")
    found = groups.agg(
        pl.col("session").first().alias("first"),
        pl.col("session").last().alias("last"),
        pl.col("since").min(),
        pl.len().alias("sessions"),
        *(pl.col(name).first() for name in said),
    ).sort("last", "symbol", descending=[True, False])
    return [
        {"source": work.source.name, "resolution": work.resolution, **row} for row in found.drop("group").to_dicts()
    ]


def _line(group: dict[str, Any]) -> tuple[Any, ...]:
    first, last = group["first"], group["last"]
    days = str(first) if first == last else f"{first} .. {last}"
    following = group["next"] if group["state"] == "waiting" else None
    when = f"{following:%m-%d %H:%M}" if isinstance(following, datetime) else group["state"]
    series = f"{group['source']}:{group['symbol']}"
    since = f"{group['since']:%m-%d %H:%M}"
    return series, group["resolution"], days, group["why"], since, group["attempts"], when


def _summarise(settings: Settings, found: Sequence[OpenWork], *, hidden: int) -> None:
    from gb_pipeline.ingest.open_work import State

    if hidden > 0:
        note(f"{hidden:,} lines are not shown (--limit, --json)")
    if not found:
        note("nothing is open of what was fetched; `gb status` says what was not fetched yet")
        _note_corrections(settings)
        return
    errors = Counter(text for work in found for text in work.items["message"].drop_nulls())
    for text, count in errors.most_common(_MOST_ERRORS):
        note(f"{format_count(count, 'session')}: {text}")
    counts = {state: sum(work.count(state) for work in found) for state in State}
    said = ", ".join(f"{count:,} {state.value}" for state, count in counts.items() if count)
    note(f"{format_count(sum(counts.values()), 'session')} open: {said}; moments are UTC")
    if counts[State.GIVEN_UP]:
        note("`gb healing --retry` asks once more; what has a reason belongs into incidents.yaml")
    if not settings.healing.enabled:
        note("nobody asks by itself: `healing.enabled` is false in gb.yaml")
    _note_corrections(settings)


def _note_corrections(settings: Settings) -> None:
    """Bars that are stored and provisional are no open work: who asks for them again?"""
    counts = [f"{source.name} {source.refetch_sessions}" for source in settings.sources.values() if source.symbols]
    if counts:
        note(f"stored sessions that are asked for again for corrections (`refetch_sessions`): {', '.join(counts)}")
