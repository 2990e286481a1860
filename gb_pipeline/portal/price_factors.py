"""Splits and dividends as a simulation meets them: prices are in shares of the clock's day, and know of no later ex date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import EARLIEST, LATEST
from gb_pipeline.reading.dividends import SeriesFactors, read_factors
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.plan import Question
from gb_pipeline.reading.price_adjustment import PriceAdjustment, Reinvested
from gb_pipeline.reading.series import stored_series

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# A dividend is reinvested at the close before its ex date: that of the ex date is not known while it lasts.
ADJUSTMENTS = {
    "splits": PriceAdjustment(),
    "splits+dividends": PriceAdjustment(dividends=Reinvested.PREVIOUS_CLOSE),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """Prices and volumes of one series in terms of a day; each array has a number per stretch between ex dates.

    Attributes:
        prices, volumes: what they are multiplied by, and what then divided by; one of both is 1.
    """

    prices: tuple[Floats, Floats]
    volumes: tuple[Floats, Floats]

    def apply(self, name: str, stretches: Integers, numbers: Floats) -> Floats:
        """Numbers of bars that lie in these stretches; `trade_count` is left alone."""
        if name == "trade_count":
            return numbers
        times, by = self.volumes if name == "volume" else self.prices
        return numbers * times[stretches] / by[stretches]


@dataclass(frozen=True)
class PriceFactors:
    """The splits, and where they count the dividends, of some symbols.

    Attributes:
        adjustment: what is done to prices.
        factors: by symbol, of those that have any.
    """

    adjustment: PriceAdjustment
    factors: Mapping[str, SeriesFactors]
    _made: dict[tuple[str, int], Conversion] = field(default_factory=dict, repr=False)

    @classmethod
    def read(
        cls,
        lake: Lake,
        symbols: Sequence[str],
        resolution: Resolution,
        source: str | None,
        adjustment: str,
        as_of: datetime | None,
        *,
        only_told: bool = False,
    ) -> PriceFactors:
        """Those that a lake knows, or knew at a moment.

        Args:
            only_told: take what was told by then for all there is, whoever had been asked.

        Raises:
            UnknownSeries: the corporate actions of a symbol were never fetched.
            ReadError: dividends are not known, or one is as large as the price.
            ConfigError: bars of a symbol come from several sources, each with actions of its own.
        """
        wanted = ADJUSTMENTS[adjustment]
        if not only_told:
            # Raises where nobody has ever asked.
            lake.corporate_actions(list(symbols), source=source, kind="split", as_of=as_of)
        factors: dict[str, SeriesFactors] = {}
        for name, codes in _by_source(lake, symbols, resolution, source).items():
            question = Question(tuple(codes), resolution, Window(EARLIEST, LATEST), name, as_of)
            factors |= read_factors(
                lake.store.tables, question, name, codes, wanted, lake.store.clock(), from_ex_dates=True,
                only_told=only_told,
            )  # fmt: skip
        return cls(wanted, factors)

    def stretches(self, symbol: str, sessions: pl.Series) -> Integers:
        """How many ex dates each session has behind it."""
        own = self.factors.get(symbol)
        if own is None:
            return np.zeros(len(sessions), np.int64)
        ex_dates = pl.Series(own.ex_dates, dtype=pl.Date)
        return ex_dates.search_sorted(sessions.fill_null(strategy="forward"), side="right").cast(pl.Int64).to_numpy()

    def last_stretch(self, symbol: str) -> int:
        """The stretch after the last ex date that is known."""
        return len(self.factors[symbol].ex_dates) if symbol in self.factors else 0

    def paid_since_last_session(self, symbol: str) -> float:
        """What prices are multiplied by for dividends behind the last stored session, which no bar of a lake has in it."""
        own = self.factors.get(symbol)
        if own is None or own.sessions.is_empty():
            return 1.0
        return float(own.dividends[int(self.stretches(symbol, own.sessions["session"][-1:])[0])])

    def conversion(self, symbol: str, day: date) -> Conversion | None:
        """How bars of any stretch are told on a day; None where there is nothing to do."""
        own = self.factors.get(symbol)
        if own is None:
            return None
        at = int(self.stretches(symbol, pl.Series([day]))[0])
        if (symbol, at) not in self._made:
            shares = [own.splits[at] / each for each in own.splits]
            # The cumulated numbers run from a stretch to the end; the quotient is what lies between both.
            prices = [share * each / own.dividends[at] for share, each in zip(shares, own.dividends, strict=True)]
            self._made[symbol, at] = Conversion(_split_up(prices), _split_up([1 / share for share in shares]))
        return self._made[symbol, at]


def _by_source(lake: Lake, symbols: Sequence[str], resolution: Resolution, source: str | None) -> dict[str, list[str]]:
    """The symbols by the source that has their bars."""
    stored = stored_series(lake.store.tables, resolution, list(symbols), source)
    stored = stored.filter(pl.col("symbol").is_in(list(symbols)))
    several = stored.filter(pl.col("source").n_unique().over("symbol") > 1)
    if several.height:
        code = several["symbol"][0]
        names = " and ".join(several.filter(pl.col("symbol") == code)["source"].sort())
        raise ConfigError(
            f"{code} is stored of {names}, and each tells its splits and dividends for its own prices",
            fix="name the source of an adjusted portal",
        )
    parts = stored.partition_by("source", as_dict=True)
    return {str(name): rows["symbol"].to_list() for (name,), rows in parts.items()}


def _split_up(factors: Sequence[Fraction]) -> tuple[Floats, Floats]:
    """What to multiply by and what to divide by: a tenth has no float, and 1208 / 10 is nearer to 120.8 than 1208 * 0.1."""
    times = [float(factor) if factor >= 1 else 1.0 for factor in factors]
    by = [float(1 / factor) if factor < 1 else 1.0 for factor in factors]
    return np.array(times), np.array(by)
