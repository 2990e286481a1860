"""This module reads kept answers about companies again, compares them with what the lake holds, and puts right what differs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.lake import fundamentals
from gb_pipeline.lake.fundamentals import FundamentalsReport, compare_fundamentals
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.provenance.stored_responses import StoredResponse, find_answers, normalise_again, read_bodies
from gb_pipeline.providers.base import FundamentalsProvider, Provider
from gb_pipeline.providers.registry import build_provider


@dataclass(frozen=True, slots=True)
class FundamentalsReplayed:
    """What became of the newest kept answer about one company.

    Attributes:
        symbol: canonical code.
        report: what reading it again would change, or with `write` has changed: rows that the lake lacks are `new`, those that
            differ `restated`; None where it cannot be read.
        problem: why it cannot be read: nothing was kept, it is damaged, or the provider no longer understands it.
    """

    symbol: str
    report: FundamentalsReport | None
    problem: GbError | None = None

    @property
    def differs(self) -> bool:
        """Whether the lake holds something else than the answer says."""
        return self.report is not None and bool(self.report.new or self.report.restated or self.report.withdrawn)


def replay_fundamentals(
    store: LakeStore,
    source: SourceSettings,
    symbols: Sequence[Symbol | str] | None = None,
    *,
    provider: Provider | None = None,
    write: bool = False,
    run_id: str | None = None,
) -> list[FundamentalsReplayed]:
    """Read the newest kept answer about each company again and compare it with what is stored. No request is made.

    Args:
        store: the lake.
        source: whose answers.
        symbols: all symbols of the source of which there is an answer by default.
        provider: instead of the one that the settings name.
        write: whether differences are put right, as a fetch would: the versions before stay.
        run_id: kept with what is refused.

    Raises:
        ConfigError: the source's provider cannot be built, or knows no fundamentals.
        LakeError: the lake cannot be written.
    """
    codes = [str(symbol) for symbol in (source.instruments if symbols is None else symbols)]
    reader = provider or build_provider(source)
    try:
        if not isinstance(reader, FundamentalsProvider):
            raise ConfigError(f"source {source.name}: {reader.name} knows no fundamentals", fix="name another source")
        newest = {item.symbol: item for item in find_answers(store.tables, source.name, fundamentals.TABLE, codes)}
        named = codes if symbols is not None else [code for code in codes if code in newest]
        return [_replay(store, source, reader, code, newest.get(code), write=write, run_id=run_id) for code in named]
    finally:
        if provider is None:
            asyncio.run(reader.aclose())


def _replay(
    store: LakeStore,
    source: SourceSettings,
    reader: FundamentalsProvider,
    code: str,
    response: StoredResponse | None,
    *,
    write: bool,
    run_id: str | None,
) -> FundamentalsReplayed:
    if response is None:
        problem = ConfigError(f"fundamentals of {code} were never fetched", fix="fetch them: gb fundamentals fetch")
        return FundamentalsReplayed(code, None, problem)
    symbol = Symbol.of(code, source.asset_class)
    try:
        bodies = read_bodies(store, response)
        normaliser = reader.normaliser if isinstance(reader, Provider) else ""
        frame = normalise_again(normaliser, response, lambda: reader.normalise_fundamentals(symbol, bodies))
    except GbError as error:
        return FundamentalsReplayed(code, None, error)
    if write:
        report = store.write_fundamentals(source.name, code, frame, fetched_at=response.fetched_at, run_id=run_id)
    else:
        tagged = frame.with_columns(pl.lit(code).alias("symbol"))
        report = compare_fundamentals(store.tables, source.name, [code], tagged, {code: response.fetched_at})
    return FundamentalsReplayed(code, report)
