"""`gb show` prints the bars of one series.

This module chooses a range, prints it and decides where a picture goes, which `plot` and `html_chart` draw.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.names import select_one
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
from gb_pipeline.cli.output import ExitCode, format_value, note, print_json, print_table
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.lake import Lake

_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
# What is drawn without a range or a limit: so many of the newest bars; and how many of them a table has.
_NEWEST = 240
_TABLE_ROWS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)


def show(
    series: Annotated[
        str, typer.Argument(metavar="SERIES", help="SOURCE:SYMBOL, such as coinbase:BTC-USD.", show_default=False)
    ],
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the finest one stored by default.")
    ] = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"Only so many of the newest bars, in the table and in pictures; a table has {_TABLE_ROWS} by default.",
            min=1,
            show_default=False,
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the bars into this PNG.", show_default=False)] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an interactive chart into this HTML file.", show_default=False),
    ] = None,
    adjustment: Annotated[
        str | None,
        typer.Option(help="none: as traded; splits; splits+dividends; as stored by default.", show_default=False),
    ] = None,
    as_of: AsOf = None,
    candles: Annotated[bool, typer.Option("--candles", help="Draw candles instead of a line into the PNG.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Print the bars of a series, or draw them.

    Without --start, the newest bars are shown. Charts have no room for nights, weekends and holidays. An HTML chart is one file
    that needs no network: open it in a browser, zoom and move it, and read every bar digit by digit.
    """
    if candles and plot is None:
        raise ConfigError("--candles draws nothing without --plot", fix="add --plot bars.png")
    as_of_moment = parse_moment(as_of)
    opened_lake = open_lake(config, lake)
    source, symbol = select_one(opened_lake, series, project_of(opened_lake, config))
    bar_resolution, first, last = _find_series(opened_lake, source, symbol, resolution, as_of_moment)
    since, until = _choose_window(
        opened_lake, (source, symbol, bar_resolution), (first, last), start, end, limit or _NEWEST, as_of_moment
    )
    read_bars = partial(
        opened_lake.bars,
        [symbol],
        bar_resolution,
        since,
        until,
        source=source,
        columns=list(_COLUMNS),
        as_of=as_of_moment,
        adjustment=adjustment,
    )
    found = read_bars()
    most = limit if limit is not None else found.height if start else _NEWEST
    frame = found.tail(most)
    name = f"{source}:{symbol} {bar_resolution}"
    if as_json:
        print_json(frame.select(_COLUMNS).to_dicts())
    else:
        _print_bars(frame, name, limit or _TABLE_ROWS, as_of_moment)
    title = f"{name}  {_describe_span(frame)}{_describe_as_of(as_of_moment)}"
    if plot is not None:
        from gb_pipeline.cli.plot import plot_bars

        plot_bars(read_bars(as_float=True).tail(most), title, plot, candles=candles)
        note(f"drew {format_count(frame.height, 'bar')} into {plot}")
    if html is not None:
        from gb_pipeline.cli.html_chart import write_html_chart

        write_html_chart(frame, title, html)
        note(f"drew {format_count(frame.height, 'bar')} into {html}: open it in a browser")
    return ExitCode.OK


def _print_bars(frame: pl.DataFrame, name: str, rows: int, as_of: datetime | None) -> None:
    shown = frame.select(_COLUMNS).tail(rows)
    if (shown["timestamp"] == shown["timestamp"].dt.truncate("1d")).all():
        shown = shown.with_columns(shown["timestamp"].dt.date())
    print_table(_COLUMNS, shown.rows(), title=f"{name} (UTC)")
    limit_note = f", the last {rows} of them shown (--limit, --json)" if frame.height > rows else ""
    note(format_count(frame.height, "bar") + _describe_as_of(as_of) + limit_note)


def _describe_as_of(moment: datetime | None) -> str:
    return "" if moment is None else f", as known at {format_value(moment)} UTC"


def _describe_span(frame: pl.DataFrame) -> str:
    stamps = frame["timestamp"]
    length = 10 if (stamps == stamps.dt.truncate("1d")).all() else 16
    return f"{str(stamps[0])[:length]} .. {str(stamps[-1])[:length]} UTC"


def _find_series(
    lake: Lake, source: str, symbol: str, requested: str | None, as_of: datetime | None
) -> tuple[Resolution, datetime, datetime]:
    """The resolution to show and the first and last bar that are stored, or were at a moment."""
    from gb_pipeline.market.resolution import Resolution

    series = lake.symbols(source, as_of=as_of)
    series = series.filter((series["record_count"] > 0) & (series["symbol"] == symbol))
    if series.is_empty():
        if as_of is not None:
            raise UnknownSeries(
                f"nothing of {source}:{symbol} was known at {format_value(as_of)} UTC",
                fix="`gb status --as-of` lists what was; leave --as-of out for what is known now",
            )
        raise UnknownSeries(
            f"no bar of {source}:{symbol} is stored",
            fix=f"`gb gaps {source}:{symbol} --all` says what is missing and why",
        )
    by_resolution = {Resolution(row["resolution"]): row for row in series.to_dicts()}
    bar_resolution = (
        min(by_resolution, key=list(Resolution).index) if requested is None else Resolution.parse(requested)
    )
    if bar_resolution not in by_resolution:
        raise UnknownSeries(
            f"{source}:{symbol} is not stored as {bar_resolution}",
            fix=f"there is {', '.join(sorted(map(str, by_resolution)))}",
        )
    return bar_resolution, by_resolution[bar_resolution]["start"], by_resolution[bar_resolution]["end"]


def _choose_window(
    lake: Lake,
    series: tuple[str, str, Resolution],
    stored: tuple[datetime, datetime],
    start: str | None,
    end: str | None,
    most: int,
    as_of: datetime | None,
) -> tuple[datetime | None, datetime | None]:
    """The range to read: what was asked for, or what holds as many of the newest bars."""
    source, symbol, resolution = series
    if start:
        return parse_moment(start), parse_moment(end)
    until = parse_moment(end) or stored[1] + (resolution.duration or timedelta(days=1))
    sessions = lake.coverage(source, symbol, resolution, end=until, as_of=as_of)
    sessions = sessions.filter(sessions["actual"] > 0).sort("session", descending=True)
    enough = sessions.filter(sessions["actual"].cum_sum() >= most + sessions["actual"].head(1).sum())
    return (enough["first_timestamp"][0] if enough.height else stored[0]), until
