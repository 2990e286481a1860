"""`gb symbols`: which instruments a source has, and which it could have.

Belongs here: arguments, tables, what is said about a change. Does not belong here: asking vendors (`ingest`), files
(`universe`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import ExitCode, count, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.providers.base import Instrument
    from gb_pipeline.universe.editing import Edited

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A source of gb.yaml.", show_default=False)]
Codes = Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Canonical codes.", show_default=False)]
_SHOWN = 50
_STYLES = {"joined": "green", "back": "green", "relisted": "green", "left": "yellow", "delisted": "red"}
_RELOAD = "Dagster shows them after `gb up` is started again, or its definitions are reloaded"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        name="symbols",
        help="Say which symbols a source has, find others, and change them.",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.command("list")(list_symbols)
    group.command("search")(search)
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("refresh")(refresh)
    app.add_typer(group)


def list_symbols(
    source: Source,
    on: Annotated[
        str | None, typer.Option("--on", help="Only who was in on that day, as 2024-01-02; everybody by default.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List the symbols of a source, delisted ones and those that have left included.

    Asks no vendor. With --on, of a point-in-time list or a discovery, the members of that day: who joins on it is in, who
    leaves on it is out.
    """
    chosen = load_settings(config).source(source)
    day = parse_day(on, "--on") if on is not None else None
    rows = _rows(chosen, day)
    if as_json:
        print_json(rows)
        return ExitCode.OK
    columns = ("code", "vendor", "exchange", "asset_class", "listed_from", "listed_until", "joined", "left")
    used = [name for name in columns if name == "code" or any(row[name] for row in rows)]
    print_table(used, [[row[name] for name in used] for row in rows])
    note(f"{count(len(rows), 'symbol')}{f' on {day}' if day else ''}")
    if not rows and day is None:
        note(no_symbols(chosen))
    return ExitCode.OK


def search(
    source: Source,
    text: Annotated[str, typer.Argument(help="Part of a code or a name.", show_default=False)],
    limit: Annotated[int, typer.Option(help="Rows to print in the table; --json prints all.", min=1)] = _SHOWN,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Search what the vendor of a source lists.

    Asks the vendor, and leaves a row in the table `fetches`. Ends with 1 when nothing was found.
    """
    from gb_pipeline.universe.vendor_lists import find

    settings = load_settings(config)
    chosen = settings.source(source)
    if not text.strip():
        raise ConfigError("there is nothing to search for", fix="give a part of a code or a name")
    found = find(open_store(settings), chosen, text)
    have = {symbol.code for symbol in chosen.instruments}
    rows = [_told(item) | {"in_source": item.symbol.code in have} for item in found]
    if as_json:
        print_json(rows)
    else:
        columns = ("code", "vendor", "name", "asset_class", "quote", "active", "listed_from", "listed_until")
        used = [name for name in columns if name == "code" or any(row[name] not in {"", None} for row in rows)]
        print_table(used, [[row[name] for name in used] for row in rows[:limit]])
        hidden = len(rows) - limit
        note(
            count(len(rows), "instrument") + (f", {hidden:,} of them not shown (--limit, --json)" if hidden > 0 else "")
        )
    return ExitCode.OK if rows else ExitCode.FAILED


def add(
    source: Source,
    symbols: Codes,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask the vendor whether it knows them.")] = True,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Add symbols to a source, in gb.yaml or in the file that it names.

    The vendor is asked first; where it does not know a code, nothing is changed and it ends with 1. Comments and everything
    else in the file stay as they are.
    """
    with _alone(config):
        return _add(source, symbols, check, config, as_json)


def _add(source: str, symbols: list[str], check: bool, config: Config, as_json: bool) -> int:
    from gb_pipeline.universe import editing

    settings = load_settings(config)
    chosen = settings.source(source)
    asked = _canonical(chosen, symbols)
    have = {symbol.code for symbol in chosen.instruments}
    new = [code for code in asked if code not in have]
    checked, ended = False, []
    if new and check:
        answer = _checked(open_store(settings), chosen, new)
        if answer is not None and any(item is None for item in answer.values()):
            return _unknown(source, [code for code, item in answer.items() if item is None])
        checked = answer is not None
        ended = [item for item in (answer or {}).values() if item is not None and not item.active]
    edited = editing.add(settings.path, source, chosen.universe, chosen.asset_class, new) if new else []
    if as_json:
        already = [code for code in asked if code in have]
        changed = _changed(edited)
        print_json({"source": source, "added": new, "already": already, "checked": checked, "changed": changed})
        return ExitCode.OK
    if new and check and not checked:
        note(f"{chosen.provider} has neither a list nor a search: nobody knows yet whether it has them")
    for code in asked:
        note(f"{code} is a symbol of {source} already" if code in have else f"{code} added")
    for item in ended:
        since = f" since {item.listed_until}: write that as its listed_until" if item.listed_until else ""
        note(f"{item.symbol} does not trade any more{since}")
    _tell(edited)
    if new:
        note(f"`gb fetch {source} {' '.join(new)}` fetches {'it' if len(new) == 1 else 'them'}; {_RELOAD}")
    return ExitCode.OK


def remove(source: Source, symbols: Codes, config: Config = None, as_json: Json = False) -> int:
    """Take symbols out of a source; their data stays in the lake and can be read.

    Of a discovery or a point-in-time list they are excluded. Asks no vendor.
    """
    with _alone(config):
        return _remove(source, symbols, config, as_json)


def _remove(source: str, symbols: list[str], config: Config, as_json: bool) -> int:
    from gb_pipeline.universe import editing

    settings = load_settings(config)
    chosen = settings.source(source)
    asked = _canonical(chosen, symbols)
    have = [symbol.code for symbol in chosen.instruments]
    foreign = [code for code in asked if code not in have]
    if foreign:
        near = get_close_matches(foreign[0], have, 3, 0.6)
        raise ConfigError(
            f"{', '.join(foreign)}: no symbol of {source}",
            fix=f"did you mean {', '.join(near)}?" if near else f"`gb symbols list {source}` shows what it has",
        )
    stored = _stored(settings, source, asked)
    edited = editing.remove(settings.path, source, chosen.universe, chosen.asset_class, asked)
    if as_json:
        print_json(
            {
                "source": source,
                "removed": asked,
                "stored_bars": {code: stored[code] for code in asked},
                "changed": _changed(edited),
            }
        )
        return ExitCode.OK
    for code in asked:
        bars = stored[code]
        note(
            f"{code} removed; "
            + (f"{count(bars, 'stored bar')} stay{'s' if bars == 1 else ''}" if bars else "none stored")
        )
    _tell(edited)
    return ExitCode.OK


def refresh(
    source: Source,
    force: Annotated[bool, typer.Option("--force", help="Believe a list that lost more than half.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Ask the vendor of a source with `discover` what there is now, and bring its symbols up to date.

    Nothing is ever taken out: who does not meet the conditions any more gets a day of leaving, who is delisted a day from
    which on sessions are `not_listed`. A list that lost more than half is refused, unless --force says otherwise.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.catalog.tables import bar_tables
    from gb_pipeline.universe.discovery import refresh as bring_up_to_date

    settings = load_settings(config)
    store = open_store(settings)
    done = bring_up_to_date(store, settings.source(source), force=force)
    if done.changes and bar_tables(store.tables):
        # Listing dates are in the catalog.
        refresh_catalog(store, load_settings(config).sources)
    if as_json:
        print_json(
            {
                "source": source, "file": done.path, "listed": done.listed, "chosen": done.chosen, "known": done.known,
                "changes": [{"code": item.code, "kind": item.kind, "detail": item.detail} for item in done.changes],
            }
        )  # fmt: skip
        return ExitCode.OK
    if done.changes:
        rows = [(item.code, item.kind, item.detail) for item in done.changes]
        print_table(("symbol", "change", "what"), rows, styles=_STYLES)
    kinds = Counter(item.kind for item in done.changes)
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "nothing changed"
    note(f"{told}; {done.chosen:,} of {done.listed:,} listed are chosen, {count(done.known, 'symbol')} in {done.path}")
    if kinds["joined"]:
        note(_RELOAD)
    return ExitCode.OK


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Nobody else changes gb.yaml meanwhile: of two who read it and write it, one would lose what it wrote."""
    from filelock import FileLock

    from gb_pipeline.config.private_files import private_folder
    from gb_pipeline.config.settings import state_folder

    state = state_folder(config)
    lock = FileLock(state / "settings.lock", mode=0o600)
    try:
        private_folder(state)
        lock.acquire()
    except OSError as error:
        raise ConfigError(f"{lock.lock_file} cannot be made: {error.strerror}", fix="make it writable") from None
    try:
        yield
    finally:
        lock.release()


def _changed(edited: list[Edited]) -> list[dict[str, Any]]:
    return [{"file": item.path, "where": item.where, "codes": item.codes} for item in edited]


def _tell(edited: list[Edited]) -> None:
    for item in edited:
        note(f"changed {item.path}{f': {item.where}' if item.where else ''}")


def _rows(source: SourceSettings, day: date | None) -> list[dict[str, Any]]:
    chosen = source.instruments if day is None else source.members(day)
    rows = []
    for symbol in chosen:
        settings, stays = source.symbol_settings(symbol), source.universe.stays.get(symbol.code, ())
        # Of several stays, the one that is asked about.
        stay = next((one for one in stays if day is not None and one.covers(day)), stays[-1] if stays else None)
        rows.append(
            {
                "code": symbol.code,
                "vendor": settings.vendor,
                "exchange": symbol.exchange,
                "asset_class": symbol.asset_class,
                "listed_from": settings.listed_from,
                "listed_until": settings.listed_until,
                "joined": stay.joined if stay else None,
                "left": stay.left if stay else None,
            }
        )
    return rows


def _told(item: Instrument) -> dict[str, Any]:
    return {
        "code": item.symbol.code, "vendor": item.vendor, "name": item.name, "exchange": item.symbol.exchange,
        "asset_class": item.symbol.asset_class, "quote": item.quote, "active": item.active,
        "listed_from": item.listed_from, "listed_until": item.listed_until,
    }  # fmt: skip


def no_symbols(source: SourceSettings) -> str:
    """What to do about a source without symbols."""
    if source.universe.spec.discover is not None:
        return f"`gb symbols refresh {source.name}` asks the vendor for them"
    return f"`gb symbols add {source.name} SYMBOL` adds one"


def _canonical(source: SourceSettings, symbols: list[str]) -> list[str]:
    from gb_pipeline.config.symbols.spec import canonical

    return list(dict.fromkeys(canonical(text, source.asset_class).code for text in symbols))


def _checked(store: Any, source: SourceSettings, codes: list[str]) -> Any:
    from gb_pipeline.universe.vendor_lists import known_to_vendor

    return known_to_vendor(store, source, codes)


def _unknown(source: str, codes: list[str]) -> ExitCode:
    print_error(
        f"the vendor of {source} does not list {', '.join(codes)}; nothing was changed",
        f"`gb symbols search {source} {codes[0].split('-')[0]}` shows what resembles it; --no-check adds it nevertheless",
    )
    return ExitCode.FAILED


def _stored(settings: Settings, source: str, codes: list[str]) -> Counter[str]:
    """Bars by code, over all resolutions."""
    from gb_pipeline.catalog.tables import bar_tables
    from gb_pipeline.reading.lake import Lake

    found: Counter[str] = Counter()
    if settings.lake.is_dir() and bar_tables(open_store(settings).tables):
        for row in Lake(open_store(settings)).symbols(source).to_dicts():
            if row["symbol"] in codes:
                found[row["symbol"]] += row["record_count"]
    return found
