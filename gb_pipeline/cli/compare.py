"""`gb compare` prints the sessions that two sources have otherwise, or whose intraday bars do not add up to the daily one.

This module chooses and prints. `reading.comparisons` says what there is to compare, `reading.comparison` compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import select_stored
from gb_pipeline.cli.options import Config, End, Json, LakeFolder, Start, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.comparisons import Comparison
    from gb_pipeline.reading.lake import Lake

_NUMBERS = ("open", "high", "low", "close", "volume")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A source, or a series of it such as coinbase:BTC-USD.", show_default=False
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="OTHER",
            help="Another source; the same one for its daily bars alone. By default all that it can be compared with.",
            show_default=False,
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only this resolution, such as 1m.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    prices: Annotated[
        float, typer.Option(help="Prices that differ by no more than this share are alike.", min=0, max=1)
    ] = 0.001,
    volume: Annotated[float, typer.Option(help="The same for volumes.", min=0, max=1)] = 0.05,
    limit: Annotated[int, typer.Option(help="Lines to print; --json prints every session.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Compare two sources, or intraday and daily bars.

    Of the symbols that both have, bars of each session are put together, and its numbers compared. A line is a session that
    differs, the newest first, with how far the second source is off, as a share of the first one's number. Sessions that only one
    of them has are left out. Exits with 1 when a session differs.
    """
    from gb_pipeline.reading.comparisons import find_comparisons

    opened_lake = open_lake(config, lake)
    settings = project_of(opened_lake, config)
    name, codes = _select(opened_lake, source, settings)
    with_name, with_codes = (None, codes) if other is None else _select(opened_lake, other, settings)
    both = sorted(set(codes) & set(with_codes))
    found = find_comparisons(opened_lake, name, with_name, resolution, both)
    if not found:
        print_error(_nothing_to_compare(source, other, resolution), "`gb status` lists what each has")
        return ExitCode.FAILED
    tolerances = {"price_tolerance": prices, "volume_tolerance": volume}
    parts = [(item, item.run(opened_lake, start, end, **tolerances)) for item in found]
    if as_json:
        print_json([record for item, rows in parts for record in _to_dicts(item, rows)])
    else:
        _print(parts, limit)
        for item, rows in parts:
            _summarise(item, rows, prices, volume)
    return ExitCode.FAILED if any(not rows["agrees"].all() for _, rows in parts) else ExitCode.OK


def _nothing_to_compare(source: str, other: str | None, resolution: str | None) -> str:
    bars = "bars" if resolution is None else f"bars of {resolution}"
    if other is None:
        return f"{source} has no {bars} that another source has too, and no intraday bars beside daily ones"
    if other == source:
        return f"{source} has no intraday {bars} beside daily ones of the same symbol"
    return f"{source} and {other} have no {bars} of the same symbol and resolution"


def _select(lake: Lake, name: str, settings: Settings | None) -> tuple[str, list[str]]:
    """The one source that a name means, and which of its symbols."""
    chosen = {source: codes for source, codes in select_stored(lake, [name], settings).items() if codes}
    if len(chosen) != 1:
        raise ConfigError(
            f"{name[:80]!r} means series of {len(chosen):,} sources ({', '.join(chosen)}), and one is compared",
            fix="name the source, such as `gb compare coinbase` or `gb compare coinbase:BTC-USD`",
        )
    [(source, codes)] = chosen.items()
    return source, list(codes)


def _to_dicts(item: Comparison, rows: pl.DataFrame) -> list[dict[str, Any]]:
    named = {
        "source": item.source, "resolution": item.resolution, "other": item.other, "other_resolution": item.other_resolution,
    }  # fmt: skip
    return [named | row for row in rows.to_dicts()]


def _print(parts: list[tuple[Comparison, pl.DataFrame]], limit: int) -> None:
    lines = [
        (
            f"{item.other} {item.other_resolution}",
            row["symbol"],
            row["session"],
            *(_share(row[name]) for name in _NUMBERS),
        )
        for item, rows in parts
        for row in rows.filter(~rows["agrees"]).sort("session", "symbol", descending=[True, False]).to_dicts()
    ]
    if lines:
        print_table(("differs", "", "session", *_NUMBERS), lines[:limit])
    if len(lines) > limit:
        note(f"{len(lines) - limit:,} lines are not shown (--limit, --json)")


def _share(value: float | None) -> str:
    """`+0.12%`; empty where the numbers are the same, `from 0` where the first one is 0."""
    return "from 0" if value is None else "" if value == 0 else f"{value:+.2%}"


def _summarise(item: Comparison, rows: pl.DataFrame, prices: float, volume: float) -> None:
    if rows.is_empty():
        note(f"{item.name} have no session in common there")
        return
    differing = int((~rows["agrees"]).sum())
    said = "none differs" if not differing else f"{differing:,} {'differs' if differing == 1 else 'differ'}"
    series = rows["symbol"].n_unique()
    note(
        f"{item.name}: {format_count(rows.height, 'session')} of {series:,} series compared, {said}"
        f" (prices by {prices:.2%}, volume by {volume:.2%})"
    )
