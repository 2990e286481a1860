"""A series group is one source's bars of one resolution, as Dagster sees them: one multi-asset, one schedule, one compaction.

Here everything gets its name: assets, jobs, pools and Dagster's own groups. What they do is said elsewhere.

An asset key is `[source, "bars_1m", symbol]`; whatever Dagster names with one word is `source_bars_1m`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import dagster as dg

from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import corporate_actions, fundamentals, instruments, listings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import bar_table
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.partitions import Partitioning


@dataclass(frozen=True)
class SeriesGroup:
    """Bars of one resolution from one source."""

    source: SourceSettings
    resolution: Resolution

    @classmethod
    def of(cls, settings: Settings, source: str, resolution: Resolution | str) -> SeriesGroup:
        """The group that gb.yaml has under these names: what assets of one's own are built on.

        Raises:
            ConfigError: gb.yaml has no such source, or fetches no such bars of it.
            InvalidResolution: the text names no resolution.

        Example:
            >>> SeriesGroup.of(Settings.load(), "coinbase", "1m").name
            'coinbase_bars_1m'
        """
        group = cls(settings.source(source), Resolution.parse(str(resolution)))
        if group.resolution not in group.source.resolutions:
            raise ConfigError(
                f"source {source} has no {group.resolution} bars, only {', '.join(group.source.resolutions)}",
                fix="ask for one of them, or add it to the source's resolutions in gb.yaml",
            )
        return group

    @property
    def name(self) -> str:
        """`binance_bars_1m`."""
        return f"{self.source.name}_{self.resolution.table}"

    @property
    def daily_name(self) -> str:
        """The name of the schedule that fetches the newest session, and of its job."""
        return f"{self.name}_daily"

    @property
    def deferred_name(self) -> str:
        """The name of the sensor that fetches what was deferred, and of its job."""
        return f"{self.name}_deferred"

    @property
    def healing_name(self) -> str:
        """The name of the sensor that asks again for what failed or has gaps, and of its job."""
        return f"{self.name}_healing"

    @property
    def compaction_name(self) -> str:
        """The name of the job that merges the group's files."""
        return f"{self.name}_compaction"

    @property
    def dataset_key(self) -> dg.AssetKey:
        """`[source, "bars_1m"]`, the table of all series."""
        return dg.AssetKey([self.source.name, self.resolution.table])

    @property
    def compaction_key(self) -> dg.AssetKey:
        """`[source, "bars_1m_compaction"]`."""
        return dg.AssetKey([self.source.name, f"{self.resolution.table}_compaction"])

    @property
    def actions_key(self) -> dg.AssetKey:
        """`[source, "corporate_actions"]`, the same for all groups of a source."""
        return dg.AssetKey([self.source.name, corporate_actions.TABLE])

    @property
    def instruments_key(self) -> dg.AssetKey:
        """`[source, "instruments"]`, the same for all groups of a source."""
        return dg.AssetKey([self.source.name, instruments.TABLE])

    @property
    def fundamentals_key(self) -> dg.AssetKey:
        """`[source, "fundamentals"]`, the same for all groups of a source."""
        return dg.AssetKey([self.source.name, fundamentals.TABLE])

    @property
    def listings_key(self) -> dg.AssetKey:
        """`[source, "listings"]`, the same for all groups of a source."""
        return dg.AssetKey([self.source.name, listings.TABLE])

    @property
    def universe_key(self) -> dg.AssetKey:
        """`[source, "universe"]`, the same for all groups of a source whose symbols are discovered."""
        return dg.AssetKey([self.source.name, "universe"])

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

    def find_over(self, keys: Sequence[str], now: datetime) -> list[str]:
        """The partitions, of some, whose bars are all closed by now, so that they can be stored as a whole."""
        return self.partitioning.find_over(keys, now - timedelta(seconds=self.source.grace_seconds))

    @cached_property
    def symbols(self) -> dict[dg.AssetKey, Symbol]:
        """The series by asset key, in the order of gb.yaml."""
        return {self.key(symbol): symbol for symbol in self.source.instruments}

    def key(self, symbol: Symbol, kind: str | None = None) -> dg.AssetKey:
        """The asset of one series, or something else that is made of it."""
        return dg.AssetKey([self.source.name, kind or self.resolution.table, symbol.code])


def list_series_groups(settings: Settings) -> Iterator[SeriesGroup]:
    """Every source and resolution of gb.yaml."""
    for source in settings.sources.values():
        for resolution in source.resolutions:
            yield SeriesGroup(source, resolution)
