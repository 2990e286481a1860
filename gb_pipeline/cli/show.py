"""`gb show`: the bars of one series.

Belongs here: choosing a range, printing, and where a picture goes. Does not belong here: drawing (`plot`), reading.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import AsOf, Config, End, Json, LakeFolder, Start, open_lake, parse_moment, split_series
from gb_pipeline.cli.output import ExitCode, count, note, print_json, print_table, text
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
    series: Annotated[str, typer.Argument(help="SOURCE:SYMBOL, such as coinbase:BTC-USD.", show_default=False)],
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Such as 1m; the finest that is stored by default.")
    ] = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 20,
    plot: Annotated[Path | None, typer.Option(help="Draw the bars into this PNG as well.", show_default=False)] = None,
    adjustment: Annotated[
        str | None,
        typer.Option(
            help="raw: as traded; split: adjusted for splits; as they are stored by default.", show_default=False
        ),
    ] = None,
    as_of: AsOf = None,
    candles: Annotated[bool, typer.Option("--candles", help="Draw candles instead of a line.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Print the bars of a series, and draw them with --plot.

    Without --start the newest bars are shown.
    """
    if candles and plot is None:
        raise ConfigError("--candles draws nothing without --plot", fix="add --plot bars.png")
    source, symbol = split_series(series)
    known = parse_moment(as_of)
    opened = open_lake(config, lake)
    length, first, last = _stored(opened, source, symbol, resolution, known)
    since, until = _range(length, first, last, start, end)
    read = partial(
        opened.bars,
        [symbol],
        length,
        since,
        until,
        source=source,
        columns=list(_COLUMNS),
        as_of=known,
        adjustment=adjustment,
    )
    frame = read()
    if as_json:
        print_json(frame.select(_COLUMNS).to_dicts())
    else:
        print_table(
            _COLUMNS,
            frame.select(_COLUMNS).tail(limit).rows(),
            title=f"{source}:{symbol} {length} (UTC)",
        )
        hidden = frame.height - limit
        shown = f", the last {limit} of them shown (--limit, --json)" if hidden > 0 else ""
        note(count(frame.height, "bar") + _known_at(known) + shown)
    if plot is not None:
        from gb_pipeline.cli.plot import plot_bars

        floats = read(as_float=True)
        span = f"{frame['timestamp'].min()!s:.16} .. {frame['timestamp'].max()!s:.16} UTC"
        title = f"{source}:{symbol}  {length}  {span}{_known_at(known)}"
        plot_bars(floats, title, plot, candles=candles)
        note(f"drew {plot}")
    return ExitCode.OK


def _known_at(moment: datetime | None) -> str:
    return "" if moment is None else f", as known at {text(moment)} UTC"


def _stored(
    lake: Lake, source: str, symbol: str, asked: str | None, as_of: datetime | None
) -> tuple[Resolution, datetime, datetime]:
    """The resolution to show and the first and last bar that are stored, or were at a moment."""
    from gb_pipeline.market.resolution import Resolution

    known = lake.symbols(as_of=as_of)
    known = known.filter(known["record_count"] > 0)
    rows = known.filter((known["source"] == source) & (known["symbol"] == symbol))
    if rows.is_empty():
        from difflib import get_close_matches

        if as_of is not None:
            raise UnknownSeries(
                f"nothing of {source}:{symbol} was known at {text(as_of)} UTC",
                fix="`gb status --as-of` lists what was; leave --as-of out for what is known now",
            )
        names = [f"{row['source']}:{row['symbol']}" for row in known.unique(["source", "symbol"]).to_dicts()]
        near = get_close_matches(f"{source}:{symbol}", names, n=3, cutoff=0.4)
        raise UnknownSeries(
            f"nothing is stored as {source}:{symbol}",
            near=near,
            fix=f"did you mean {', '.join(near)}?" if near else "`gb status` lists what there is",
        )
    found = {Resolution(row["resolution"]): row for row in rows.to_dicts()}
    length = min(found, key=list(Resolution).index) if asked is None else Resolution.parse(asked)
    if length not in found:
        raise UnknownSeries(
            f"{source}:{symbol} is not stored as {length}", fix=f"there is {', '.join(sorted(map(str, found)))}"
        )
    return length, found[length]["start"], found[length]["end"]


def _range(
    length: Resolution, first: datetime, last: datetime, start: str | None, end: str | None
) -> tuple[datetime, datetime]:
    from gb_pipeline.market.window import instant

    until = instant(end) if end else last + (length.duration or timedelta(days=1))
    if start:
        return instant(start), until
    return max(first, until - _NEWEST * (length.duration or timedelta(days=31))), until
