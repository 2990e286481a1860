"""`gb instruments` shows and tells who stood under which symbol when; `gb symbol` says what one meant on a day.

This module parses arguments and prints results. What is told is checked in `lake`, and answered in `reading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gb_pipeline.cli.figi import figi
from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.instrument_report import open_to_write, report_written, without_nulls
from gb_pipeline.cli.instrument_rows import set_row
from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, load_settings, open_lake, open_store
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count, list_some

_COLUMNS = ("symbol", "from", "until", "instrument", "class", "name", "exchange", "figi", "source")
_OPTIONAL = ("source", "figi", "exchange", "class")
Symbols = Annotated[
    list[str] | None,
    typer.Argument(metavar="SYMBOL", help="Symbols or ids; everything by default.", show_default=False),
]
Source = Annotated[str | None, typer.Option(help="Only what this source says.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("instruments", "Show and tell who stood under which symbol when.")
    group.command("list")(list_instruments)
    group.command("import")(import_file)
    group.command("set")(set_row)
    group.command("fetch")(fetch)
    group.command("figi")(figi)
    app.add_typer(group)
    app.command("symbol")(symbol)


def list_instruments(
    symbols: Symbols = None,
    source: Source = None,
    when: Annotated[
        str | None, typer.Option(help="Only what stood on this day, such as 2020-01-02.", show_default=False)
    ] = None,
    asset_class: Annotated[
        str | None, typer.Option("--class", help="Only this asset class, such as future.", show_default=False)
    ] = None,
    versions: Annotated[bool, typer.Option("--versions", help="Every version that was ever known.")] = False,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List instruments and their symbols.

    A row is a stretch of days under one symbol. Of a symbol everything is shown that ever stood under it, with all other symbols
    of those instruments.
    """
    opened = open_lake(config, lake)
    codes = [text.strip().upper() for text in symbols] if symbols else None
    frame = opened.instruments(codes, source=source, asset_class=asset_class, when=when, as_of=as_of, versions=versions)
    if as_json:
        print_json([without_nulls(row) for row in frame.to_dicts()])
        return ExitCode.OK
    order = ("instrument", "valid_from", "source") if codes else ("symbol", "valid_from", "source")
    shown = frame.sort(order, maintain_order=True)
    more = ("known_at", "superseded_at") if versions else ()
    if frame.height:
        rows = [[*_cells(row), *(row[name] for name in more)] for row in shown.head(limit).to_dicts()]
        print_table([*_COLUMNS, *more], rows, optional=_OPTIONAL)
    count = format_count(frame["instrument"].n_unique(), "instrument")
    note(
        f"{count}, {format_count(frame.height, 'row')}"
        + (f", {limit} shown (--limit, --json)" if frame.height > limit else "")
    )
    return ExitCode.OK


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or YAML; docs/symbology.md has the columns.")],
    source: Annotated[str, typer.Option(help="Whose word it is; `own` holds for every source.")] = "own",
    add: Annotated[
        bool, typer.Option("--add", help="The file says only some symbols of its instruments: the others stay.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Tell the lake of instruments from a file.

    A file says everything of the instruments that it names: importing a corrected one puts its rows in the place of those before,
    which stay for --as-of. Where two instruments would stand under one symbol on one day, nothing is stored.
    """
    from gb_pipeline.lake.told_instruments import read_file

    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", fix="name a CSV or YAML file") from None
    store = open_to_write(config, lake)
    report = store.write_instruments(read_file(text, file.name), source=source, telling="rows" if add else "history")
    return report_written(report, as_json=as_json)


def fetch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all symbols of the source by default.", show_default=False
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Ask a vendor about its instruments.

    Massive tells every ticker that an instrument has had; of Alpaca and exchanges behind ccxt a change shows by their own ids, from
    the first time on. Fetching again is harmless. Exits with 1 when the vendor refuses permanently or rows clash, and with 3 after
    a temporary failure or when its quota is used up.
    """
    from gb_pipeline.cli.names import select_symbols
    from gb_pipeline.errors import TransientVendorError
    from gb_pipeline.ingest.instruments import ingest_instruments

    settings = load_settings(config)
    source_settings = settings.source(source)
    codes = [item.code for item in select_symbols(source_settings, symbols)] if symbols else None
    outcome = ingest_instruments(open_store(settings), source_settings, codes)
    code = ExitCode.OK
    if outcome.report is not None:
        code = report_written(outcome.report, as_json=as_json)
    elif as_json:
        print_json({"source": source, "received": 0})
    else:
        note(f"{source} told of no instrument")
    if outcome.unlisted:
        note(f"not in its list: {list_some(outcome.unlisted)}")
    for error in {error.what: error for error in outcome.errors.values()}.values():
        print_error(error.what, error.fix)
    if any(not isinstance(error, TransientVendorError) for error in outcome.errors.values()):
        return ExitCode.FAILED
    if outcome.deferred is not None:
        print_error(outcome.deferred.what, outcome.deferred.fix)
    return code or (ExitCode.TRANSIENT if outcome.errors or outcome.deferred is not None else ExitCode.OK)


def symbol(
    code: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as FB.", show_default=False)],
    when: Annotated[
        str | None, typer.Option(help="The day, such as 2020-01-02; today by default.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Whose symbols are meant.", show_default=False)] = None,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Say who stood under a symbol on a day.

    With the bars that the lake holds of that instrument.
    """
    from dataclasses import asdict

    opened = open_lake(config, lake)
    found = opened.symbol(code.strip().upper(), when, source=source, as_of=as_of)
    told = without_nulls(asdict(found))
    if as_json:
        print_json(told)
        return ExitCode.OK
    series = [f"{item.source}:{item.symbol} {item.resolution}" for item in found.series]
    told["series"] = ", ".join(series) or "none is stored"
    print_table(("", "value"), [[name.replace("_", " "), _plain(value)] for name, value in told.items()])
    others = opened.instruments(found.instrument, as_of=as_of)
    names = (
        others.filter(others["symbol"] != found.symbol)
        .sort("valid_from")["symbol"]
        .unique(maintain_order=True)
        .to_list()
    )
    if names:
        note(f"it also stood under {', '.join(names)}: gb instruments list {found.instrument}")
    return ExitCode.OK


def _cells(row: dict[str, Any]) -> list[Any]:
    from gb_pipeline.market.symbology import EARLIEST_DAY

    first = None if row["valid_from"] == EARLIEST_DAY else row["valid_from"]
    return [
        row["symbol"], first, row["valid_until"], row["instrument"], row["asset_class"], row["name"], row["exchange"],
        row["composite_figi"], row["source"],
    ]  # fmt: skip


def _plain(value: Any) -> str:
    from decimal import Decimal

    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
