"""One source's bars of one resolution, as Dagster sees them.

Belongs here: names of assets, jobs and groups, and which symbol an asset key stands for. One dataset is one `@multi_asset`,
one schedule and one compaction asset. Does not belong here: what they do.

Names: an asset key is `[source, "bars_1m", symbol]`; whatever Dagster names with one word is `source_bars_1m`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import dagster as dg

from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import bar_table
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.partitions import Partitioning


@dataclass(frozen=True)
class Dataset:
    """Bars of one resolution from one source."""

    source: SourceSettings
    resolution: Resolution

    @property
    def name(self) -> str:
        """`binance_bars_1m`."""
        return f"{self.source.name}_{self.resolution.table}"

    @property
    def table(self) -> str:
        """The Delta table that holds the rows, `bars_1m` or `bars_1m_wide`."""
        return bar_table(self.resolution, self.source.precision)

    @property
    def vendor(self) -> str:
        """Whose patience is limited: the exchange behind ccxt, else the provider."""
        own = self.source.name if self.source.provider == "ccxt" else self.source.provider
        return str(self.source.options.get("exchange") or own)

    @property
    def pool(self) -> str:
        """The pool that the vendor's runs share."""
        return f"vendor_{self.vendor}"

    @cached_property
    def partitioning(self) -> Partitioning:
        """How the history is cut."""
        return Partitioning.of(self.source, self.resolution)

    @cached_property
    def partitions(self) -> dg.TimeWindowPartitionsDefinition:
        """One definition for all series: Dagster refuses a backfill whose assets start on different days."""
        return self.partitioning.definition

    @cached_property
    def symbols(self) -> dict[dg.AssetKey, Symbol]:
        """The series by asset key, in the order of gb.yaml."""
        return {self.key(symbol): symbol for symbol in self.source.instruments}

    def key(self, symbol: Symbol, kind: str | None = None) -> dg.AssetKey:
        """The asset of one series, or something else that is made of it."""
        return dg.AssetKey([self.source.name, kind or self.resolution.table, symbol.code])


def datasets(settings: Settings) -> Iterator[Dataset]:
    """Every source and resolution of gb.yaml."""
    for source in settings.sources.values():
        for resolution in source.resolutions:
            yield Dataset(source, resolution)
