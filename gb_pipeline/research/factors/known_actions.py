"""Splits and dividends as a lake knew them in any session: what a strict pipeline adjusts its prices by.

At each moment they are what `PriceFactors` reads as of it, dividends at the close before their ex date as that was known then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl

from gb_pipeline.lake import corporate_actions
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.price_factors import PriceFactors
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.factors.timeline import Timeline


@dataclass(frozen=True)
class KnownActions:
    """The actions of some symbols, at any moment.

    Attributes:
        lake, resolution, source, adjustment: as in `PriceFactors.read`.
        versions: by symbol, `symbol, ex_date, known_at, superseded_at` of what was told at any moment.
    """

    lake: Lake
    resolution: Resolution
    source: str | None
    adjustment: str
    versions: Mapping[str, pl.DataFrame]
    _read: dict[tuple[str, int], PriceFactors] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        lake: Lake,
        symbols: Sequence[str],
        resolution: Resolution,
        source: str | None,
        adjustment: str,
        until: datetime,
    ) -> KnownActions:
        """Of what was known until a moment."""
        rows = corporate_actions.history(lake.store.tables, source, list(symbols), None)
        rows = rows.filter(pl.col("known_at") <= until).select("symbol", "ex_date", "known_at", "superseded_at")
        versions = {str(code): own for (code,), own in rows.partition_by("symbol", as_dict=True).items()}
        return cls(lake, resolution, source, adjustment, versions)

    def changes(self, symbol: str, timeline: Timeline) -> set[int]:
        """The positions of the sessions from which on prices of a symbol may be told otherwise."""
        own = self.versions.get(symbol)
        if own is None:
            return set()
        effective = np.searchsorted(timeline.days, own["ex_date"].to_physical().to_numpy())
        moments = (own["known_at"], own["superseded_at"].fill_null(own["known_at"]))
        told = (np.searchsorted(timeline.opens, each.to_physical().to_numpy()) for each in moments)
        # What is told after its ex date changes nothing before it was told, not even where a series begins.
        return {int(place) for each in told for place in np.maximum(effective, each)}

    def read(self, wanted: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], PriceFactors]:
        """What was known of some symbols, each at a moment (microseconds since 1970); symbols that never had any are left out."""
        by_moment: dict[int, set[str]] = {}
        for symbol, moment in wanted:
            if symbol in self.versions and (symbol, moment) not in self._read:
                by_moment.setdefault(moment, set()).add(symbol)
        for moment, symbols in by_moment.items():
            found = PriceFactors.read(
                self.lake, sorted(symbols), self.resolution, self.source, self.adjustment, from_microseconds(moment),
                only_told=True,
            )  # fmt: skip
            self._read.update({(symbol, moment): found for symbol in symbols})
        return self._read
