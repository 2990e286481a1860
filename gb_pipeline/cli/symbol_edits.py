"""`gb symbols add` and `gb symbols remove`: changing the symbols of a source in gb.yaml or its symbol file.

This module parses arguments and says what changed. `universe.editing` edits the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.universe.editing import Edited

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source of the project.", show_default=False)]
Codes = Annotated[list[str], typer.Argument(metavar="SYMBOL", help="Canonical codes.", show_default=False)]


def add(
    source: Source,
    symbols: Codes,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask the vendor whether it lists them.")] = True,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Add symbols to a source.

    Edits gb.yaml, the defs.yaml of the source's component, or the symbol file that either names. The vendor is asked first: if it
    does not list a code, nothing is changed and the exit code is 1. Comments and everything else in the file stay as they are.
    """
    with _settings_locked(config):
        return _add(source, symbols, check, config, as_json)


def _add(source: str, symbols: list[str], check: bool, config: Config, as_json: bool) -> int:
    from gb_pipeline.universe import editing

    settings = load_settings(config)
    source_settings = settings.source(source)
    codes = _canonical_codes(source_settings, symbols)
    configured = {symbol.code for symbol in source_settings.instruments}
    new_codes = [code for code in codes if code not in configured]
    checked, inactive = False, []
    if new_codes and check:
        instruments = _ask_vendor(open_store(settings), source_settings, new_codes)
        if instruments is not None and any(instrument is None for instrument in instruments.values()):
            return _refuse_unknown(source, [code for code, instrument in instruments.items() if instrument is None])
        checked = instruments is not None
        inactive = [
            instrument
            for instrument in (instruments or {}).values()
            if instrument is not None and not instrument.active
        ]
    edits = (
        editing.add(settings.place_of(source), source_settings.universe, source_settings.asset_class, new_codes)
        if new_codes
        else []
    )
    if as_json:
        existing = [code for code in codes if code in configured]
        edit_rows = _edits_to_dicts(edits)
        print_json(
            {"source": source, "added": new_codes, "already": existing, "checked": checked, "changed": edit_rows}
        )
        return ExitCode.OK
    if new_codes and check and not checked:
        note(f"{source_settings.provider} has neither a list nor a search: whether it lists them is not known yet")
    for code in codes:
        note(f"{code} is already a symbol of {source}" if code in configured else f"{code} added")
    for instrument in inactive:
        since = f" since {instrument.listed_until}: write that as its listed_until" if instrument.listed_until else ""
        note(f"{instrument.symbol} no longer trades{since}")
    _report_edits(edits)
    if new_codes:
        note(f"`gb fetch {source} {' '.join(new_codes)}` fetches {'it' if len(new_codes) == 1 else 'them'}")
        note(show_in_dagster(settings.path.parent))
    return ExitCode.OK


def show_in_dagster(project: Path) -> str:
    """Have the page of `gb up` show new series, where it is running; what became of that."""
    from gb_pipeline.dagster_runtime.home import find_page
    from gb_pipeline.dagster_runtime.reload import request_reload

    page = find_page(project)
    return f"Dagster at {page}: {request_reload(page)}" if page else "`gb up` will show them in Dagster"


def remove(source: Source, symbols: Codes, config: Config = None, as_json: Json = False) -> int:
    """Remove symbols from a source; their data stays.

    What is stored can still be read. Symbols of a discovery or a point-in-time list are excluded instead. Sends no request.
    """
    with _settings_locked(config):
        return _remove(source, symbols, config, as_json)


def _remove(source: str, symbols: list[str], config: Config, as_json: bool) -> int:
    from gb_pipeline.universe import editing

    settings = load_settings(config)
    source_settings = settings.source(source)
    codes = _canonical_codes(source_settings, symbols)
    configured = [symbol.code for symbol in source_settings.instruments]
    unknown = [code for code in codes if code not in configured]
    if unknown:
        similar = get_close_matches(unknown[0], configured, 3, 0.6)
        raise ConfigError(
            f"{', '.join(unknown)}: not a symbol of {source}",
            fix=f"did you mean {', '.join(similar)}?" if similar else f"`gb symbols list {source}` shows what it has",
        )
    stored = _count_stored_bars(settings, source, codes)
    edits = editing.remove(settings.place_of(source), source_settings.universe, source_settings.asset_class, codes)
    if as_json:
        print_json(
            {
                "source": source,
                "removed": codes,
                "stored_bars": {code: stored[code] for code in codes},
                "changed": _edits_to_dicts(edits),
            }
        )
        return ExitCode.OK
    for code in codes:
        bar_count = stored[code]
        note(
            f"{code} removed; "
            + (
                f"{format_count(bar_count, 'stored bar')} stay{'s' if bar_count == 1 else ''}"
                if bar_count
                else "none stored"
            )
        )
    _report_edits(edits)
    return ExitCode.OK


@contextmanager
def _settings_locked(config: Config) -> Iterator[None]:
    """Keep other processes from changing gb.yaml meanwhile: of two that read and write it, one would lose its change."""
    from filelock import FileLock

    from gb_pipeline.config.places import state_folder
    from gb_pipeline.config.private_files import private_folder

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


def _edits_to_dicts(edits: list[Edited]) -> list[dict[str, Any]]:
    return [{"file": edit.path, "where": edit.where, "codes": edit.codes} for edit in edits]


def _report_edits(edits: list[Edited]) -> None:
    for edit in edits:
        note(f"changed {edit.path}{f': {edit.where}' if edit.where else ''}")


def _canonical_codes(source: SourceSettings, symbols: list[str]) -> list[str]:
    from gb_pipeline.config.symbols.spec import canonical

    return list(dict.fromkeys(canonical(text, source.asset_class).code for text in symbols))


def _ask_vendor(store: Any, source: SourceSettings, codes: list[str]) -> Any:
    from gb_pipeline.universe.vendor_lists import look_up

    return look_up(store, source, codes)


def _refuse_unknown(source: str, codes: list[str]) -> ExitCode:
    print_error(
        f"the vendor of {source} does not list {', '.join(codes)}; nothing was changed",
        f"`gb symbols search {source} {codes[0].split('-')[0]}` shows what resembles it; --no-check adds it nevertheless",
    )
    return ExitCode.FAILED


def _count_stored_bars(settings: Settings, source: str, codes: list[str]) -> Counter[str]:
    """Bars by code, over all resolutions."""
    from gb_pipeline.catalog.tables import bar_tables
    from gb_pipeline.reading.lake import Lake

    counts: Counter[str] = Counter()
    if open_store(settings).storage.exists and bar_tables(open_store(settings).tables):
        for row in Lake(open_store(settings)).symbols(source).to_dicts():
            if row["symbol"] in codes:
                counts[row["symbol"]] += row["record_count"]
    return counts
