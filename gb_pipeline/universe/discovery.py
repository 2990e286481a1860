"""This module chooses symbols from what a vendor lists: `gb symbols refresh`.

It applies the conditions of gb.yaml, one refresh at a time. Asking is in `vendor_lists`, merging in `changes`, and the file in
`config.symbols.discovered`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gb_pipeline.config.private_files import private_folder
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.config.symbols import discovered
from gb_pipeline.config.symbols.spec import Discovery
from gb_pipeline.config.symbols.table import unsafe
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.providers.base import Instrument, Provider
from gb_pipeline.universe.changes import Change, merge_list, refuse_losses
from gb_pipeline.universe.vendor_lists import fetch_list

log = logging.getLogger(__name__)
_PERPETUAL = "-PERP"
# Somebody else's refresh of a slow vendor.
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh led to.

    Attributes:
        path: the universe's file.
        listed: instruments that the vendor lists.
        chosen: how many of them the conditions choose.
        known: instruments of the universe now, those that have left included.
        changes: by code.
    """

    path: Path
    listed: int
    chosen: int
    known: int
    changes: tuple[Change, ...]


def refresh(
    store: LakeStore,
    source: SourceSettings,
    *,
    provider: Provider | None = None,
    force: bool = False,
    now: datetime | None = None,
) -> Refreshed:
    """Ask the vendor what there is, and bring the source's universe up to date. Others who refresh it wait meanwhile.

    Args:
        store: the lake; the universe is kept beside its tables.
        source: its symbols are discovered.
        provider: instead of the one that the settings name; it is not closed.
        force: believe a list that lost more than half of what was known.
        now: the present; the clock of the store by default.

    Raises:
        ConfigError: the source's symbols are not discovered, its provider has no list or no turnovers, or nothing in the
            list meets the conditions.
        UniverseRefused: the list lost more than half of what was known.
        VendorError: the list could not be had.
        LakeError: another refresh of this source takes too long, or the lake cannot be written.
    """
    from filelock import FileLock, Timeout

    conditions = source.universe.spec.discover
    if conditions is None:
        raise ConfigError(
            f"the symbols of {source.name} are not discovered",
            fix="write `symbols: {discover: {...}}` in gb.yaml; docs/sources.md says how",
        )
    lock = FileLock(store.storage.state / f"universe_{source.name}.lock", timeout=_PATIENCE_SECONDS)
    try:
        private_folder(store.storage.state)
        lock.acquire()
    except Timeout:
        raise LakeError(
            f"another refresh of {source.name} has been at work for {_PATIENCE_SECONDS / 60:.0f} minutes",
            fix="wait for it, or stop it",
        ) from None
    except OSError as error:
        raise LakeError(
            f"{lock.lock_file} cannot be made: {error.strerror}", fix="make the lake's folder writable"
        ) from None
    try:
        return _refresh(store, source, conditions, provider, force, now or store.clock())
    finally:
        lock.release()


def _refresh(
    store: LakeStore,
    source: SourceSettings,
    conditions: Discovery,
    provider: Provider | None,
    force: bool,
    now: datetime,
) -> Refreshed:
    home = discovered.universe_home(store.storage.root, source.folder)
    path = discovered.universe_file(home, source.name)
    before = discovered.read(path)
    listed = fetch_list(store, source, turnover=conditions.top is not None, provider=provider)
    chosen = choose(listed, conditions, source)
    today = now.astimezone(get_calendar(source.calendar).zone).date()
    after, changes = merge_list(before, listed, chosen, today)
    if not force:
        refuse_losses(source.name, before, after)
    if not chosen and not before:
        quotes = sorted({item.quote for item in listed if item.quote})
        raise ConfigError(
            f"none of the {len(listed):,} instruments that {source.provider} lists meets the conditions of {source.name}",
            fix=f"correct `discover`; prices are in {', '.join(quotes[:20])}" if quotes else "correct `discover`",
        )
    if after != before:
        discovered.write(path, after)
    codes = {entry.code for entry in after}
    return Refreshed(path, len(listed), len(chosen), len(codes), changes)


def choose(listed: Sequence[Instrument], conditions: Discovery, source: SourceSettings) -> list[Instrument]:
    """The instruments that meet all conditions, by code.

    Raises:
        ConfigError: `top` is asked for and the vendor tells no turnover.
    """
    wanted: dict[str, Instrument] = {}
    for item in listed:
        code = item.symbol.code
        if (
            (not conditions.quote or item.quote.upper() in conditions.quote)
            and (item.active or not conditions.active)
            and (conditions.asset_class is None or item.symbol.asset_class is conditions.asset_class)
            and (conditions.perpetuals or not code.endswith(_PERPETUAL))
            and (conditions.match is None or re.search(conditions.match, code))
            and code not in conditions.exclude
        ):
            if unsafe(item.vendor) or unsafe(item.symbol.exchange):
                log.warning(
                    "%s: %s is left out: its spelling %r would be run as a formula", source.name, code, item.vendor
                )
            elif code not in wanted or item.active:
                wanted[code] = item
    if conditions.top is not None and wanted:
        known = [item for item in wanted.values() if item.turnover is not None]
        if not known:
            raise ConfigError(
                f"{source.provider} tells no turnover of what it lists", fix=f"leave `top` out of source {source.name}"
            )
        # Of two with the same turnover the first of the alphabet, whatever the vendor's order is.
        largest = sorted(known, key=lambda item: (-(item.turnover or 0), item.symbol.code))[: conditions.top]
        wanted = {item.symbol.code: item for item in largest}
    return [wanted[code] for code in sorted(wanted)]
