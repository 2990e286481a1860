"""`gb export` writes bars into files that other programs read.

This module chooses series and columns, and names the files. `export_files` writes them, `export_formats` those of other tools;
`reading` answers from the lake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gb_pipeline.cli.export_files import parse_format
from gb_pipeline.cli.export_formats import export_format, is_folder_format, take_format
from gb_pipeline.cli.export_frames import export_frames
from gb_pipeline.cli.export_iceberg import export_iceberg
from gb_pipeline.cli.export_series import choose_series, say_resolutions
from gb_pipeline.cli.export_streams import export_stream_format, is_stream_format, refuse_bar_options
from gb_pipeline.cli.names import select_stored, stored_names
from gb_pipeline.cli.options import (
    AsOf,
    Config,
    End,
    Json,
    LakeFolder,
    Start,
    open_lake,
    parse_moment,
    project_of,
)
from gb_pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FORMAT] NAME...",
            help="A format, where it is not that of the file's suffix; then SOURCE:SYMBOL, a source or a symbol; "
            "* and ? stand for any letters.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="TARGET",
            help="A .csv, .parquet, .arrow or .feather file for all of them, or a folder for a file each; "
            "for other tools' formats a new folder.",
            show_default=False,
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="csv, parquet, arrow, or another tool's: csvdir, lean, qlib, nautilus, freqtrade, freqtrade-json; of trades and "
            "books streams-csv, streams-parquet, streams-arrow, hftbacktest, nautilus-ticks. "
            "The same as FORMAT; what the file's suffix says by default.",
            show_default=False,
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the finest one stored by default.")
    ] = None,
    start: Start = None,
    end: End = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns, such as timestamp,close; all that `Lake.bars` gives by default.", show_default=False
        ),
    ] = None,
    as_float: Annotated[
        bool, typer.Option("--float", help="Prices and volumes as float64; exact decimals by default.")
    ] = False,
    adjustment: Annotated[
        str | None,
        typer.Option(
            help="none: as traded; splits; splits+dividends; stored. As stored by default, in other tools' formats as "
            "their users expect.",
            show_default=False,
        ),
    ] = None,
    as_of: AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Write although the format changes values, or cannot hold some bars.")
    ] = False,
    market: Annotated[
        str | None,
        typer.Option(help="LEAN's market, such as coinbase, or Nautilus' venue; the source's name by default."),
    ] = None,
    asset_class: Annotated[
        str | None,
        typer.Option(help="Kind of the instruments, for LEAN; as in gb.yaml by default.", show_default=False),
    ] = None,
    collector: Annotated[
        str | None,
        typer.Option(
            help="Of trades and books that several collectors heard, whose; `file` of imported ones.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and what the format cannot hold.")
    ] = False,
    iceberg: Annotated[
        bool,
        typer.Option(
            "--iceberg",
            help="Instead: Iceberg tables of all bars, under `iceberg/` of the lake, over the files that are there.",
        ),
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Write bars into files that other programs read.

    Numbers are exact: decimals in Parquet and Arrow, all digits in CSV. Several series go into one file, sorted by source, symbol
    and time, or into a file each where TARGET is a folder. A file appears when it is complete, and replaces none without --force.

    Other tools' formats are folders: csvdir (zipline), lean, qlib, nautilus, freqtrade, freqtrade-json. The folder has to be new or
    empty, and is there when all of it is. What a format cannot hold exactly, such as more than three decimals, is counted first,
    and refused unless --lossy says that it may change. Trades, quotes and books go out as streams-csv,
    streams-parquet and streams-arrow, exact, and as hftbacktest and nautilus-ticks.

    With --iceberg, and without NAME and TARGET, nothing is written but what engines that speak only Iceberg have to know of the
    lake's own files. Run it again after new bars, or set `iceberg: true` in gb.yaml.
    """
    if iceberg:
        chosen_options = {
            "NAME": file, "--format": file_format, "--resolution": resolution, "--start": start, "--end": end,
            "--columns": columns, "--float": as_float, "--adjustment": adjustment, "--as-of": as_of, "--force": force,
            "--lossy": lossy, "--market": market, "--asset-class": asset_class, "--dry-run": dry_run,
            "--collector": collector,
        }  # fmt: skip
        return export_iceberg(config, lake, [name for name, value in chosen_options.items() if value], as_json=as_json)
    if not names or file is None:
        raise ConfigError("name what is exported, and the file", fix="such as gb export daily:AAPL aapl.csv")
    opened_lake = open_lake(config, lake)
    file_format, names = take_format(names, file_format, list(stored_names(opened_lake)))
    if file_format is not None and is_stream_format(file_format):
        refuse_bar_options(
            resolution=resolution,
            columns=columns,
            float=as_float,
            adjustment=adjustment,
            as_of=as_of,
            asset_class=asset_class,
        )
        return export_stream_format(
            opened_lake.store, file_format, names, file, start=parse_moment(start), end=parse_moment(end),
            collector=collector, market=market, lossy=lossy, force=force, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
    if collector is not None:
        raise ConfigError("--collector is of trades, quotes and books", fix="leave it out")
    of_tool = is_folder_format(file_format)
    folder = _is_folder(file)
    _refuse_other_options(of_tool, columns=columns, as_float=as_float, market=market, asset_class=asset_class)
    settings = project_of(opened_lake, config)
    chosen = select_stored(opened_lake, names, settings)
    moment = parse_moment(as_of)
    from gb_pipeline.formats.registry import get_format

    held = get_format(file_format).open_writer().resolutions if of_tool and file_format is not None else None
    series = choose_series(opened_lake, chosen, resolution, moment, one_file=not (of_tool or folder), held=held)
    say_resolutions(opened_lake, series, resolution)
    if file_format is not None and of_tool:
        return export_format(
            opened_lake, file_format, series, file,
            {"start": start, "end": end, "as_of": moment, "adjustment": adjustment},
            settings=settings, asset_class=asset_class, as_json=as_json,
            market=market, lossy=lossy, force=force, dry_run=dry_run,
        )  # fmt: skip
    kind = parse_format(Path() if folder else file, file_format or ("parquet" if folder else None))
    columns_read = None if columns is None else [name.strip() for name in columns.split(",")]
    question: dict[str, Any] = {
        "start": start, "end": end, "as_of": moment, "as_float": as_float, "columns": columns_read,
        "adjustment": None if adjustment == "stored" else adjustment,
    }  # fmt: skip
    return export_frames(
        opened_lake, series, file, kind, question, folder=folder, force=force, dry_run=dry_run, as_json=as_json
    )


def _refuse_other_options(
    of_tool: bool, *, columns: str | None, as_float: bool, market: str | None, asset_class: str | None
) -> None:
    """Raise ConfigError for options that mean nothing for the kind of format."""
    of_files = {"--columns": columns, "--float": as_float}
    of_tools = {"--market": market, "--asset-class": asset_class}
    unusable = [name for name, value in (of_files if of_tool else of_tools).items() if value]
    if unusable:
        kind = "another tool's format, which has columns of its own" if of_tool else "csv, parquet and arrow"
        raise ConfigError(f"{', '.join(unusable)} cannot go with {kind}", fix="leave it out")


def _is_folder(path: Path) -> bool:
    """A folder that is there, or a name without a suffix: what is in it has one."""
    return path.is_dir() or not (path.suffix or path.exists())
