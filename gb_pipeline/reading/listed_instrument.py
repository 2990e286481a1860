"""`ListedInstrument`, what `Lake.symbol` and `DataPortal.symbol` find: an instrument as it was listed on a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from gb_pipeline.errors import ReadError, UnknownSeries
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.symbology import EARLIEST_DAY, believed, standing


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """Bars of an instrument that the lake holds: under `source`, `symbol` and `resolution`."""

    source: str
    symbol: str
    resolution: str


@dataclass(frozen=True, slots=True)
class ListedInstrument:
    """An instrument, as it was listed under one symbol.

    Attributes:
        instrument: its permanent id.
        symbol: under which it stood on the day.
        source: whose word it is; `own` is what the user of the lake said.
        valid_from: first day under this symbol; None where nobody says.
        valid_until: first day without it; None while it stands, or where a simulation does not know yet.
        asset_class, name, exchange, currency, vendor_symbol, vendor_id, composite_figi, share_class_figi, isin: None where nobody
            told.
        root, expiry, first_notice, tick_size, multiplier: of a future; expiry and the last two also of others that have them.
        underlying, option_right, strike: of an option.
        series: bars that the lake holds of it on the day.
    """

    instrument: str
    symbol: str
    source: str
    valid_from: date | None
    valid_until: date | None
    asset_class: str
    name: str | None = None
    exchange: str | None = None
    currency: str | None = None
    vendor_symbol: str | None = None
    vendor_id: str | None = None
    composite_figi: str | None = None
    share_class_figi: str | None = None
    isin: str | None = None
    root: str | None = None
    expiry: date | None = None
    first_notice: date | None = None
    tick_size: Decimal | None = None
    multiplier: Decimal | None = None
    underlying: str | None = None
    option_right: str | None = None
    strike: Decimal | None = None
    series: tuple[StoredSeries, ...] = ()

    @classmethod
    def of(cls, row: dict[str, Any]) -> ListedInstrument:
        """From a row of `lake.instruments`."""
        chosen = {item.name: row[item.name] for item in fields(cls) if item.name in row}
        if chosen["valid_from"] == EARLIEST_DAY:
            chosen["valid_from"] = None
        return cls(**chosen)

    def known_on(self, day: date) -> ListedInstrument:
        """Without an end that lies after a day: nobody knew of it then."""
        ended_later = self.valid_until is not None and self.valid_until > day
        return replace(self, valid_until=None) if ended_later else self


def find_listed(rows: pl.DataFrame, code: str, day: date, source: str | None, order: Sequence[str]) -> ListedInstrument:
    """The instrument that stood under a symbol on a day.

    Args:
        rows: of all sources, as they are known at the moment in question.
        source: whose symbols are meant; None for any.
        order: of the sources, the one that is asked first at the beginning.

    Raises:
        UnknownSeries: none did; the fix says when one does, or what resembles the symbol.
        ReadError: sources disagree.
    """
    holding = believed(rows, source, order)
    found = standing(holding, code, day).sort("rank", "source")
    ids = found["instrument"].unique(maintain_order=True).to_list()
    if len(ids) > 1:
        told = " and ".join(
            f"{row['instrument']} ({row['name'] or row['exchange'] or row['asset_class']}) of {row['source']}"
            for row in found.unique("instrument", keep="first", maintain_order=True).rows(named=True)
        )
        raise ReadError(f"{code} was several instruments on {day}: {told}", fix="name the source whose symbol is meant")
    if not ids:
        raise _not_listed(holding, code, day)
    return ListedInstrument.of(found.row(0, named=True))


def _not_listed(rows: pl.DataFrame, code: str, day: date) -> UnknownSeries:
    of_symbol = rows.filter(pl.col("symbol") == code).sort("valid_from")
    if of_symbol.is_empty():
        near = near_names(code, rows["symbol"].unique().sort())
        fix = did_you_mean(near, "tell the lake of it: gb instruments import FILE, or gb instruments fetch SOURCE")
        return UnknownSeries(f"no instrument is known that ever stood under {code[:80]}", near=near, fix=fix)
    spans = [
        f"{'' if first == EARLIEST_DAY else first} .. {last or ''}".strip()
        for first, last in of_symbol.select("valid_from", "valid_until").rows()
    ]
    return UnknownSeries(
        f"no instrument stood under {code} on {day}",
        near=[],
        fix=f"ask for a day of {', '.join(spans[-3:])} (end exclusive)",
    )
