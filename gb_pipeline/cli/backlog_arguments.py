"""What is to be fetched, as `gb fetch` and `gb plan` take it: names, a resolution and dates, and the backlog that they mean."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.names import select_configured
from gb_pipeline.cli.options import parse_day
from gb_pipeline.errors import ConfigError, InvalidSymbol

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.ingest.backlog import Backlog
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.symbol import Symbol

SourceNames = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE [SYMBOL]...",
        help="A source of gb.yaml, and symbols of it if not all are wanted; SOURCE:SYMBOL and patterns such as 'mine:S0*' too.",
        show_default=False,
    ),
]
BarResolution = Annotated[
    str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the source's first by default.")
]
FirstSession = Annotated[
    str | None, typer.Option("--start", help="First session, such as 2024-01-02; the source's start by default.")
]
EndDate = Annotated[str | None, typer.Option("--end", help="End date (exclusive); by default everything until now.")]
Again = Annotated[bool, typer.Option("--again", help="Ask for sessions that are stored as well, and compare them.")]


def parse_backlog(
    settings: Settings,
    store: LakeStore,
    names: list[str],
    resolution: str | None,
    start: str | None,
    end: str | None,
    *,
    again: bool,
) -> Backlog:
    """What is missing of the symbols and days that arguments name.

    Raises:
        ConfigError: names that gb.yaml does not have, or of more than one source; a day that is none or has not begun, or the
            wrong order.
        InvalidResolution: it names none.
    """
    from gb_pipeline.ingest.backlog import find_backlog

    source, symbols = select_of_one_source(settings, names)
    today = datetime.now(UTC).date()
    first = parse_day(start, "--start") if start else source.start
    last = parse_day(end, "--end") if end else source.end
    if last is not None and last <= first:
        raise ConfigError(f"{'--end' if end else 'end'} {last} is not after --start {first}", fix="--end is exclusive")
    if first > today:
        raise ConfigError(f"{'--start' if start else 'start'} {first} has not begun yet", fix=f"today is {today} (UTC)")
    return find_backlog(store, source, parse_resolution(source, resolution), symbols, first, last, again=again)


def parse_resolution(source: SourceSettings, text: str | None) -> Resolution:
    """What `--resolution` names; the source's first one by default.

    Raises:
        InvalidResolution: it names none.
    """
    from gb_pipeline.market.resolution import Resolution

    return source.resolutions[0] if text is None else Resolution.parse(text)


def select_of_one_source(settings: Settings, names: list[str]) -> tuple[SourceSettings, list[Symbol]]:
    """The source and the symbols that names mean.

    Raises:
        ConfigError: names that gb.yaml does not have, with what resembles them and how to add one; or of several sources.
    """
    try:
        chosen = select_configured(settings, names)
    except ConfigError as error:
        advice = _advise_adding(settings, names)
        joint = " Or " if error.fix.endswith("?") else "; or "
        raise ConfigError(error.what, fix=joint.join(filter(None, [error.fix, advice]))) from None
    if len(chosen) > 1:
        raise ConfigError(
            f"{' '.join(names)} are series of several sources: {', '.join(chosen)}",
            fix="name one source, or use `gb update` for several",
        )
    [(source, symbols)] = chosen.items()
    return settings.source(source), symbols


def _advise_adding(settings: Settings, names: list[str]) -> str:
    """How to add symbols that a source does not have, where the names can be symbols."""
    from gb_pipeline.market.symbol import Symbol

    source, _, code = names[0].partition(":")
    if source not in settings.sources:
        return ""
    configured = {symbol.code for symbol in settings.sources[source].instruments}
    new: list[str] = []
    for text in [code, *names[1:]]:
        with suppress(InvalidSymbol):
            symbol = Symbol.of(text.removeprefix(f"{source}:"), settings.sources[source].asset_class)
            new += [symbol.code] if symbol.code not in configured else []
    return f"`gb symbols add {source} {' '.join(new)}` adds {'it' if len(new) == 1 else 'them'}" if new else ""
