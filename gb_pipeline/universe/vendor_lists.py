"""Asking a vendor which instruments there are; every question leaves its row in `fetches`.

Belongs here: lists, searches, and checking codes. Does not belong here: what becomes of the answer (`discovery`), vendors
(`providers`).
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


def listed(
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
    return _ask(store, source, provider, lambda asked: _listed(store, source, asked, turnover=turnover))


def find(store: LakeStore, source: SourceSettings, text: str, *, provider: Provider | None = None) -> list[Instrument]:
    """What the vendor lists, or finds, under a text: in the code, its own spelling or the name; the best first.

    Raises:
        ConfigError: the provider has neither a list nor a search.
        VendorError: it could not be asked.
    """

    async def ask(asked: Provider) -> list[Instrument]:
        if isinstance(asked, SearchProvider):
            # The vendor knows best what is meant.
            return await ask_vendor(store, source, asked.search(text), kind="search", symbol=EVERY)
        return _matching(await _listed(store, source, asked), text.strip().casefold())

    return _ask(store, source, provider, ask)


def known_to_vendor(
    store: LakeStore, source: SourceSettings, codes: Collection[str], *, provider: Provider | None = None
) -> Mapping[str, Instrument | None] | None:
    """What the vendor says about these codes: an instrument, or None for one that it does not know.

    Returns:
        By code; None where the vendor has neither a list nor a search.

    Raises:
        VendorError: it could not be asked.
    """

    async def ask(asked: Provider) -> dict[str, Instrument | None] | None:
        if isinstance(asked, InstrumentsProvider):
            listed = {item.symbol.code: item for item in await _listed(store, source, asked)}
            return {code: listed.get(code) for code in codes}
        if not isinstance(asked, SearchProvider):
            return None
        answers: dict[str, Instrument | None] = {}
        for code in codes:
            found = await ask_vendor(store, source, asked.search(code), kind="search", symbol=EVERY)
            answers[code] = next((item for item in found if item.symbol.code == code), None)
        return answers

    return _ask(store, source, provider, ask)


def _matching(found: list[Instrument], text: str) -> list[Instrument]:
    """Those that hold the text, `btcusd` for `BTC-USD` included; the same code first, then codes that begin with it."""
    plain = _plain(text)

    def rank(item: Instrument) -> tuple[int, str]:
        code = item.symbol.code.casefold()
        exact = text in {code, item.vendor.casefold()}
        return (0 if exact else 1 if code.startswith(text) else 2), code

    hits = [
        item
        for item in found
        if text in f"{item.symbol.code}\n{item.vendor}\n{item.name}".casefold()
        or (plain and plain in _plain(item.symbol.code.casefold()))
    ]
    return sorted(hits, key=rank)


async def _listed(
    store: LakeStore, source: SourceSettings, asked: Provider, *, turnover: bool = False
) -> list[Instrument]:
    if not isinstance(asked, InstrumentsProvider):
        raise ConfigError(
            f"{source.provider} has no list of what it offers", fix=f"list the symbols of {source.name} in gb.yaml"
        )
    return await ask_vendor(store, source, asked.instruments(turnover=turnover), kind="instruments", symbol=EVERY)


def _ask(
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
