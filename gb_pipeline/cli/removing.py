"""`gb delete` takes bars out of the present, and `gb removals` lists what was. How that is done is in `lake.removing`.

Trades, quotes and books are purged by the same command; `removing_streams` has that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.confirming import confirm
from gb_pipeline.cli.names import Names, keep_named, select_one, stream_names
from gb_pipeline.cli.options import (
    Config,
    Json,
    LakeFolder,
    open_lake,
    parse_day,
    project_of,
    refresh_catalog,
    split_series,
)
from gb_pipeline.cli.output import ExitCode, format_size, format_value, note, print_json, print_table
from gb_pipeline.cli.removing_streams import STREAMS, purge_named_streams, refuse_streams_alone
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import polars as pl

    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake

_STYLES = {"deleted": "yellow", "purged": "red", "restored": "green"}
Series = Annotated[
    str, typer.Argument(metavar="SERIES", help="SOURCE:SYMBOL, such as coinbase:BTC-USD.", show_default=False)
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; scripts have to say so.")]
Reason = Annotated[str | None, typer.Option(help="Why, for whoever reads it in a year.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("delete")(delete)
    app.command("removals")(removals)


def delete(
    series: Series,
    bars: Annotated[
        str | None,
        typer.Argument(
            metavar="[RESOLUTION]",
            help="Such as 1m; all bars of the series by default. Or trades, quotes, book_updates, or streams for all three.",
            show_default=False,
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="The same as an option.", show_default=False)
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First session, such as 2024-01-02.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="First session that stays (exclusive).")] = None,
    reason: Reason = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all versions: --as-of a moment before shows nothing either.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Let removed sessions be fetched again. No bar comes back by it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Yes = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Take bars of a series out of the present.

    They are in no answer any more; --as-of a moment before still reads them, unless they are purged. Nobody asks the vendor for the
    removed sessions again but `gb fetch --again`, which brings them back. `gb removals` lists what was removed, and why.
    Trades, quotes and books are only purged: of one symbol, or of SOURCE:* as a whole.
    """
    opened_lake = open_lake(config, lake)
    settings = project_of(opened_lake, config)
    if bars is not None and resolution is not None and bars != resolution:
        raise ConfigError(f"two resolutions are named: {bars} and {resolution}", fix="name one")
    days = None if first is None else parse_day(first, "--from"), None if end is None else parse_day(end, "--to")
    if (kind := resolution or bars) in STREAMS:
        return purge_named_streams(
            opened_lake, settings, series, str(kind), days, reason, purge=purge, undo=undo, dry_run=dry_run, yes=yes
        )
    source, symbol = exactly_one(opened_lake, series, settings)
    refuse_streams_alone(opened_lake, source, symbol)
    chosen: tuple[str, str, str | None, date | None, date | None] = (source, symbol, resolution or bars, *days)
    if undo:
        count = opened_lake.store.restore(*chosen, reason=reason or "")
        refresh_catalog(opened_lake, config)
        note(f"{format_count(count, 'session')} of {source}:{symbol} may be fetched again: gb fetch {source} {symbol}")
        return ExitCode.OK
    found = opened_lake.store.delete(*chosen, reason="", purge=purge, dry_run=True)
    if not dry_run and not (reason or "").strip():
        raise ConfigError("a removal needs a reason", fix='say why: --reason "..."')
    _print_bars(found)
    if dry_run:
        note("nothing was changed")
        return ExitCode.OK
    if purge:
        _say_what_stays()
    if not found.is_empty() or purge:
        confirm(f"{source}:{symbol}", "purge" if purge else "delete", yes=yes)
    gone = opened_lake.store.delete(*chosen, reason=str(reason), purge=purge)
    if purge:
        # Other processes forget what they keep at their next read.
        opened_lake.cache.clear()
    refresh_catalog(opened_lake, config)
    counted = f"{format_count(int(gone['bars'].sum()), 'bar')} of {source}:{symbol}"
    if purge:
        note(f"no version of these bars of {source}:{symbol} is left; `gb vacuum` frees their files once they are old")
        _say_other_names(opened_lake, source, symbol)
    else:
        note(
            f"{counted} {'is' if gone['bars'].sum() == 1 else 'are'} deleted; --as-of a moment before still reads them"
        )
    if settings is not None and is_listed(settings, source, symbol):
        listed_in = settings.place_of(source).name
        note(f"{listed_in} still lists it, and new sessions are fetched: gb symbols remove {source} {symbol} ends that")
    return ExitCode.OK


def removals(names: Names = None, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """List what was deleted, renamed and purged, and why."""
    opened_lake = open_lake(config, lake)
    found = keep_named(opened_lake.removals(), opened_lake, names, project_of(opened_lake, config))
    if as_json:
        print_json(found.to_dicts())
    elif found.is_empty():
        note("nothing was removed")
    else:
        print_table(
            ("series", "what", "when", "sessions", "rows", "reason"),
            [_cells(row) for row in found.iter_rows(named=True)],
            styles=_STYLES,
        )
    return ExitCode.OK


def exactly_one(lake: Lake, series: str, settings: Settings | None) -> tuple[str, str]:
    """The series that is named in full: what is removed must not hang on what else a lake holds.

    Raises:
        ConfigError: it is a pattern, or has no source.
        UnknownSeries: the lake has nothing of that name.
    """
    split_series(series)
    if any(letter in series for letter in "*?["):
        raise ConfigError(f"{series[:80]!r} is a pattern", fix="name one series, as SOURCE:SYMBOL")
    return select_one(lake, series, settings, also=stream_names(lake))


def _print_bars(found: pl.DataFrame) -> None:
    if found.is_empty():
        note("no bar of it is stored now")
        return
    wide = "wide" in found["precision"]
    print_table(
        ("series", "bars", "sessions", "size", "first (UTC)", "last (UTC)"),
        [
            (
                f"{row['source']}:{row['symbol']} {row['resolution']}" + (f" {row['precision']}" if wide else ""),
                row["bars"],
                row["sessions"],
                format_size(row["bytes"]),
                row["first"],
                row["last"],
            )
            for row in found.iter_rows(named=True)
        ],
    )


def _say_what_stays() -> None:
    from gb_pipeline.lake.purging import LEFT

    note("a purge cannot be undone. It also removes refused rows, corrections, and kept responses of nothing else.")
    note("It leaves:")
    for item in LEFT:
        note(f"  - {item}")


def _say_other_names(lake: Lake, source: str, symbol: str) -> None:
    """Say where earlier versions of a renamed series stand: a purge means those of the symbol that it names."""
    import polars as pl

    removals = lake.removals().filter(pl.col("source") == source)
    renamed = removals.filter(pl.col("renamed_to") == symbol).group_by("symbol").agg(pl.col("known_at").max())
    purged = removals.filter(pl.col("action") == "purged").group_by("symbol").agg(purged_at=pl.col("known_at").max())
    later = pl.col("purged_at") > pl.col("known_at")
    left = renamed.join(purged, on="symbol", how="left").filter(~later.fill_null(False))
    for old in left["symbol"].sort():
        note(f"it was called {old} before; versions of that time are still there: gb delete {source}:{old} --purge")


def _cells(row: dict[str, Any]) -> Sequence[Any]:
    what = f"renamed to {row['renamed_to']}" if row["renamed_to"] else row["action"]
    series = f"{row['source']}:{row['symbol']} {row['resolution']}"
    return series, what, format_value(row["known_at"].date()), row["sessions"], row["bars"], row["reason"]


def is_listed(settings: Settings, source: str, symbol: str) -> bool:
    """Whether a project has a symbol."""
    named = settings.sources.get(source)
    return named is not None and any(item.code == symbol for item in named.instruments)
