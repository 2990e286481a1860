"""A stock that changes its ticker: under which one it stands at a moment, and whose bars a ticker has on a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import instant
from gb_pipeline.simulation.stock_sessions import midnight

_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class TickerChange:
    """A stock stands under `old` until `ex_date`, and from then on under `code`, by which the simulation lists it."""

    code: str
    old: str
    ex_date: date

    @property
    def at(self) -> int:
        """Epoch milliseconds of the midnight in New York at which the ticker changes."""
        return midnight(self.ex_date)


def make_ticker_change(code: str, body: Mapping[str, Any], listed: Sequence[str]) -> TickerChange:
    """A change from keyword arguments or JSON.

    Raises:
        ConfigError: it has no date or no old ticker, or that one is listed.
    """
    if set(body) != {"old", "ex_date"}:
        raise ConfigError(f"a ticker change of {code} has other fields", fix="give old and ex_date")
    old = Symbol.equity(body["old"]).code
    if old in listed:
        raise ConfigError(f"{old} is listed itself", fix="name a ticker that nobody has")
    return TickerChange(code, old, instant(body["ex_date"]).date())


@dataclass(frozen=True, slots=True)
class TickerChanges:
    """Those that are planted, at most one of a stock."""

    changes: tuple[TickerChange, ...] = ()

    def ticker(self, code: str, now: int) -> str:
        """Under which ticker a stock stands at a moment."""
        return next((each.old for each in self.changes if each.code == code and now < each.at), code)

    def events(self, code: str, first: date, now: int) -> list[tuple[date, str]]:
        """Every ticker that a stock has had by now, and since when, newest first."""
        for each in self.changes:
            if each.code == code:
                return [(each.ex_date, code)] * (now >= each.at) + [(first, each.old)]
        return [(first, code)]

    def stock(self, ticker: str) -> str:
        """Whose ticker it is or was."""
        return next((each.code for each in self.changes if each.old == ticker), ticker)

    def span(self, ticker: str) -> tuple[int, int]:
        """From when until when a stock stands under a ticker, epoch milliseconds."""
        for each in self.changes:
            if ticker in {each.old, each.code}:
                return (-_FOREVER, each.at) if ticker == each.old else (each.at, _FOREVER)
        return -_FOREVER, _FOREVER
