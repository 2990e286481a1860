"""Splits and dividends as a lake knew them at any moment: what strict pipelines and portals adjust prices by.

At each moment they are what `PriceFactors` reads as of it, dividends at the close before their ex date as that was known then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.price_factors import ADJUSTMENTS, Conversion, Floats, Integers, PriceFactors
from gb_pipeline.reading.lake import Lake


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

    def changes(self, symbol: str, days: npt.NDArray[np.int32], opens: Integers) -> set[int]:
        """The positions of the sessions from which on prices of a symbol may be told otherwise.

        Args:
            days, opens: of the sessions, days and microseconds since 1970.
        """
        own = self.versions.get(symbol)
        if own is None:
            return set()
        effective = np.searchsorted(days, own["ex_date"].to_physical().to_numpy())
        moments = (own["known_at"], own["superseded_at"].fill_null(own["known_at"]))
        told = (np.searchsorted(opens, each.to_physical().to_numpy()) for each in moments)
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


@dataclass(frozen=True, slots=True)
class DatedConversion(Conversion):
    """The same, for bars of which it is known on which day they lie.

    Attributes:
        ex_dates: days since 1970, sorted.
    """

    ex_dates: Integers

    def apply(self, name: str, stretches: Integers, numbers: Floats) -> Floats:
        """Numbers of bars that lie on these days since 1970."""
        return Conversion.apply(self, name, np.searchsorted(self.ex_dates, stretches, side="right"), numbers)


class ActionsAtClock:
    """What turns stored prices into those of a day, by what was known at the moment; of each symbol the newest is kept."""

    def __init__(self, known: KnownActions) -> None:
        """Nothing is read yet."""
        self._known = known
        self._counts_closes = ADJUSTMENTS[known.adjustment].dividends is not None
        self._told: dict[str, Integers] = {}
        self._newest: dict[str, tuple[tuple[int, int], PriceFactors]] = {}

    def conversion(self, symbol: str, day: date, moment: int) -> Conversion | None:
        """How bars are told on a day; None where there is nothing to do.

        Args:
            moment: microseconds since 1970.
        """
        if symbol not in self._known.versions:
            return None
        # Where nothing is told of a symbol, the same is known; closes, which dividends are reinvested at, until the day ends.
        day_known = moment // 86_400_000_000 if self._counts_closes else 0
        state = day_known, int(np.searchsorted(self._moments(symbol), moment, side="right"))
        kept = self._newest.get(symbol)
        if kept is None or kept[0] != state:
            own = self._known
            factors = PriceFactors.read(
                own.lake,
                [symbol],
                own.resolution,
                own.source,
                own.adjustment,
                from_microseconds(moment),
                only_told=True,
            )
            kept = self._newest[symbol] = state, factors
        found = kept[1].conversion(symbol, day)
        if found is None:
            return None
        ex_dates = pl.Series(kept[1].factors[symbol].ex_dates, dtype=pl.Date).to_physical().cast(pl.Int64).to_numpy()
        return DatedConversion(found.prices, found.volumes, ex_dates)

    def _moments(self, symbol: str) -> Integers:
        """When the lake was told something of a symbol's actions, and where closes count, of its sessions."""
        if symbol not in self._told:
            own = self._known
            actions = own.versions[symbol]
            told = [actions["known_at"], actions["superseded_at"].drop_nulls()]
            if self._counts_closes:
                sessions = ledger.scan(
                    own.lake.store.tables, own.source, own.resolution, [symbol], columns=["symbol", "known_at"]
                )
                told.append(sessions.collect()["known_at"])
            self._told[symbol] = pl.concat(told).unique().sort().to_physical().to_numpy()
        return self._told[symbol]
