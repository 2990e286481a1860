"""This module asks a vendor which instruments there are; every question leaves its row in `fetches`.

It fetches lists, searches, and looks codes up. What becomes of an answer is decided in `discovery`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.ingest.recorder import ask_vendor
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.providers.base import Instrument, InstrumentsProvider, Provider, SearchProvider
from gb_pipeline.providers.registry import build_provider

T = TypeVar("T")
# In `fetches`, of a question that is about no symbol in particular.
EVERY = "*"


def fetch_list(
    store: LakeStore, source: SourceSettings, *, turnover: bool = False, provider: Provider | None = None
) -> list[Instrument]:
    """Everything that the vendor lists.

    Args:
        store: whose ledger the question is kept in.
        source: whose vendor.
        turnover: ask for the turnovers as well.
        provider: instead of the one that the settings name; it is not closed.

    Raises:
        ConfigError: the provider has no list.
        VendorError: it could not be had.
    """
    return _run(store, source, provider, lambda vendor: _fetch_list(store, source, vendor, turnover=turnover))


def find(store: LakeStore, source: SourceSettings, text: str, *, provider: Provider | None = None) -> list[Instrument]:
    """What the vendor lists, or finds, under a text: in the code, its own spelling or the name; the best first.

    Raises:
        ConfigError: the provider has neither a list nor a search.
        VendorError: it could not be asked.
    """

    async def ask(vendor: Provider) -> list[Instrument]:
        if isinstance(vendor, SearchProvider):
            # The vendor knows best what is meant.
            return await ask_vendor(store, source, vendor.search(text), kind="search", symbol=EVERY)
        return _match(await _fetch_list(store, source, vendor), text.strip().casefold())

    return _run(store, source, provider, ask)


def look_up(
    store: LakeStore, source: SourceSettings, codes: Collection[str], *, provider: Provider | None = None
) -> Mapping[str, Instrument | None] | None:
    """What the vendor says about these codes: an instrument, or None for one that it does not know.

    Returns:
        By code; None where the vendor has neither a list nor a search.

    Raises:
        VendorError: it could not be asked.
    """

    async def ask(vendor: Provider) -> dict[str, Instrument | None] | None:
        if isinstance(vendor, InstrumentsProvider):
            listed = {item.symbol.code: item for item in await _fetch_list(store, source, vendor)}
            return {code: listed.get(code) for code in codes}
        if not isinstance(vendor, SearchProvider):
            return None
        answers: dict[str, Instrument | None] = {}
        for code in codes:
            hits = await ask_vendor(store, source, vendor.search(code), kind="search", symbol=EVERY)
            answers[code] = next((item for item in hits if item.symbol.code == code), None)
        return answers

    return _run(store, source, provider, ask)


def _match(instruments: list[Instrument], text: str) -> list[Instrument]:
    """Those that hold the text, `btcusd` for `BTC-USD` included; the same code first, then codes that begin with it."""
    plain = _plain(text)

    def rank(item: Instrument) -> tuple[int, str]:
        code = item.symbol.code.casefold()
        exact = text in {code, item.vendor.casefold()}
        return (0 if exact else 1 if code.startswith(text) else 2), code

    hits = [
        item
        for item in instruments
        if text in f"{item.symbol.code}\n{item.vendor}\n{item.name}".casefold()
        or (plain and plain in _plain(item.symbol.code.casefold()))
    ]
    return sorted(hits, key=rank)


async def _fetch_list(
    store: LakeStore, source: SourceSettings, vendor: Provider, *, turnover: bool = False
) -> list[Instrument]:
    if not isinstance(vendor, InstrumentsProvider):
        raise ConfigError(
            f"{source.provider} has no list of what it offers", fix=f"list the symbols of {source.name} in gb.yaml"
        )
    return await ask_vendor(store, source, vendor.instruments(turnover=turnover), kind="instruments", symbol=EVERY)


def _run(
    store: LakeStore, source: SourceSettings, given: Provider | None, question: Callable[[Provider], Awaitable[T]]
) -> T:
    async def ask() -> T:
        provider = given or build_provider(source, state_dir=store.storage.state)
        try:
            return await question(provider)
        finally:
            if given is None:
                await provider.aclose()

    return asyncio.run(ask())


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text)
