"""This module is the one way of corporate actions from a provider into the lake: of Dagster's assets, and of `gb actions fetch`.

It decides which symbols and days are asked for. Asking is in `corporate_actions`; fetching history again where a split-adjusting
vendor has changed it, in `splits`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.ingest.bars import refetch
from gb_pipeline.ingest.corporate_actions import ActionsOutcome, ask_actions, equities
from gb_pipeline.ingest.recorder import Recorder
from gb_pipeline.ingest.splits import settle_splits
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider, missing_credentials

# Dividends are announced up to years ahead; what is not announced yet costs nothing to ask for.
_AHEAD = timedelta(days=5 * 366)


def ingest_actions(
    store: LakeStore,
    source: SourceSettings,
    symbols: Sequence[Symbol | str] | None = None,
    start: date | None = None,
    end: date | None = None,
    *,
    provider: Provider | None = None,
    run_id: str | None = None,
) -> list[ActionsOutcome]:
    """Fetch corporate actions and store them; where a vendor adjusts its history, fetch again what a split changed.

    Args:
        store: where to; its clock is the present.
        source: whose actions.
        symbols: all equities of the source by default: nothing else has corporate actions.
        start, end: half-open range of ex dates: from the source's start to what has been announced by default.
        provider: instead of the one that the settings name; it is not closed.
        run_id: kept with refused rows and fetches.

    Returns:
        One outcome per symbol, in their order. Nothing raises for vendor trouble.

    Raises:
        ConfigError: the provider cannot be built, knows no corporate actions, or a credential is missing.
        LakeError: the lake cannot be written.

    Example:
        >>> ingest_actions(LakeStore.at("data"), settings.source("massive"), ["AAPL"])[0].new
        84
    """
    listed = {symbol.code: symbol for symbol in source.instruments}
    named = [Symbol.of(str(item), source.asset_class) for item in symbols or ()]
    chosen = [listed.get(item.code, item) for item in named]
    if symbols is None:
        chosen = equities(list(listed.values()))
    first = start or source.start
    last = end or store.clock().date() + _AHEAD
    if last <= first:
        raise ConfigError(f"the range {first} .. {last} of ex dates is empty", fix="end is the first day without")

    # Before anything is asked: without a key every symbol would fail, one by one.
    if provider is None and (missing := missing_credentials(source)):
        raise missing[0]

    recorder = Recorder(store, source, run_id)

    async def run() -> list[ActionsOutcome]:
        client = provider or build_provider(source, state_dir=store.storage.state)
        try:
            outcomes = await ask_actions(recorder, client, chosen, first, last)
            if client.adjustment is not Adjustment.SPLIT:
                return outcomes
            return await settle_splits(recorder, client, outcomes, refetch)
        finally:
            if provider is None:
                await client.aclose()

    return asyncio.run(run())
