"""`gb replay` reads kept responses again, without the vendor.

This module turns arguments into jobs and prints what differs. `provenance.replay` reads the responses and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import select_symbols, stored_names
from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import ExitCode, format_value, note, print_error, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.provenance.differences import Replayed

_STYLES = {"changed": "red", "missing": "red", "unexplained": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
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
        str | None, typer.Option(help="First session, such as 2024-01-02; the source's start by default.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); tomorrow (UTC) by default.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Store what differs, as a fetch would.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Compare kept responses with what is stored.

    Reads the responses again, without the vendor. Sources keep them with `keep_raw: true`. Exits with 1 when a stored bar differs
    from its response, unless --write has corrected it, and when no response could be read.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.provenance.replay import replay as run

    settings = load_settings(config)
    source_settings = settings.source(source)
    bar_resolution = source_settings.resolutions[0] if resolution is None else Resolution.parse(resolution)
    store = open_store(settings)
    jobs = _parse_jobs(source_settings, symbols or [], _stored_symbols(store, source), start, end)
    with progress("jobs", quiet=as_json) as bar:
        task = bar.add_task(f"{source} {bar_resolution}", total=len(jobs))
        results = run(store, source_settings, bar_resolution, jobs, write=write, on_done=lambda _: bar.advance(task))
    if write and any(result.written for result in results):
        refresh_catalog(store, settings.sources)
    if as_json:
        print_json(
            {
                "source": source,
                "resolution": bar_resolution,
                "written": write,
                "symbols": [_to_dict(result) for result in results],
            }
        )
    else:
        _print_results(results)
    return _report(results, write=write)


def _stored_symbols(store: LakeStore, source: str) -> list[str]:
    """What is stored of a source: symbols that gb.yaml no longer has can be read again too."""
    from gb_pipeline.reading.lake import Lake

    return stored_names(Lake(store)).get(source, [])


def _parse_jobs(
    source: SourceSettings, symbols: list[str], stored: Sequence[str], start: str | None, end: str | None
) -> list[Job]:
    from gb_pipeline.ingest.job import Job

    first = parse_day(start, "--start") if start else source.start
    last = parse_day(end, "--end") if end else datetime.now(UTC).date() + timedelta(days=1)
    if last <= first:
        raise ConfigError(f"--end {last} is not after --start {first}", fix="--end is exclusive")
    return [Job(symbol, first, last) for symbol in select_symbols(source, symbols, also=stored)]


def _to_dict(result: Replayed) -> dict[str, Any]:
    row = asdict(result)
    row["problems"] = [error.what for error in result.problems]
    return row


def _print_results(results: list[Replayed]) -> None:
    columns = ("symbol", "answers", "rows", "changed", "missing", "unexplained", "unkept", "restated")
    print_table(columns, [[getattr(result, name) for name in columns] for result in results])
    examples = [example for result in results for example in result.examples][:10]
    if examples:
        print_table(
            ("symbol", "timestamp (UTC)", "difference", "stored", "kept response"),
            [
                [
                    example.symbol,
                    example.timestamp,
                    example.kind,
                    _format_bar(example.stored),
                    _format_bar(example.kept),
                ]
                for example in examples
            ],
            styles=_STYLES,
        )


def _format_bar(bar: dict[str, object] | None) -> str:
    values = {} if bar is None else bar
    return " ".join(f"{name} {format_value(value)}" for name, value in values.items() if value is not None)


def _report(results: list[Replayed], *, write: bool) -> ExitCode:
    for what, error in {error.what: error for result in results for error in result.problems}.items():
        print_error(what, error.fix)
    answers, differences = sum(result.answers for result in results), sum(result.differences for result in results)
    unkept, unexplained = sum(result.unkept for result in results), sum(result.unexplained for result in results)
    if unkept:
        note(f"{format_count(unkept, 'answer')} without a kept response left alone (`keep_raw: true`)")
    if not answers:
        print_error("no response could be read", "fetch with `keep_raw: true` first, or name other sessions")
        return ExitCode.FAILED
    problems = any(result.problems for result in results)
    if not differences:
        pronoun = "it" if answers == 1 else "them"
        note(f"{format_count(answers, 'kept response')} read again: everything in {pronoun} is stored")
        return ExitCode.FAILED if problems else ExitCode.OK
    note(f"{format_count(differences, 'bar')} differ{'s' if differences == 1 else ''} from the kept responses")
    if write:
        note(f"stored again; {format_count(unexplained, 'bar')} that no response explains stay as they are")
    return ExitCode.OK if write and not problems else ExitCode.FAILED
