"""`gb replay`: read kept responses again, without the vendor.

Belongs here: arguments to jobs, and a table of what differs. Does not belong here: reading or comparing (`provenance.replay`).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import ExitCode, count, note, print_error, print_json, print_table, progress
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.provenance.replay import Replayed

_STYLES = {"changed": "red", "missing": "red", "unexplained": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source of gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL]...", help="Canonical codes; all of the source by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Such as 1m; the source's first one by default.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First session; the source's first one by default.")] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); tomorrow (UTC) by default.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Store what differs, as a fetch would.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Read kept responses again, without the vendor, and compare with what is stored.

    Sources keep responses with `keep_raw: true`. Ends with 1 when a stored bar is not what its response says, unless
    --write has put it right; and when no response could be read.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.provenance.replay import replay as run

    settings = load_settings(config)
    chosen = settings.source(source)
    length = chosen.resolutions[0] if resolution is None else Resolution.parse(resolution)
    jobs = _jobs(chosen, symbols or [], start, end)
    store = open_store(settings)
    with progress(quiet=as_json) as bar:
        task = bar.add_task(f"{source} {length}", total=len(jobs))
        found = run(store, chosen, length, jobs, write=write, on_done=lambda _: bar.advance(task))
    if write and any(item.written for item in found):
        refresh_catalog(store, settings.sources)
    if as_json:
        print_json(
            {"source": source, "resolution": length, "written": write, "symbols": [_plain(one) for one in found]}
        )
    else:
        _print(found)
    return _tell(found, write=write)


def _jobs(source: SourceSettings, symbols: list[str], start: str | None, end: str | None) -> list[Job]:
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.market.symbol import Symbol

    first = parse_day(start, "--start") if start else source.start
    last = parse_day(end, "--end") if end else datetime.now(UTC).date() + timedelta(days=1)
    if last <= first:
        raise ConfigError(f"--end {last} is not after --start {first}", fix="--end is exclusive")
    known = {symbol.code: symbol for symbol in source.instruments}
    asked = [Symbol.of(text, source.asset_class) for text in symbols]
    unique = {symbol.code: known.get(symbol.code, symbol) for symbol in asked} or known
    return [Job(symbol, first, last) for symbol in unique.values()]


def _plain(item: Replayed) -> dict[str, Any]:
    row = asdict(item)
    row["problems"] = [error.what for error in item.problems]
    return row


def _print(found: list[Replayed]) -> None:
    columns = ("symbol", "answers", "rows", "changed", "missing", "unexplained", "unkept", "restated")
    print_table(columns, [[getattr(item, name) for name in columns] for item in found])
    examples = [example for item in found for example in item.examples][:10]
    if examples:
        print_table(
            ("symbol", "timestamp (UTC)", "difference", "stored", "kept response"),
            [[one.symbol, one.timestamp, one.kind, _content(one.stored), _content(one.kept)] for one in examples],
            styles=_STYLES,
        )


def _content(bar: dict[str, object] | None) -> str:
    from gb_pipeline.cli.output import text

    return "" if bar is None else " ".join(f"{name} {text(value)}" for name, value in bar.items() if value is not None)


def _tell(found: list[Replayed], *, write: bool) -> ExitCode:
    for what, error in {error.what: error for item in found for error in item.problems}.items():
        print_error(what, error.fix)
    answers, differences = sum(item.answers for item in found), sum(item.differences for item in found)
    unkept, unexplained = sum(item.unkept for item in found), sum(item.unexplained for item in found)
    if unkept:
        note(f"of {count(unkept, 'answer')} nothing was kept; what they say is left alone (`keep_raw: true`)")
    if not answers:
        print_error("no response could be read", "fetch with `keep_raw: true` first, or name other sessions")
        return ExitCode.FAILED
    problems = any(item.problems for item in found)
    if not differences:
        note(f"{count(answers, 'kept answer')} read again: what {'it says' if answers == 1 else 'they say'} is stored")
        return ExitCode.FAILED if problems else ExitCode.OK
    note(f"{count(differences, 'bar')} differ{'s' if differences == 1 else ''} from the kept responses")
    if write:
        note(f"stored again; {count(unexplained, 'bar')} that no response explains stay as they are")
    return ExitCode.OK if write and not problems else ExitCode.FAILED
