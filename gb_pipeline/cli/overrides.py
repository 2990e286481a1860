"""`gb override` corrects a stored bar for good, `gb overrides` lists corrections. `lake.correcting` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.explain import choose_resolution
from gb_pipeline.cli.names import Names, OneBar, OneSeries, StoredResolution, keep_named, select_one
from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake, project_of, refresh_catalog
from gb_pipeline.cli.output import ExitCode, format_value, note, print_json, print_table
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.quality.rules import BarRules
    from gb_pipeline.reading.lake import Lake

_STYLES = {"taken back": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("override")(override)
    app.command("overrides")(overrides)


def _number(name: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(f"--{name}", help=f"The right {name}.", show_default=False)
    return option


def override(
    series: OneSeries,
    timestamp: OneBar,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it in a year.", show_default=False)] = ...,  # type: ignore[assignment]
    open_: Annotated[str | None, _number("open")] = None,
    high: Annotated[str | None, _number("high")] = None,
    low: Annotated[str | None, _number("low")] = None,
    close: Annotated[str | None, _number("close")] = None,
    volume: Annotated[str | None, _number("volume")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take the correction back: what the vendor said last holds again.")
    ] = False,
    resolution: StoredResolution = None,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Correct a stored bar.

    The correction survives fetching the bar again, whatever the vendor says. The bar's older versions stay, and --as-of reads them.
    `gb overrides` lists corrections, `gb explain` shows one beside what the vendor says.
    """
    from gb_pipeline.market.window import instant

    given = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    values = {name: value for name, value in given.items() if value is not None}
    if withdraw and values:
        raise ConfigError("--withdraw takes the whole correction back", fix="leave out the values")
    moment = instant(timestamp)
    opened_lake = open_lake(config, lake)
    source, symbol = select_one(opened_lake, series, project_of(opened_lake, config))
    kind = choose_resolution(opened_lake, source, symbol, resolution)
    rules = rules_of(opened_lake, source, kind, config)
    opened_lake.store.override(source, symbol, kind, moment, None if withdraw else values, reason, rules=rules)
    refresh_catalog(opened_lake, config)
    said = "says again what the vendor said last" if withdraw else "is corrected"
    note(f"{source}:{symbol} {kind} {format_value(moment)} UTC {said}")
    return ExitCode.OK


def overrides(names: Names = None, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """List corrections of bars.

    Those that were taken back are among them.
    """
    opened_lake = open_lake(config, lake)
    found = keep_named(opened_lake.overrides(), opened_lake, names, project_of(opened_lake, config))
    if as_json:
        print_json(found.to_dicts())
    elif found.is_empty():
        note("no bar is corrected")
    else:
        lines = [
            (
                f"{row['source']}:{row['symbol']} {row['resolution']}",
                row["timestamp"],
                "taken back" if row["withdrawn"] else describe_values(row) or "released as it is",
                row["reason"],
            )
            for row in found.iter_rows(named=True)
        ]
        print_table(("series", "bar (UTC)", "correction", "reason"), lines, styles=_STYLES)
    return ExitCode.OK


def describe_values(row: dict[str, object]) -> str:
    """What an override says instead of the vendor, such as `close 105.5 (vendor 105.75)`."""
    from gb_pipeline.market.schema import CORRECTABLE

    if row["vendor_refused"]:
        return f"released row {str(row['row_id'])[:8]}"
    pairs = [(name, row[f"corrected_{name}"], row[f"vendor_{name}"]) for name in CORRECTABLE]
    return ", ".join(
        f"{name} {format_value(new)} (vendor {format_value(old)})" for name, new, old in pairs if new != old
    )


def rules_of(lake: Lake, source: str, kind: Resolution, config: Path | None) -> BarRules:
    """Of the project; of a lake alone what it remembers of the source."""
    from gb_pipeline.catalog.state import known_sources
    from gb_pipeline.quality.rules import Alignment, BarRules

    settings = project_of(lake, config)
    if settings is not None and source in settings.sources:
        return settings.sources[source].rules(kind)
    for facts in known_sources(lake.store.storage, None):
        if facts.name == source:
            return BarRules(kind, facts.trading_calendar, Alignment(facts.alignment), allow_unaligned=True)
    return BarRules(kind, allow_unaligned=True)
