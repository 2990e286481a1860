"""Which series a record belongs to: DBN has a number for each instrument, and its header a symbol for each number and day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from gb_pipeline.market.symbol import AssetClass, Symbol

# A contract as CME writes it, with one digit for its year: ESH1.
_CONTRACT = re.compile(r"([A-Z0-9]{1,5})([FGHJKMNQUVXZ])([0-9])")
_FUTURES, _OPTIONS = ("GLBX.", "IFEU.", "IFUS.", "IFLL.", "NDEX.", "XEUR.", "XEEE."), ("OPRA.",)
_CALENDARS = {"GLBX.": "CMES", "IFUS.": "IEPA", "XEUR.": "XETR", "XEEE.": "XETR"}


@dataclass(frozen=True, slots=True)
class Interval:
    """That a number means a symbol on the days [first, end)."""

    instrument: int
    symbol: str
    first: date
    end: date

    @property
    def nanoseconds(self) -> tuple[int, int]:
        """The same in nanoseconds since 1970, UTC."""
        epoch = date(1970, 1, 1).toordinal()
        return tuple((day.toordinal() - epoch) * 86_400_000_000_000 for day in (self.first, self.end))  # type: ignore[return-value]


def read_intervals(header: Any) -> list[Interval]:
    """What the numbers of a file mean; both directions of Databento's symbology are understood."""
    numbers_first = str(header.stype_in) == "instrument_id"
    intervals = []
    for name, parts in header.mappings.items():
        for part in parts:
            number, symbol = (name, part["symbol"]) if numbers_first else (part["symbol"], name)
            if str(number).isdecimal() and symbol:
                intervals.append(Interval(int(number), str(symbol), part["start_date"], part["end_date"]))
    return intervals


def asset_class_of(dataset: str) -> AssetClass:
    """What a dataset of Databento has."""
    if dataset.startswith(_FUTURES):
        return AssetClass.FUTURE
    return AssetClass.OPTION if dataset.startswith(_OPTIONS) else AssetClass.EQUITY


def calendar_of(dataset: str) -> str:
    """The sessions of a dataset: New York's for shares and their options."""
    return next((name for prefix, name in _CALENDARS.items() if dataset.startswith(prefix)), "XNYS")


def canonical(interval: Interval, asset_class: AssetClass) -> Symbol:
    """The symbol as a lake spells it: `ESH1` of 2020 is ESH21.

    Raises:
        InvalidSymbol: it is none of this kind, such as a spread.
    """
    text = interval.symbol.strip().upper()
    contract = _CONTRACT.fullmatch(text)
    if asset_class is AssetClass.FUTURE and contract is not None:
        # The next year that ends so: contracts are listed less than ten years ahead.
        year = interval.first.year + (int(contract[3]) - interval.first.year) % 10
        text = f"{contract[1]}{contract[2]}{year % 100:02}"
    return Symbol.of(text, asset_class)
