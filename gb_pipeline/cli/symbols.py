"""`gb symbols` lists, searches and refreshes the symbols of a source. Adding and removing is in `symbol_edits`.

This module parses arguments and prints tables. `universe` asks the vendors.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.cli.symbol_edits import Source, add, remove, show_in_dagster
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.providers.base import Instrument

_DEFAULT_LIMIT = 50
_STYLES = {"joined": "green", "back": "green", "relisted": "green", "left": "yellow", "delisted": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("symbols", "List, search and change the symbols of a source.")
    group.command("list")(list_symbols)
    group.command("search")(search)
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("refresh")(refresh)
    app.add_typer(group)


def list_symbols(
    source: Source,
    on: Annotated[
        str | None,
        typer.Option("--on", help="Only the members on that day, such as 2024-01-02; all symbols by default."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List the symbols of a source.

    Includes delisted symbols and those that have left the universe. Sends no request. With --on, lists the members of a
    point-in-time list or a discovery on that day: the day of joining counts, the day of leaving does not.
    """
    source_settings = load_settings(config).source(source)
    day = parse_day(on, "--on") if on is not None else None
    rows = _symbol_rows(source_settings, day)
    if as_json:
        print_json(rows)
        return ExitCode.OK
    columns = ("code", "vendor", "exchange", "asset_class", "listed_from", "listed_until", "joined", "left")
    columns_with_values = [name for name in columns if name == "code" or any(row[name] for row in rows)]
    print_table(columns_with_values, [[row[name] for name in columns_with_values] for row in rows])
    note(f"{format_count(len(rows), 'symbol')}{f' on {day}' if day else ''}")
    if not rows and day is None:
        note(advise_adding_symbols(source_settings))
    return ExitCode.OK


def search(
    source: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Part of a code or a name.", show_default=False)],
    limit: Annotated[int, typer.Option(help="Rows to print in the table; --json prints all.", min=1)] = _DEFAULT_LIMIT,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Search the instruments that a vendor lists.

    Sends requests to the vendor of the source, and records them in the table `fetches`. Exits with 1 when nothing was found.
    """
    from gb_pipeline.universe.vendor_lists import find

    settings = load_settings(config)
    source_settings = settings.source(source)
    if not text.strip():
        raise ConfigError("there is nothing to search for", fix="give a part of a code or a name")
    instruments = find(open_store(settings), source_settings, text)
    configured = {symbol.code for symbol in source_settings.instruments}
    rows = [
        _instrument_row(instrument) | {"in_source": instrument.symbol.code in configured} for instrument in instruments
    ]
    if as_json:
        print_json(rows)
    else:
        columns = ("code", "vendor", "name", "asset_class", "quote", "active", "listed_from", "listed_until")
        columns_with_values = [
            name for name in columns if name == "code" or any(row[name] not in {"", None} for row in rows)
        ]
        print_table(columns_with_values, [[row[name] for name in columns_with_values] for row in rows[:limit]])
        hidden = len(rows) - limit
        note(
            format_count(len(rows), "instrument")
            + (f", {hidden:,} of them not shown (--limit, --json)" if hidden > 0 else "")
        )
    return ExitCode.OK if rows else ExitCode.FAILED


def refresh(
    source: Source,
    force: Annotated[
        bool, typer.Option("--force", help="Accept a list that has lost more than half its symbols.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Update the symbols of a source with `discover`.

    Asks the vendor what it lists now. No symbol is ever deleted: one that no longer meets the conditions gets a date of leaving, a
    delisted one a date from which its sessions are `not_listed`. A list that has lost more than half its symbols is refused unless
    --force is given.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.catalog.tables import bar_tables
    from gb_pipeline.universe.discovery import refresh as bring_up_to_date

    settings = load_settings(config)
    store = open_store(settings)
    refreshed = bring_up_to_date(store, settings.source(source), force=force)
    if refreshed.changes and bar_tables(store.tables):
        # Listing dates are in the catalog.
        refresh_catalog(store, load_settings(config).sources)
    if as_json:
        print_json(
            {
                "source": source,
                "file": refreshed.path,
                "listed": refreshed.listed,
                "chosen": refreshed.chosen,
                "known": refreshed.known,
                "changes": [
                    {"code": change.code, "kind": change.kind, "detail": change.detail} for change in refreshed.changes
                ],
            }
        )
        return ExitCode.OK
    if refreshed.changes:
        rows = [(change.code, change.kind, change.detail) for change in refreshed.changes]
        print_table(("symbol", "change", "what"), rows, styles=_STYLES)
    kinds = Counter(change.kind for change in refreshed.changes)
    summary = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "nothing changed"
    known_symbols = format_count(refreshed.known, "symbol")
    note(
        f"{summary}; {refreshed.chosen:,} of {refreshed.listed:,} listed are chosen, {known_symbols} in {refreshed.path}"
    )
    if kinds["joined"]:
        note(show_in_dagster(settings.path.parent))
    return ExitCode.OK


def _symbol_rows(source: SourceSettings, day: date | None) -> list[dict[str, Any]]:
    members = source.instruments if day is None else source.members(day)
    rows = []
    for symbol in members:
        settings, intervals = source.symbol_settings(symbol), source.universe.intervals.get(symbol.code, ())
        # Of several intervals, the one that covers the day.
        covering = [interval for interval in intervals if day is not None and interval.covers(day)]
        interval = (covering or intervals[-1:] or (None,))[0]
        rows.append(
            {
                "code": symbol.code,
                "vendor": settings.vendor,
                "exchange": symbol.exchange,
                "asset_class": symbol.asset_class,
                "listed_from": settings.listed_from,
                "listed_until": settings.listed_until,
                "joined": interval.joined if interval else None,
                "left": interval.left if interval else None,
            }
        )
    return rows


def _instrument_row(instrument: Instrument) -> dict[str, Any]:
    symbol = instrument.symbol
    return {
        "code": symbol.code, "vendor": instrument.vendor, "name": instrument.name, "exchange": symbol.exchange,
        "asset_class": symbol.asset_class, "quote": instrument.quote, "active": instrument.active,
        "listed_from": instrument.listed_from, "listed_until": instrument.listed_until,
    }  # fmt: skip


def advise_adding_symbols(source: SourceSettings) -> str:
    """What to do about a source without symbols."""
    if source.universe.spec.discover is not None:
        return f"`gb symbols refresh {source.name}` asks the vendor for them"
    return f"`gb symbols add {source.name} SYMBOL` adds one"
