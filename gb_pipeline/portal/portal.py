"""`DataPortal`, what a strategy asks for prices while its simulation runs: nothing that its clock has not reached exists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError, LookAhead
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import INSTANT, from_microseconds, microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.portal.bars_at_clock import BarsAtClock
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.portal.known_actions import ActionsAtClock, KnownActions
from gb_pipeline.portal.listed import ListedAtClock
from gb_pipeline.portal.loading import BarLoader, known_until
from gb_pipeline.portal.look_ahead import Attempt, to_frame
from gb_pipeline.portal.market import find_market
from gb_pipeline.portal.price_factors import ADJUSTMENTS, PriceFactors
from gb_pipeline.portal.visible import Floats
from gb_pipeline.portal.windows import HistoryWindow, OnGap, windows_to_frame
from gb_pipeline.reading.arguments import Moment, Symbols, moment, named_symbols, required_moment
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.listed_instrument import ListedInstrument

FIELDS = ("open", "high", "low", "close", "volume")
# A window is asked for at every step of a simulation.
MOST_BARS = 100_000
_EVERY_FIELD = (*FIELDS, "trade_count", "vwap")


class DataPortal:
    """Bars of one market as they exist at the clock of a simulation.

    A bar exists once it is closed; with `strict`, once this lake knew it as well, and in the version that was known then. What a
    portal answers was known when it was made: whoever writes to the lake meanwhile changes no answer.

    Example:
        >>> clock = SimulationClock("2024-01-02T21:00Z")
        >>> portal = DataPortal(lake, clock, ["AAPL", "MSFT"], "1d", calendar="XNYS")
        >>> portal.current("AAPL", "close")
        185.64
        >>> portal.history(["AAPL", "MSFT"], "close", bar_count=20).shape
        (40, 3)
    """

    def __init__(
        self,
        lake: Lake | BarReader,
        clock: SimulationClock,
        symbols: Symbols,
        resolution: Resolution | str,
        *,
        source: str | None = None,
        fields: Sequence[str] = FIELDS,
        adjustment: str | None = None,
        calendar: Calendar | str | None = None,
        on_gap: str = "null",
        strict: bool = False,
        clip: bool = False,
        as_of: Moment | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            lake: an open lake, or what `Lake.replay` returns, which reads a pin.
            clock: the present of the simulation; may be shared with other portals.
            symbols: one or several; only these can be asked for.
            resolution: of the stored bars that are read, such as `1m`.
            source: as in `Lake.bars`.
            fields: prices and volumes that are held in memory.
            adjustment: None for prices as they are stored; `splits` for prices in shares of the clock's day: a split is applied
                from its ex date on, never before; `splits+dividends` with cash dividends reinvested as well, each from its ex
                date on, at the close before it. Prices of the clock's day are as traded.
            calendar: of the market; by default that of the source in gb.yaml.
            on_gap: what a window of history does where a bar is missing: `null`, `ffill`, `skip` or `error`.
            strict: also leave out what this lake had not yet known at the clock, which includes everything that was fetched
                later, and splits and dividends of which it was told later; a lake only.
            clip: answer a question about the future with what exists, instead of `LookAhead`. It is listed by `audit` either way.
            as_of: read what was known at this moment; by default now.

        Raises:
            ConfigError: an argument that cannot be used, or no calendar is known.
        """
        names = named_symbols(symbols) or []
        if not names:
            raise ConfigError("a portal needs symbols", fix="name those that the strategy asks for")
        unknown = [name for name in fields if name not in _EVERY_FIELD]
        if unknown:
            raise ConfigError(f"{unknown[0]!r:.40} is no number of a bar", fix=f"choose from {', '.join(_EVERY_FIELD)}")
        if adjustment is not None and adjustment not in ADJUSTMENTS:
            raise ConfigError(
                f"{adjustment!r:.40} is not an adjustment of a portal",
                fix=f"use {' or '.join(ADJUSTMENTS)}, or leave it out",
            )
        if (strict or adjustment) and not isinstance(lake, Lake):
            raise ConfigError("strict and adjusted reading need the lake itself", fix="pass what Lake.open returns")
        self.clock = clock
        self._clip = clip
        self._on_gap = OnGap.parse(on_gap)
        kind = Resolution.parse(resolution)
        known_at = moment(as_of)
        if known_at is None and isinstance(lake, Lake):
            known_at = known_until(lake, kind)
        as_known = strict and adjustment is not None
        if as_known and kind in {Resolution.WEEK, Resolution.MONTH}:
            raise ConfigError(f"a strict portal adjusts no bars of {kind}", fix="use daily bars, or leave strict out")
        factors, actions = None, None
        if adjustment is not None and isinstance(lake, Lake):
            factors = PriceFactors.read(lake, names, kind, source, adjustment, known_at)
            if as_known and known_at is not None:
                factors = None
                actions = ActionsAtClock(KnownActions.of(lake, names, kind, source, adjustment, known_at))
        market = find_market(lake, names, source, calendar, known_at)
        held = tuple(dict.fromkeys(("close", *fields)))
        hours = market.calendar, market.alignment
        loader = BarLoader(lake, source, kind, kind, held, known_at, *hours, factors, strict, as_known)
        self._bars = BarsAtClock(loader, market, names, clock, actions)
        self._attempts: list[Attempt] = []
        self._market = market
        asked_as_of = moment(as_of)
        self._listed = ListedAtClock(lake, source, asked_as_of, strict=strict) if isinstance(lake, Lake) else None

    @property
    def symbols(self) -> list[str]:
        """What can be asked for, in the order in which it was named."""
        return list(self._bars.symbols)

    def current(
        self, symbols: Symbols, fields: str | Sequence[str] = "close"
    ) -> float | dict[str, float] | pl.DataFrame:
        """Numbers of the newest bar that exists; `is_stale` says whether the market has moved on since.

        Args:
            symbols, fields: one or several of each.

        Returns:
            A float for one symbol and one field; a dict by symbol for several symbols and one field, by field for one symbol and
            several fields; for several of both a frame `symbol`, `timestamp` (the bar's open, Datetime us UTC) and a Float64
            column per field. NaN where no bar exists yet, or it has no such number.

        Example:
            >>> portal.current(["AAPL", "MSFT"], "close")
            {'AAPL': 185.64, 'MSFT': 370.87}
        """
        if isinstance(fields, str):
            if isinstance(symbols, str):
                return self._bars.newest(symbols, fields)
            if isinstance(symbols, Symbol):
                return self._bars.newest(symbols.code, fields)
            return {name: self._bars.newest(name, fields) for name in self._named(symbols)}
        if isinstance(symbols, str | Symbol):
            [name] = self._named(symbols)
            return {field: self._bars.newest(name, field) for field in fields}
        rows = [
            (name, self._bars.newest_open(name), *(self._bars.newest(name, field) for field in fields))
            for name in self._named(symbols)
        ]
        schema = {"symbol": pl.String(), "timestamp": pl.Int64(), **dict.fromkeys(fields, pl.Float64())}
        return pl.DataFrame(rows, schema, orient="row").cast({"timestamp": INSTANT})

    def history(
        self,
        symbols: Symbols,
        fields: str | Sequence[str] = "close",
        bar_count: int = 20,
        frequency: Resolution | str | None = None,
        *,
        on_gap: str | None = None,
    ) -> pl.DataFrame:
        """The newest bars that exist, as a frame.

        Args:
            bar_count: bars that the calendar expects, or, with `on_gap="skip"`, bars that exist; at least 1.
            frequency: of the bars; by default the portal's resolution. Longer ones are made of those, by sessions; one that is
                not over does not exist.
            on_gap: what stands where a bar is missing; by default as the portal was made. A forward fill takes the close of
                an earlier bar, never of a later one.

        Returns:
            `symbol`, `timestamp` (the bar's open, Datetime us UTC) and a Float64 column per field, in the order of the symbols,
            then of time. Null where there is no number.

        Raises:
            GapInWindow: a bar is missing and `on_gap` is `error`.
            ConfigError: a symbol, field or frequency that the portal does not have.

        Example:
            >>> portal.history("AAPL", ["open", "close"], 5, "1d")
        """
        chosen = [fields] if isinstance(fields, str) else list(fields)
        return windows_to_frame(self._windows(symbols, chosen, bar_count, frequency, on_gap), chosen)

    def history_array(
        self,
        symbols: Symbols,
        field: str = "close",
        bar_count: int = 20,
        frequency: Resolution | str | None = None,
        *,
        on_gap: str | None = None,
    ) -> tuple[npt.NDArray[np.datetime64], Floats]:
        """The same for loops that want arrays.

        Args:
            symbols, bar_count, frequency, on_gap: as in `history`; but `skip`, under which each symbol has moments of its own.

        Returns:
            Opens (datetime64[us], UTC, shape (bars,)) and numbers (float64, shape (bars, symbols)).

        Example:
            >>> opens, closes = portal.history_array(["AAPL", "MSFT"], "close", 20)
            >>> closes.mean(axis=0)
        """
        if OnGap.parse(on_gap or self._on_gap) is OnGap.SKIP:
            raise ConfigError("an array has one row for all symbols", fix="use `history`, or another on_gap")
        windows = [window for _, window in self._windows(symbols, [field], bar_count, frequency, on_gap)]
        values = np.empty((len(windows[0].opens), len(windows)))
        for number, window in enumerate(windows):
            values[:, number] = window.values[field]
        return windows[0].opens.view("datetime64[us]"), values

    def bars(self, symbols: Symbols, start: Moment, end: Moment, fields: Sequence[str] = FIELDS) -> pl.DataFrame:
        """Bars that exist and open in [start, end), as `history` returns them.

        Raises:
            LookAhead: the range ends after the clock, and the portal does not clip.
        """
        names = self._named(symbols)
        self._bars.check_fields(fields)
        first, last = (microseconds(required_moment(edge)) for edge in (start, end))
        if last > self.clock.microseconds:
            self._look_ahead("bars", names, last)
        return windows_to_frame(self._bars.between(names, fields, first, last), fields)

    def can_trade(self, symbols: Symbols) -> bool | dict[str, bool]:
        """Whether the market is open at the clock, and the symbol has had a bar and is not delisted by then."""
        return self._by_symbol(symbols, self._bars.is_tradable)

    def is_stale(self, symbols: Symbols) -> bool | dict[str, bool]:
        """Whether the newest bar that the calendar expects to be closed by now does not exist."""
        return self._by_symbol(symbols, self._bars.is_stale)

    def symbol(self, code: Symbol | str, when: Moment | None = None) -> ListedInstrument:
        """Who stands under a symbol, as a simulation knows it: no later change of a symbol, and no end that lies after the clock.

        Args:
            code: any symbol, also one that the portal has no bars of.
            when: a day that the clock has reached; that of the clock, on the exchange's wall clock, by default.

        Returns:
            The instrument; its `symbol` is the one of that day. With `strict` only what the lake knew at the clock.

        Raises:
            UnknownSeries: nobody stood under it then.
            LookAhead: `when` lies after the clock, and the portal does not clip.
            ReadError: sources disagree on who it was.
            ConfigError: the portal reads a pin, which has no instruments.

        Example:
            >>> portal.symbol("FB").instrument == portal.symbol("FB", "2012-06-01").instrument
            True
        """
        if self._listed is None:
            raise ConfigError("a pin has bars and no instruments", fix="make the portal of what Lake.open returns")
        [name] = named_symbols(code) or []
        today = self._market.day(self.clock.now)
        asked = None if when is None else required_moment(when)
        if asked is not None and microseconds(asked) > self.clock.microseconds and asked.date() > today:
            self._look_ahead("symbol", [name], microseconds(asked))
        day = today if asked is None else min(asked.date(), today)
        return self._listed.find(name, day, self.clock.now, today)

    def audit(self) -> pl.DataFrame:
        """Every attempt to look ahead so far.

        Returns:
            `clock` (Datetime us UTC), `method`, `symbols`, `asked_until` (Datetime us UTC), `answer` (`refused` or `clipped`).
        """
        return to_frame(self._attempts)

    def _windows(
        self,
        symbols: Symbols,
        fields: Sequence[str],
        bar_count: int,
        frequency: Resolution | str | None,
        on_gap: str | None,
    ) -> list[tuple[str, HistoryWindow]]:
        names = self._named(symbols)
        self._bars.check_fields(fields)
        if not isinstance(bar_count, int | np.integer) or not 1 <= bar_count <= MOST_BARS:
            raise ConfigError(f"a window of {bar_count} bars", fix=f"ask for 1 to {MOST_BARS:,}; `bars` has no limit")
        policy = self._on_gap if on_gap is None else OnGap.parse(on_gap)
        kind = None if frequency is None else Resolution.parse(frequency)
        return self._bars.windows(names, fields, bar_count, kind, policy)

    def _by_symbol(self, symbols: Symbols, answer: Callable[[str], bool]) -> bool | dict[str, bool]:
        names = self._named(symbols)
        if isinstance(symbols, str | Symbol):
            return answer(names[0])
        return {name: answer(name) for name in names}

    def _named(self, symbols: Symbols) -> list[str]:
        names = named_symbols(symbols) or []
        self._bars.check_symbols(names)
        return names

    def _look_ahead(self, method: str, names: Sequence[str], until: int) -> None:
        """Keep the attempt, and refuse it unless what exists is an answer."""
        answer = "clipped" if self._clip else "refused"
        asked = from_microseconds(until)
        self._attempts.append(Attempt(self.clock.now, method, list_some(names), asked, answer))
        if not self._clip:
            raise LookAhead(
                f"{method} was asked for {list_some(names)} until {asked.isoformat()}, at {self.clock.now.isoformat()}",
                fix="ask for what lies before the clock, or make the portal with clip=True",
            )
