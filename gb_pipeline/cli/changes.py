"""`gb changes` prints what became known of bars after a moment. `lake.changes` finds it; this module groups and prints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import Config, End, Json, LakeFolder, Start, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, format_value, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

_SERIES = ["source", "symbol", "resolution"]
_STYLES = {"restated": "yellow", "withdrawn": "yellow", "corrected": "yellow", "removed": "yellow"}
_VERSION = re.compile(r"\d{1,7}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("changes")(changes)


def changes(
    names: Names = None,
    since: Annotated[
        str,
        typer.Option(
            help="Only what became known after this moment, such as 2024-01-02T09:30Z or --since=-1d; or a version of the table, "
            "with --resolution.",
            show_default=False,
        ),
    ] = ...,  # type: ignore[assignment]
    until: Annotated[
        str | None, typer.Option(help="The last moment, in the same form; now by default.", show_default=False)
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only this resolution, such as 1m.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(help="Lines to print; --json prints every bar.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List what became known after a moment.

    Bars were added, restated, withdrawn (the vendor no longer returns them; they stay), returned, corrected (`gb override`) or
    removed (`gb delete`). One line is what one write did to a series, the newest first; --json has every bar with its old and new
    numbers, the oldest first. --start and --end choose by the bars' own time.
    """
    import polars as pl

    opened_lake = open_lake(config, lake)
    parts: list[tuple[str | None, list[str] | None]] = [(None, None)]
    if names:
        chosen = select_stored(opened_lake, names, project_of(opened_lake, config))
        parts = [(source, symbols) for source, symbols in chosen.items() if symbols]
    bounds: dict[str, Any] = {"resolution": resolution, "start": start, "end": end, "until": _parse(until)}
    found = pl.concat([opened_lake.changes(_parse(since), source, symbols, **bounds) for source, symbols in parts])
    found = found.sort("known_at", "source", "resolution", "symbol", "timestamp")
    if as_json:
        print_json(found.to_dicts())
    else:
        _print(found, limit)
    return ExitCode.OK


def _parse(text: str | None) -> str | int | None:
    return int(text) if text is not None and _VERSION.fullmatch(text) else text


def _print(found: pl.DataFrame, limit: int) -> None:
    import polars as pl

    if found.is_empty():
        note("nothing became known then")
        return
    writes = (
        found.group_by("known_at", *_SERIES, "kind")
        .agg(pl.len(), pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
        .sort("known_at", *_SERIES, "kind", descending=[True, False, False, False, False])
    )
    lines = [
        (
            f"{row['known_at']:%Y-%m-%d %H:%M:%S}",
            f"{row['source']}:{row['symbol']} {row['resolution']}",
            row["kind"],
            row["len"],
            _span(row["first"], row["last"]),
        )
        for row in writes.head(limit).iter_rows(named=True)
    ]
    print_table(("known at (UTC)", "series", "", "bars", "of"), lines, styles=_STYLES)
    if writes.height > limit:
        note(f"{writes.height - limit:,} lines are not shown (--limit, --json)")
    totals = found.group_by("kind").len().sort("kind").rows()
    listed = ", ".join(f"{count:,} {kind}" for kind, count in totals)
    note(f"{format_count(found.height, 'change')}: {listed}")


def _span(first: datetime, last: datetime) -> str:
    """`2024-01-02 09:30`, or from the first to the last bar; without times where both are midnight."""
    days = all((moment.hour, moment.minute, moment.second) == (0, 0, 0) for moment in (first, last))
    texts = [f"{moment:%Y-%m-%d}" if days else format_value(moment) for moment in (first, last)]
    if first == last:
        return texts[0]
    end = texts[1][11:] if not days and first.date() == last.date() else texts[1]
    return f"{texts[0]} .. {end}"
