"""`gb gaps` prints which bars are missing, and why.

It reads the catalog. `quality.gaps` finds the gaps and gives each its reason.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake, parse_moment, split_series
from gb_pipeline.cli.output import ExitCode, format_count, note, print_json, print_table
from gb_pipeline.errors import ConfigError

# What each reason means, and whether it will be asked for again; see `quality.gaps.GapReason`.
_MEANINGS = {
    "no_trade": "nothing traded: this vendor publishes no bar then",
    "vendor_empty": "the vendor's well-formed answer was empty",
    "not_listed": "before the listing, or after it ended",
    "fetch_failed": "the fetch failed; fetch it again",
    "unknown": "unexplained; fetch it again",
}
_STYLES = {"unknown": "red", "fetch_failed": "red", "vendor_empty": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gaps")(gaps)


def gaps(
    series: Annotated[
        str | None, typer.Argument(metavar="SERIES", help="Only this series, as SOURCE:SYMBOL.", show_default=False)
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help=f"Only this reason: {', '.join(_MEANINGS)}.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)] = 50,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List runs of missing bars with their reasons.

    The newest come first.
    """
    import polars as pl

    if reason is not None and reason not in _MEANINGS:
        raise ConfigError(f"{reason[:40]!r} is not a reason", fix=f"use one of {', '.join(_MEANINGS)}")
    source, symbol = split_series(series) if series is not None else (None, None)
    frame = open_lake(config, lake).gaps(source, symbol, as_of=parse_moment(as_of))
    keys = ["session", "source", "symbol", "resolution", "start"]
    frame = frame.sort(keys, descending=[True, False, False, False, False])
    if reason is not None:
        frame = frame.filter(pl.col("reason") == reason)
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    print_table(
        ("source", "symbol", "resolution", "session", "start (UTC)", "end (UTC)", "missing", "reason"),
        frame.head(limit).rows(),
        styles=_STYLES,
    )
    totals = frame.group_by("reason").agg(pl.col("missing").sum(), pl.len().alias("runs")).sort("reason")
    for name, missing, runs in totals.rows():
        note(f"{format_count(missing, 'bar')} in {format_count(runs, 'run')} are {name}: {_MEANINGS.get(name, '')}")
    if frame.height > limit:
        note(f"{frame.height - limit:,} runs are not shown (--limit, --json)")
    if frame.is_empty():
        note("nothing is missing" if as_of is None else "nothing was known to be missing then")
    return ExitCode.OK
