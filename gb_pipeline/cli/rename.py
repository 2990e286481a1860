"""`gb rename` lets a series stand under another symbol. How that is done is in `lake.renaming`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.names import stored_names, stream_names
from gb_pipeline.cli.options import Config, LakeFolder, open_lake, project_of, refresh_catalog
from gb_pipeline.cli.output import ExitCode, note
from gb_pipeline.cli.removing import Series, exactly_one, is_listed
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rename")(rename)


def rename(
    series: Series,
    new: Annotated[str, typer.Argument(metavar="SYMBOL", help="The new symbol, such as META.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it in a year.", show_default=False)] = ...,  # type: ignore[assignment]
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Let a series stand under another symbol.

    Bars, sessions, corrections and corporate actions of all resolutions are known under the new symbol from now on, and under the
    old one --as-of a moment before. Trades, quotes and books move with the evidence of how they were heard, and are not known
    under the old one any more. `gb removals` lists it.
    """
    opened_lake = open_lake(config, lake)
    settings = project_of(opened_lake, config)
    source, old = exactly_one(opened_lake, series, settings)
    before, colon, code = new.partition(":")
    if colon and before != source:
        raise ConfigError(f"{new[:80]!r} is of another source", fix=f"name the new symbol alone: it stays in {source}")
    code = (code if colon else new).strip().upper()
    is_stream = old in stream_names(opened_lake).get(source, ())
    if not is_stream or old in stored_names(opened_lake).get(source, ()):
        moved = opened_lake.store.rename(source, old, code, reason=reason)
        refresh_catalog(opened_lake, config)
        _say_moved(int(moved["bars"].sum()), "bar", f"{source}:{old}", f"{source}:{code}")
        note(f"--as-of a moment before reads them under {old}")
    if is_stream:
        rows = opened_lake.store.rename_streams(source, old, code, reason=reason)["rows"]
        _say_moved(int(rows.sum()), "row", f"{source}:{old}", f"{source}:{code}")
        if settings is not None and (stream := settings.collect.streams.get(source)) and old in stream.symbols:
            note(f"gb.yaml names {old} under `collect`: write {code} there, and start the collector again")
    if settings is not None and is_listed(settings, source, old):
        listed_in = settings.place_of(source).name
        note(f"{listed_in} still lists {old}, and new sessions are fetched under it; to have them under {code}:")
        note(f"  gb symbols remove {source} {old}")
        note(f"  gb symbols add {source} {code}")
    _say_incidents(settings, source, old, code)
    return ExitCode.OK


def _say_moved(count: int, what: str, before: str, after: str) -> None:
    note(f"{format_count(count, what)} of {before} {'stands' if count == 1 else 'stand'} under {after} now")


def _say_incidents(settings: Settings | None, source: str, old: str, code: str) -> None:
    """Say which incidents name the old symbol, and explain nothing of the series any more."""
    from gb_pipeline.config.incidents import read_incidents

    if settings is None or settings.incidents is None:
        return
    for item in read_incidents(settings.incidents):
        if old in item.symbols and code not in item.symbols and source in (item.sources or (source,)):
            note(f"entry {item.entry} of {settings.incidents.name} names {old}: add {code}, or its gaps are open again")
