"""`gb incidents` lists what incidents.yaml says, and how many missing bars each entry explains; `check` only reads the file.

What the file may say is in `config.incidents`, and what it explains is decided in `lake.explained`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.names import stored_names
from gb_pipeline.cli.options import Config, Json, load_settings, open_lake_if_any
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.incidents import Incident
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake

_NOTHING = "nothing"
_DAY = timedelta(days=1)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(
        "incidents", "List the entries of incidents.yaml, and what they explain.", needs_command=False
    )
    group.callback(invoke_without_command=True)(list_incidents)
    group.command("check")(check)
    app.add_typer(group)


def list_incidents(context: typer.Context, config: Config = None, as_json: Json = False) -> int:
    """List the entries of incidents.yaml, and what they explain.

    Gaps are explained when they are read: what the file says now holds for all that is stored, and nothing of it is stored.
    """
    if context.invoked_subcommand is not None:
        return ExitCode.OK
    settings = load_settings(config)
    items, lake = read_checked(settings)
    counts = {} if lake is None else _count_explained(lake)
    rows = [_to_dict(item) | {"explains": counts.get(item.entry, 0)} for item in items]
    if as_json:
        print_json(rows)
    elif settings.incidents is None:
        note(f"there is no incidents.yaml beside {settings.path}: no gap is explained by one")
    else:
        cells = [
            (
                item.entry,
                describe_time(item),
                item.scope_text,
                item.kind,
                counts.get(item.entry) or _NOTHING,
                item.reason,
            )
            for item in items
        ]
        print_table(("", "when (UTC)", "what", "kind", "explains", "reason"), cells, styles={_NOTHING: "yellow"})
        note(f"{format_count(sum(counts.values()), 'missing bar')} explained by {format_count(len(items), 'incident')}")
        idle = [str(item.entry) for item in items if not counts.get(item.entry)]
        if idle:
            entries = f"entry {idle[0]} explains" if len(idle) == 1 else f"entries {', '.join(idle)} explain"
            note(f"{entries} nothing: no bar is missing there, or an entry before explains it")
    return ExitCode.OK


def check(config: Config = None) -> int:
    """Check incidents.yaml: every entry can be read, and the sources and symbols that it names are there."""
    settings = load_settings(config)
    items, _ = read_checked(settings)
    if settings.incidents is None:
        note(f"there is no incidents.yaml beside {settings.path}")
    else:
        note(f"{settings.incidents}: {format_count(len(items), 'incident')}, all in order")
    return ExitCode.OK


def describe_time(incident: Incident) -> str:
    """`2024-01-02`, `2024-01-02 .. 2024-01-05` for sessions, the last one included, or two instants."""
    start, end = incident.start, incident.end
    if isinstance(end, datetime):
        last = (
            f"{end:%Y-%m-%d %H:%M}" if not isinstance(start, datetime) or start.date() != end.date() else f"{end:%H:%M}"
        )
    else:
        last = str(end - _DAY)
    first = f"{start:%Y-%m-%d %H:%M}" if isinstance(start, datetime) else str(start)
    return first if first == last else f"{first} .. {last}"


def read_checked(settings: Settings) -> tuple[tuple[Incident, ...], Lake | None]:
    """What the file says, and the lake where there is one.

    Raises:
        ConfigError: an entry cannot be used, or names what neither gb.yaml nor the lake has.
    """
    from gb_pipeline.config.incidents import read_incidents, refuse_unknown_names

    lake = open_lake_if_any(settings.path, None)
    if settings.incidents is None:
        return (), lake
    items = read_incidents(settings.incidents)
    refuse_unknown_names(settings.incidents, items, _known_names(settings, lake))
    return items, lake


def _known_names(settings: Settings, lake: Lake | None) -> dict[str, list[str]]:
    """The symbols of every source that gb.yaml or the lake has."""
    known = {name: [symbol.code for symbol in source.instruments] for name, source in settings.sources.items()}
    for name, symbols in ({} if lake is None else stored_names(lake)).items():
        known[name] = [*known.get(name, []), *symbols]
    return known


def _count_explained(lake: Lake) -> dict[int, int]:
    """How many missing bars each entry explains."""
    import polars as pl

    explained = lake.gaps().filter(pl.col("incident").is_not_null())
    return dict(explained.group_by("incident").agg(pl.col("missing").sum()).rows())


def _to_dict(incident: Incident) -> dict[str, Any]:
    return {
        "incident": incident.entry, "line": incident.line, "from": incident.start, "to": incident.end,
        "sources": incident.sources, "symbols": incident.symbols, "resolutions": incident.resolutions,
        "calendars": incident.calendars, "exchanges": incident.exchanges, "kind": incident.kind,
        "reason": incident.reason, "evidence": incident.evidence,
    }  # fmt: skip
