"""`gb show` prints the bars of one series.

This module chooses a range, prints it and decides where a picture goes, which `plot` draws.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import AsOf, Config, End, Json, LakeFolder, Start, open_lake, parse_moment, split_series
from gb_pipeline.cli.output import ExitCode, format_count, format_value, note, print_json, print_table
from gb_pipeline.errors import ConfigError, UnknownSeries

if TYPE_CHECKING:
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.lake import Lake

_COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
# What is shown without a range: so many of the newest bars.
_NEWEST = 240


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
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 20,
    plot: Annotated[Path | None, typer.Option(help="Also draw the bars into this PNG.", show_default=False)] = None,
    adjustment: Annotated[
        str | None,
        typer.Option(help="raw: as traded; split: adjusted for splits; as stored by default.", show_default=False),
    ] = None,
    as_of: AsOf = None,
    candles: Annotated[bool, typer.Option("--candles", help="Draw candles instead of a line.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Print the bars of a series, or draw them.

    Without --start, the newest bars are shown.
    """
    if candles and plot is None:
        raise ConfigError("--candles draws nothing without --plot", fix="add --plot bars.png")
    source, symbol = split_series(series)
    as_of_moment = parse_moment(as_of)
    opened_lake = open_lake(config, lake)
    bar_resolution, first, last = _find_series(opened_lake, source, symbol, resolution, as_of_moment)
    since, until = _choose_window(bar_resolution, first, last, start, end)
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
    frame = read_bars()
    if as_json:
        print_json(frame.select(_COLUMNS).to_dicts())
    else:
        print_table(
            _COLUMNS,
            frame.select(_COLUMNS).tail(limit).rows(),
            title=f"{source}:{symbol} {bar_resolution} (UTC)",
        )
        hidden = frame.height - limit
        limit_note = f", the last {limit} of them shown (--limit, --json)" if hidden > 0 else ""
        note(format_count(frame.height, "bar") + _describe_as_of(as_of_moment) + limit_note)
    if plot is not None:
        from gb_pipeline.cli.plot import plot_bars

        floats = read_bars(as_float=True)
        span = f"{frame['timestamp'].min()!s:.16} .. {frame['timestamp'].max()!s:.16} UTC"
        title = f"{source}:{symbol}  {bar_resolution}  {span}{_describe_as_of(as_of_moment)}"
        plot_bars(floats, title, plot, candles=candles)
        note(f"drew {plot}")
    return ExitCode.OK


def _describe_as_of(moment: datetime | None) -> str:
    return "" if moment is None else f", as known at {format_value(moment)} UTC"


def _find_series(
    lake: Lake, source: str, symbol: str, requested: str | None, as_of: datetime | None
) -> tuple[Resolution, datetime, datetime]:
    """The resolution to show and the first and last bar that are stored, or were at a moment."""
    from gb_pipeline.market.resolution import Resolution

    series = lake.symbols(as_of=as_of)
    series = series.filter(series["record_count"] > 0)
    same_series = series.filter((series["source"] == source) & (series["symbol"] == symbol))
    if same_series.is_empty():
        from difflib import get_close_matches

        if as_of is not None:
            raise UnknownSeries(
                f"nothing of {source}:{symbol} was known at {format_value(as_of)} UTC",
                fix="`gb status --as-of` lists what was; leave --as-of out for what is known now",
            )
        names = [f"{row['source']}:{row['symbol']}" for row in series.unique(["source", "symbol"]).to_dicts()]
        similar = get_close_matches(f"{source}:{symbol}", names, n=3, cutoff=0.4)
        raise UnknownSeries(
            f"nothing is stored as {source}:{symbol}",
            near=similar,
            fix=f"did you mean {', '.join(similar)}?" if similar else "`gb status` lists what there is",
        )
    by_resolution = {Resolution(row["resolution"]): row for row in same_series.to_dicts()}
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
    bar_resolution: Resolution, first: datetime, last: datetime, start: str | None, end: str | None
) -> tuple[datetime, datetime]:
    from gb_pipeline.market.window import instant

    until = instant(end) if end else last + (bar_resolution.duration or timedelta(days=1))
    if start:
        return instant(start), until
    return max(first, until - _NEWEST * (bar_resolution.duration or timedelta(days=31))), until
