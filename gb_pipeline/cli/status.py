"""`gb status` prints how complete and how fresh every series is. What that means is counted by `health.completeness`.

Trades, quotes and books have a table of their own, by `stream_status`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select
from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake_if_any, parse_moment, project_of
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table
from gb_pipeline.cli.stream_status import print_streams, read_streams
from gb_pipeline.health.completeness import describe_unfetched, is_incomplete, read_completeness
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake

_HEADINGS = ("series", "", "bars", "missing", "open", "first", "last", "behind", "size")
_NEVER, _NONE_STORED = "never fetched", "none stored"
_STYLES = {_NEVER: "yellow", _NONE_STORED: "red"}


class Order(StrEnum):
    """What `--sort` can sort by."""

    NAME = "name"
    BARS = "bars"
    MISSING = "missing"
    OPEN = "open"
    FIRST = "first"
    LAST = "last"
    BEHIND = "behind"
    SIZE = "size"


_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
# What needs somebody comes first: the largest number, the oldest last bar.
_SORTERS: dict[Order, Callable[[dict[str, Any]], Any]] = {
    Order.NAME: lambda _: 0,
    Order.BARS: lambda row: -row["actual"],
    Order.MISSING: lambda row: -row["missing"],
    Order.OPEN: lambda row: -row["open"],
    Order.FIRST: lambda row: row["first"] or _LONG_AGO,
    Order.LAST: lambda row: row["last"] or _LONG_AGO,
    Order.BEHIND: lambda row: (row["last_session"] is not None, -(row["behind_days"] or 0)),
    Order.SIZE: lambda row: -row["bytes"],
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    names: Names = None,
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete",
            help="Only series with open gaps, with sessions that failed, were refused or never fetched, or that are behind.",
        ),
    ] = False,
    sort: Annotated[Order, typer.Option(help="What to sort by; by default the name.")] = Order.NAME,
    plot: Annotated[
        bool, typer.Option("--plot", help="A heat map instead: a line per symbol, a column per session.")
    ] = False,
    scorecard: Annotated[
        bool, typer.Option("--scorecard", help="A line per source instead: how complete, true and fast it is.")
    ] = False,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show how complete and how fresh every series is.

    Counts the bars that are stored, those that are missing of what the calendar expects, and those of them that are open: that
    nothing explains. Says how far the last stored session is behind the last one that is over. Series of gb.yaml that were never
    fetched are listed where they are named, with --incomplete, and where nothing is stored. Of trades, quotes and books it shows
    rows, size, up to when they are settled, and how many rows are not.
    """
    moment = parse_moment(as_of)
    opened_lake = open_lake_if_any(config, lake)
    if plot or scorecard:
        return _show_sources(opened_lake, names or [], project_of(opened_lake, config), plot=plot, as_json=as_json)
    rows = read_completeness(opened_lake, project_of(opened_lake, config), moment)
    # Streams have no versions: what was known of them at another moment is not told.
    streams = read_streams(opened_lake) if moment is None and not incomplete else []
    if names:
        known: dict[str, list[str]] = {}
        for row in [*rows, *streams]:
            known.setdefault(row["source"], []).append(row["symbol"])
        chosen = {source: set(symbols) for source, symbols in select(names, known, "the lake").items()}
        rows, streams = (
            [row for row in table if row["symbol"] in chosen.get(row["source"], ())] for table in (rows, streams)
        )
    everything, unfetched = len(rows), [row for row in rows if _is_unfetched(row)]
    # What was never fetched is listed where it was asked for, or where there is nothing else.
    if incomplete:
        rows = [row for row in rows if is_incomplete(row)]
    elif not names and len(unfetched) < len(rows):
        rows = [row for row in rows if not _is_unfetched(row)]
    rows.sort(key=lambda row: (_SORTERS[sort](row), row["source"], row["symbol"], row["resolution"]))
    if as_json:
        print_json([*rows, *streams])
        return ExitCode.OK
    if streams:
        print_streams(streams)
    if rows:
        print_status(rows)
        if opened_lake is not None and moment is None:
            note_open_rows(opened_lake, rows)
        hidden = len(unfetched) - sum(map(_is_unfetched, rows))
        if hidden:
            were = (
                "was never fetched (--incomplete lists it)"
                if hidden == 1
                else "were never fetched (--incomplete lists them)"
            )
            note(f"{hidden:,} more series of gb.yaml {were}")
    elif everything:
        note(f"all {everything:,} series are complete" if everything > 1 else "it is complete")
    elif not streams:
        note(_nothing(project_of(opened_lake, config)) if moment is None else "nothing was known then")
    return ExitCode.OK


def _nothing(settings: Settings | None) -> str:
    nothing = "no bars are stored yet, and gb.yaml names no series"
    if settings is None or not settings.collect.streams:
        return nothing
    return f"{nothing}; what collectors hear is told by `gb collect --status`, and how much is covered by `gb health`"


def _show_sources(
    lake: Lake | None, names: Sequence[str], settings: Settings | None, *, plot: bool, as_json: bool
) -> int:
    """The heat map or the scorecard of what the names mean."""
    from gb_pipeline.cli.source_views import print_heat_maps, print_scorecard

    if lake is None:
        note("nothing is stored yet")
        return ExitCode.OK
    known: dict[str, list[str]] = {}
    for source, symbol in lake.symbols().select("source", "symbol").unique().sort("source", "symbol").rows():
        known.setdefault(source, []).append(symbol)
    for source, own in (settings.sources if settings is not None else {}).items():
        # What gb.yaml wants and nobody has fetched has a line as well.
        if source in known:
            known[source] = sorted({*known[source], *(symbol.code for symbol in own.instruments)})
    chosen = select(names, known, "the lake")
    if plot:
        print_heat_maps(lake, chosen, as_json=as_json)
    else:
        print_scorecard(lake, list(chosen), as_json=as_json)
    return ExitCode.OK


def note_open_rows(lake: Lake, rows: Sequence[dict[str, Any]]) -> None:
    """How many refused rows of these series nobody has decided about."""
    import polars as pl

    series = {(row["source"], row["symbol"]) for row in rows}
    refused = lake.quarantine().filter(pl.col("decision") == "open").group_by("source", "symbol").len()
    count = sum(number for source, symbol, number in refused.rows() if (source, symbol) in series)
    if count:
        note(f"{format_count(count, 'refused row')} {'is' if count == 1 else 'are'} open: `gb quarantine list`")


def print_status(rows: Sequence[dict[str, Any]]) -> None:
    """The table of `gb status`, its totals, and what to do; rows are those of `read_completeness`, at least one."""
    body = [
        (
            f"{row['source']}:{row['symbol']}",
            row["resolution"],
            row["actual"],
            row["missing"],
            row["open"],
            _day(row["first"]),
            _day(row["last"]),
            _describe_lag(row),
            format_size(row["bytes"]),
        )
        for row in rows
    ]
    totals = {name: sum(row[name] for row in rows) for name in ("actual", "missing", "open", "bytes")}
    late = sum(_describe_lag(row) not in {"", "?"} for row in rows)
    footer = (
        f"{len(rows):,} series", "", totals["actual"], totals["missing"], totals["open"], "", "", f"{late:,} behind",
        format_size(totals["bytes"]),
    )  # fmt: skip
    print_table(_HEADINGS, body, styles=_STYLES, optional=["first", "size"], footer=footer)
    if totals["open"]:
        note("`gb gaps` says what is missing and why")
    unfetched = sum(row["unfetched"] or 0 for row in rows)
    if unfetched:
        note(describe_unfetched(unfetched))


def _is_unfetched(row: dict[str, Any]) -> bool:
    return not row["sessions"] and bool(row["unfetched"])


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def _describe_lag(row: dict[str, Any]) -> str:
    """`3 d`, `never fetched`, nothing where it is up to date, `?` where nobody knows what should be there by now."""
    if row["behind_days"] is not None:
        return f"{row['behind_days']:,} d" if row["behind_days"] else ""
    if row["unfetched"] is None:
        return "?"
    return _NONE_STORED if row["sessions"] else _NEVER if row["unfetched"] else ""
