"""Splits as a simulation meets them: prices of a window are in shares of the clock's day, and know nothing of a later split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

import numpy as np
import polars as pl

from gb_pipeline.market.adjust import as_fraction
from gb_pipeline.portal.visible import Floats
from gb_pipeline.reading.lake import Lake


@dataclass(frozen=True)
class Splits:
    """The splits of some symbols.

    Attributes:
        ex_dates: by symbol, sorted.
        products: by symbol: how many shares one share of the beginning is, first 1, then from each ex date on.
    """

    ex_dates: Mapping[str, Sequence[date]]
    products: Mapping[str, Floats]

    @classmethod
    def read(cls, lake: Lake, symbols: Sequence[str], source: str | None, as_of: datetime | None) -> Splits:
        """Those that a lake knows.

        Raises:
            UnknownSeries: the corporate actions of a symbol were never fetched.
        """
        rows = lake.corporate_actions(list(symbols), source=source, kind="split", as_of=as_of)
        ex_dates: dict[str, list[date]] = {}
        products: dict[str, Floats] = {}
        for (symbol,), splits in rows.sort("symbol", "ex_date").partition_by("symbol", as_dict=True).items():
            product, steps = Fraction(1), [1.0]
            for to, of in splits.select("split_to", "split_from").iter_rows():
                product *= as_fraction(to, of)
                steps.append(float(product))
            ex_dates[str(symbol)] = splits["ex_date"].to_list()
            products[str(symbol)] = np.array(steps)
        return cls(ex_dates, products)

    def factors(self, symbol: str, sessions: pl.Series) -> Floats:
        """For each session, how many shares one share of the beginning is."""
        days = self.ex_dates.get(symbol)
        if days is None:
            return np.ones(len(sessions))
        steps = pl.Series(days, dtype=pl.Date).search_sorted(sessions.fill_null(strategy="forward"), side="right")
        factors: Floats = self.products[symbol][steps.to_numpy()]
        return factors

    def at(self, symbol: str, day: date) -> float:
        """The same for one day."""
        return float(self.factors(symbol, pl.Series([day]))[0])
