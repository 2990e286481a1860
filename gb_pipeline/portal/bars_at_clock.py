"""`BarsAtClock`, the bars of some symbols that exist at the clock of a simulation, of one frequency or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import list_some
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.portal.known_actions import ActionsAtClock
from gb_pipeline.portal.loading import BarLoader
from gb_pipeline.portal.market import Market
from gb_pipeline.portal.memory import BarMemory
from gb_pipeline.portal.price_factors import Conversion
from gb_pipeline.portal.windows import HistoryWindow, OnGap, existing_window, expected_window


class BarsAtClock:
    """What exists, as numbers.

    Attributes:
        symbols: what is held, in the order in which it was named.
    """

    def __init__(
        self,
        loader: BarLoader,
        market: Market,
        symbols: Sequence[str],
        clock: SimulationClock,
        actions: ActionsAtClock | None = None,
    ) -> None:
        """Nothing is read but what the series are.

        Args:
            actions: instead of the loader's factors, those that were known at the clock.
        """
        self._actions = actions
        self.symbols = tuple(symbols)
        self._clock = clock
        self._loader = loader
        self._market = market
        self._factors = loader.factors
        self._earliest = loader.earliest(symbols)
        self._memory = BarMemory(loader, symbols, self._earliest)
        self._memories = {loader.resolution: self._memory}
        self._now: int | None = None
        self._conversions: dict[str, Conversion | None] = {}

    def check_fields(self, fields: Sequence[str]) -> None:
        """Refuse a field that is not held.

        Raises:
            ConfigError: it is not.
        """
        for field in fields:
            if field not in self._loader.fields:
                raise ConfigError(
                    f"the portal has no field {field!r:.40}",
                    fix=f"name it when the portal is made; it has {', '.join(self._loader.fields)}",
                )

    def check_symbols(self, names: Sequence[str]) -> None:
        """Refuse a symbol that is not held.

        Raises:
            ConfigError: it is not.
        """
        for name in names:
            if name not in self._memory.series:
                raise ConfigError(
                    f"the portal has no symbol {name}",
                    fix=f"name it when the portal is made; it has {list_some(self.symbols)}",
                )

    def arrive(self) -> None:
        """Come to the clock's moment, once for each."""
        now = self._clock.microseconds
        if now != self._now:
            self._memory.arrive(now)
            self._now = now
            self._conversions.clear()

    def newest(self, symbol: str, field: str) -> float:
        """A number of the newest bar; NaN without one."""
        self.arrive()
        try:
            bars = self._memory.newest(symbol)
            column = bars.versions.values[field]
        except KeyError:
            self.check_symbols([symbol])
            self.check_fields([field])
            raise
        if not bars.count:
            return float("nan")
        row = bars.position(bars.count - 1)
        number: float = column.item(row)
        conversion = self._conversion(symbol)
        if conversion is None:
            return number
        stretch = bars.versions.stretches[row : row + 1]
        return conversion.apply(field, stretch, column[row : row + 1]).item()

    def newest_open(self, symbol: str) -> int | None:
        """The open of the newest bar."""
        self.arrive()
        bars = self._memory.newest(symbol)
        return bars.open_of(-1) if bars.count else None

    def windows(
        self,
        names: Sequence[str],
        chosen: Sequence[str],
        bar_count: int,
        frequency: Resolution | None,
        policy: OnGap,
    ) -> list[tuple[str, HistoryWindow]]:
        """Of each symbol, the newest bars; see `DataPortal.history`."""
        self.arrive()
        memory = self._memory_of(frequency)
        if policy is OnGap.SKIP:
            return [
                (name, existing_window(memory.existing(name, bar_count), chosen, bar_count, self._conversion(name)))
                for name in names
            ]
        expected = memory.expected(bar_count)
        return [
            (
                name,
                expected_window(
                    name, memory.before(name, expected, policy), chosen, expected, policy, self._conversion(name)
                ),
            )
            for name in names
        ]

    def between(
        self, names: Sequence[str], fields: Sequence[str], first: int, last: int
    ) -> list[tuple[str, HistoryWindow]]:
        """Of each symbol, the bars that exist and open in [first, last)."""
        self.arrive()
        windows = []
        for name in names:
            bars = self._memory.since(name, first)
            window = existing_window(bars, fields, bars.count, self._conversion(name))
            inside = (window.opens >= first) & (window.opens < last)
            values = {field: column[inside] for field, column in window.values.items()}
            windows.append((name, HistoryWindow(window.opens[inside], values)))
        return windows

    def is_tradable(self, symbol: str) -> bool:
        """See `DataPortal.can_trade`."""
        now = self._clock.now
        self.arrive()
        return (
            self._memory.newest(symbol).count > 0 and self._market.is_listed(symbol, now) and self._market.is_open(now)
        )

    def is_stale(self, symbol: str) -> bool:
        """See `DataPortal.is_stale`."""
        self.arrive()
        expected = self._memory.expected(1)
        newest = self.newest_open(symbol)
        return newest is None or (len(expected) > 0 and newest < int(expected[-1]))

    def _memory_of(self, frequency: Resolution | None) -> BarMemory:
        kind = frequency or self._loader.resolution
        if kind not in self._memories:
            if self._loader.strict:
                raise ConfigError(
                    "strict reading has no longer bars: they would be made of versions of several moments",
                    fix=f"make a portal of stored {kind} bars, or leave strict out",
                )
            self._memories[kind] = BarMemory(replace(self._loader, frequency=kind), self.symbols, self._earliest)
        memory = self._memories[kind]
        memory.arrive(self._clock.microseconds)
        return memory

    def _conversion(self, symbol: str) -> Conversion | None:
        """What turns stored prices into those of the clock's day; None where they are left as they are stored."""
        if symbol not in self._conversions:
            day = self._market.day(self._clock.now)
            if self._actions is not None:
                self._conversions[symbol] = self._actions.conversion(symbol, day, self._clock.microseconds)
            else:
                self._conversions[symbol] = None if self._factors is None else self._factors.conversion(symbol, day)
        return self._conversions[symbol]
