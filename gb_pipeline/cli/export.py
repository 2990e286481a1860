"""`gb export` writes bars into files that other programs read.

This module chooses series and columns, and names the files. `export_files` writes them, `reading` answers from the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.export_files import Format, new_file, parse_format, refuse_existing
from gb_pipeline.cli.export_iceberg import export_iceberg
from gb_pipeline.cli.names import select_stored
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
from gb_pipeline.cli.output import ExitCode, format_count, format_size, note, print_json
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError, NoDataInRange, UnknownSeries
from gb_pipeline.market.spelling import list_some

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.lake import Lake

# Source, symbol and resolution.
_Series = tuple[str, str, "Resolution"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="SOURCE:SYMBOL, a source or a symbol; * and ? stand for any letters.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A .csv, .parquet, .arrow or .feather file for all of them, or a folder for a file each.",
            show_default=False,
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="csv, parquet or arrow; what the file's suffix says by default.", show_default=False
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
        typer.Option(help="none: as traded; splits; splits+dividends; as stored by default.", show_default=False),
    ] = None,
    as_of: AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
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
    """Write bars into CSV, Parquet or Arrow files.

    Numbers are exact: decimals in Parquet and Arrow, all digits in CSV. Several series go into one file, sorted by source, symbol
    and time, or into a file each where FILE is a folder. A file appears when it is complete, and replaces none without --force.

    With --iceberg, and without NAME and FILE, nothing is written but what engines that speak only Iceberg have to know of the
    lake's own files. Run it again after new bars, or set `iceberg: true` in gb.yaml.
    """
    if iceberg:
        chosen_options = {
            "NAME": file, "--format": file_format, "--resolution": resolution, "--start": start, "--end": end,
            "--columns": columns, "--float": as_float, "--adjustment": adjustment, "--as-of": as_of, "--force": force,
        }  # fmt: skip
        return export_iceberg(config, lake, [name for name, value in chosen_options.items() if value], as_json=as_json)
    if not names or file is None:
        raise ConfigError("name what is exported, and the file", fix="such as gb export daily:AAPL aapl.csv")
    folder = _is_folder(file)
    kind = parse_format(Path() if folder else file, file_format or ("parquet" if folder else None))
    opened_lake = open_lake(config, lake)
    chosen = select_stored(opened_lake, names, project_of(opened_lake, config))
    moment = parse_moment(as_of)
    series = _choose_series(opened_lake, chosen, resolution, moment, one_file=not folder)
    _say_resolutions(opened_lake, series, resolution)
    question: dict[str, Any] = {
        "start": start, "end": end, "as_of": moment, "as_float": as_float, "adjustment": adjustment,
        "columns": None if columns is None else [name.strip() for name in columns.split(",")],
    }  # fmt: skip
    files = {_file_of(file, item, kind): [item] for item in series} if folder else {file: series}
    for path in files:
        refuse_existing(path, force=force)
    if folder:
        file.mkdir(parents=True, exist_ok=True)
    with progress("series", quiet=as_json) as bar:
        task = bar.add_task("exporting", total=len(series))
        written = []
        for path, items in files.items():
            frames = _read(opened_lake, items, question, on_series=lambda: bar.advance(task))
            record = _write(path, kind, frames, force=force)
            written += [record] if record is not None else []
    if not written:
        # The error of the first one says which range there is.
        opened_lake.bars([series[0][1]], series[0][2], source=series[0][0], **question)
    return _report(written, series, as_json=as_json)


def _is_folder(path: Path) -> bool:
    """A folder that is there, or a name without a suffix: what is in it has one."""
    return path.is_dir() or not (path.suffix or path.exists())


def _file_of(folder: Path, series: _Series, kind: Format) -> Path:
    source, symbol, resolution = series
    return folder / f"{source}-{symbol}-{resolution}.{kind}"


def _choose_series(
    lake: Lake, chosen: dict[str, list[str]], requested: str | None, as_of: Any, *, one_file: bool
) -> list[_Series]:
    """The series that hold bars, each in the resolution that was asked for or in its finest.

    Raises:
        UnknownSeries: none of them holds a bar.
        ConfigError: one file would hold bars of several resolutions.
    """
    from gb_pipeline.market.resolution import Resolution

    wanted = None if requested is None else Resolution.parse(requested)
    rows = lake.symbols(as_of=as_of).to_dicts()
    stored: dict[tuple[str, str], list[Resolution]] = {}
    for row in rows:
        if row["record_count"] and row["symbol"] in chosen.get(row["source"], ()):
            stored.setdefault((row["source"], row["symbol"]), []).append(Resolution(row["resolution"]))
    order = list(Resolution).index
    series = [
        (source, symbol, wanted or min(kinds, key=order))
        for (source, symbol), kinds in sorted(stored.items())
        if wanted is None or wanted in kinds
    ]
    names = list_some([f"{source}:{symbol}" for source, symbols in chosen.items() for symbol in symbols])
    if not series:
        there_is = sorted({kind for kinds in stored.values() for kind in kinds}, key=order)
        raise UnknownSeries(
            f"no bar of {names} is stored" + (f" as {wanted}" if wanted and there_is else ""),
            fix=f"there is {', '.join(there_is)}" if there_is else "`gb status` lists what there is",
        )
    resolutions = sorted({kind for _, _, kind in series}, key=order)
    if one_file and len(resolutions) > 1:
        raise ConfigError(
            f"one file would hold bars of {', '.join(resolutions)}",
            fix=f"say which, such as --resolution {resolutions[-1]}, or name a folder for a file each",
        )
    return series


def _say_resolutions(lake: Lake, series: list[_Series], requested: str | None) -> None:
    """Say which resolution is written where nobody has said which, and there are others."""
    if requested is not None:
        return
    stored = {(row["source"], row["symbol"], row["resolution"]) for row in lake.symbols().to_dicts()}
    for kind in dict.fromkeys(kind for *_, kind in series):
        own = {(source, symbol) for source, symbol, one in series if one == kind}
        others = sorted({one for source, symbol, one in stored if (source, symbol) in own and one != kind})
        if others:
            note(f"bars of {kind} are written, the finest; there is {', '.join(others)} as well (--resolution)")


def _read(
    lake: Lake, series: list[_Series], question: dict[str, Any], *, on_series: Callable[[], None]
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The bars of each series that has some in the range, all in the same types."""
    wide = _any_wide(lake, series)
    for source, symbol, resolution in series:
        with suppress(NoDataInRange):
            frame = lake.bars([symbol], resolution, source=source, **question)
            yield f"{source}:{symbol} {resolution}", _in_one_precision(frame, wide=wide)
        on_series()


def _write(
    path: Path, kind: Format, frames: Iterator[tuple[str, pl.DataFrame]], *, force: bool
) -> dict[str, Any] | None:
    """Write one file; none where there is nothing to write."""
    first = next(frames, None)
    if first is None:
        return None
    rows, holding = 0, []
    with new_file(path, kind, force=force) as writer:
        for name, frame in chain([first], frames):
            writer.write(frame)
            rows += frame.height
            holding.append(name)
    return {"file": str(path), "series": holding, "rows": rows, "bytes": path.stat().st_size}


def _any_wide(lake: Lake, series: list[_Series]) -> bool:
    """Whether any of them needs wide decimals: all rows of a file have one type."""
    sources = {(source, resolution) for source, _, resolution in series}
    return any(
        "wide" in lake.coverage(source, resolution=resolution)["precision"].to_list() for source, resolution in sources
    )


def _in_one_precision(frame: pl.DataFrame, *, wide: bool) -> pl.DataFrame:
    import polars as pl
    import polars.selectors as cs

    return frame.with_columns(cs.decimal().cast(pl.Decimal(38, 18))) if wide else frame


def _report(written: list[dict[str, Any]], series: list[_Series], *, as_json: bool) -> ExitCode:
    if as_json:
        print_json({"files": written})
        return ExitCode.OK
    count = sum(len(record["series"]) for record in written)
    rows, size = sum(record["rows"] for record in written), format_size(sum(record["bytes"] for record in written))
    where = written[0]["file"] if len(written) == 1 else f"{len(written):,} files of {Path(written[0]['file']).parent}"
    note(f"wrote {format_count(rows, 'bar')} of {count:,} series into {where} ({size})")
    if count < len(series):
        note(f"{len(series) - count:,} series have no bar in the range")
    return ExitCode.OK
