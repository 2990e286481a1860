"""`gb fetch` fetches, validates and stores bars without Dagster.

This module turns arguments into jobs. The fetching is in `ingest`, the code that Dagster's assets run as well, and what became
of it is printed by `fetch_summary`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.fetch_summary import print_summary, report_problems, sum_by_symbol
from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import note, print_json, progress
from gb_pipeline.cli.symbols import advise_adding_symbols
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from datetime import date

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.market.resolution import Resolution


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(fetch)


def fetch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all symbols of the source by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the source's first by default.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First session, such as 2024-01-02; yesterday (UTC) by default.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); the day after --start by default.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch bars into the lake, without Dagster.

    Runs the same code as Dagster's assets, and refreshes the catalog afterwards. Fetching again is harmless: what is stored is
    compared, and only differences are written. Exits with 1 when a session was rejected or the vendor refuses permanently, and with
    3 after a temporary failure or when the vendor's daily quota is used up: the rest is deferred, and the same command continues
    with it another day.
    """
    from gb_pipeline.catalog.projection import refresh_catalog, table_versions
    from gb_pipeline.ingest.bars import ingest

    settings = load_settings(config)
    source_settings = settings.source(source)
    bar_resolution = parse_resolution(source_settings, resolution)
    jobs = parse_jobs(source_settings, symbols or [], start, end)
    store = open_store(settings)
    if not jobs:
        note(f"{source} has no symbols yet: {advise_adding_symbols(source_settings)}")
    with progress(quiet=as_json) as bar:
        task = bar.add_task(f"{source} {bar_resolution}", total=len(jobs))
        outcomes = ingest(store, source_settings, bar_resolution, jobs, on_outcome=lambda _: bar.advance(task))
    if table_versions(store):
        refresh_catalog(store, settings.sources)
    rows = sum_by_symbol(outcomes)
    if as_json:
        print_json({"source": source, "resolution": bar_resolution, "symbols": rows})
    else:
        print_summary(rows)
    return report_problems(outcomes)


def parse_resolution(source: SourceSettings, text: str | None) -> Resolution:
    """What `--resolution` names; the source's first one by default.

    Raises:
        InvalidResolution: it names none.
    """
    from gb_pipeline.market.resolution import Resolution

    if text is None:
        return source.resolutions[0]
    return Resolution.parse(text)


def parse_jobs(source: SourceSettings, symbols: list[str], start: str | None, end: str | None) -> list[Job]:
    """What SYMBOL..., `--start` and `--end` name, month by month.

    Raises:
        ConfigError: a day that is none or has not begun, or the wrong order.
        InvalidSymbol: a code that cannot be one.
    """
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.market.symbol import Symbol

    today = datetime.now(UTC).date()
    first = parse_day(start, "--start") if start else today - timedelta(days=1)
    last = parse_day(end, "--end") if end else first + timedelta(days=1)
    if last <= first:
        raise ConfigError(f"--end {last} is not after --start {first}", fix="--end is exclusive")
    if first > today:
        raise ConfigError(f"--start {first} has not begun yet", fix=f"today is {today} (UTC)")
    configured = {symbol.code: symbol for symbol in source.instruments}
    requested = [Symbol.of(text, source.asset_class) for text in symbols]
    chosen = {symbol.code: configured.get(symbol.code, symbol) for symbol in requested} or configured
    # Months are steps of the progress bar, and what a crash can take away.
    return [Job(symbol, begin, stop) for begin, stop in _month_steps(first, last) for symbol in chosen.values()]


def _month_steps(first: date, last: date) -> list[tuple[date, date]]:
    edges = [first]
    while edges[-1] < last:
        month = (edges[-1].replace(day=1) + timedelta(days=32)).replace(day=1)
        edges.append(min(month, last))
    return list(pairwise(edges))
