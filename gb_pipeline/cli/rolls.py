"""`gb rolls` shows, makes and stores when a chain of futures goes from one contract to the next. `market.rolls` has the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake, parse_day
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

Root = Annotated[str, typer.Argument(metavar="ROOT", help="Root of the chain, such as ES.", show_default=False)]
_COLUMNS = ("session", "from_symbol", "to_symbol")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("rolls", "Show, make and store rolls of futures.")
    group.command("show")(show)
    group.command("make")(make)
    group.command("import")(import_file)
    app.add_typer(group)


def show(root: Root, as_of: AsOf = None, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Show the rolls that are stored, now or as of a moment."""
    table = open_lake(config, lake).rolls(root.strip().upper(), as_of=as_of)
    if as_json:
        print_json(table.to_dicts())
    elif table.height:
        names = ("source", *_COLUMNS, "known_at")
        print_table(names, table.select(names).rows())
    note(format_count(table.height, "roll"))
    return ExitCode.OK


def make(
    root: Root,
    start: Annotated[str, typer.Option(help="First session, such as 2013-01-02.", show_default=False)],
    end: Annotated[str, typer.Option(help="End date (exclusive).", show_default=False)],
    calendar: Annotated[str, typer.Option(help="Of the exchange, such as CMES.", show_default=False)],
    days_before: Annotated[
        int, typer.Option(help="Sessions before the last one in which a contract is held.", min=0)
    ] = 0,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Make rolls by the calendar.

    Contracts are those that the lake knows. Nothing is stored: write it to a file, correct it where you know better, and import it.
    """
    from gb_pipeline.market.calendar import get_calendar
    from gb_pipeline.market.rolls import make_rolls

    contracts = open_lake(config, lake).contracts(root.strip().upper(), as_of=as_of)
    first, last = parse_day(start, "--start"), parse_day(end, "--end")
    if last <= first:
        raise ConfigError(f"the range {first} .. {last} is empty", fix="--end is the first day without")
    table = make_rolls(contracts, get_calendar(calendar).sessions(first, last), "calendar", days_before=days_before)
    if as_json:
        print_json(table.to_dicts())
    else:
        typer.echo(table.write_csv(), nl=False)
    return ExitCode.OK


def import_file(
    root: Root,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: session,from_symbol,to_symbol.")],
    source: Annotated[str, typer.Option(help="Whose table it is.")] = "own",
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Store a table of rolls in the place of the one before.

    The one before stays for --as-of. `Lake.continuous(ROOT, ..., roll="stored")` reads it.
    """
    import polars as pl

    try:
        table = pl.read_csv(file.read_bytes(), infer_schema=False)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", fix="name a CSV file") from None
    except pl.exceptions.PolarsError:
        raise ConfigError(f"{file.name} is no CSV", fix="begin it with session,from_symbol,to_symbol") from None
    if "session" in table.columns:
        days = table["session"].str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
        if days.null_count():
            row = days.is_null().arg_max() or 0
            raise ConfigError(f"row {row + 1}: session {table['session'][row]!r} is not a date", fix="write 2013-12-20")
        table = table.with_columns(days)
    changed = open_lake(config, lake).store.write_rolls(root.strip().upper(), table, source=source)
    note(f"{format_count(table.height, 'roll')} of {root.upper()}, {changed:,} of them new, changed or gone")
    return ExitCode.OK
