"""`BarLoader`, how the bars of a portal are read from a lake, and when each of them begins to exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from gb_pipeline.errors import NoDataInRange
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, FETCHES, SESSIONS, bars_dataset
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import INSTANT, from_microseconds, microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, Precision
from gb_pipeline.market.window import instant
from gb_pipeline.portal.price_factors import PriceFactors
from gb_pipeline.portal.visible import NEVER, Versions
from gb_pipeline.portal.windows import Grid
from gb_pipeline.reading.arguments import EARLIEST, LATEST
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pins import Replay, newest_moment
from gb_pipeline.reading.price_adjustment import PriceAdjustment

# A year inside of what bars can have, as calendars and windows reach beyond their ends.
FIRST_MOMENT, LAST_MOMENT = microseconds(EARLIEST.replace(year=2)), microseconds(LATEST.replace(year=9998))
_PRICES = (*PRICES, "vwap")
_LONGEST = {Resolution.DAY: timedelta(days=1), Resolution.WEEK: timedelta(days=7), Resolution.MONTH: timedelta(days=31)}


@dataclass(frozen=True)
class BarLoader:
    """How the bars of one frequency are read.

    Attributes:
        reader: a lake, or what a pin names.
        source, resolution, as_of: what is read.
        frequency: of the bars; `resolution`, or a longer one that is made of it.
        fields: prices and volumes.
        calendar, alignment: of the market.
        factors: that prices are adjusted by; None leaves them as they are stored.
        strict: take every version of a bar, each from when it was known.
        by_day: say of each bar in which session it lies, days since 1970, instead of how many ex dates it has behind it.
    """

    reader: BarReader
    source: str | None
    resolution: Resolution
    frequency: Resolution
    fields: tuple[str, ...]
    as_of: datetime | None
    calendar: Calendar
    alignment: str
    factors: PriceFactors | None
    strict: bool
    by_day: bool = False

    def read(self, symbols: Sequence[str], start: int, end: int) -> dict[str, Versions]:
        """Versions of the bars that open in [start, end), by symbol; nothing for a symbol without one.

        Raises:
            UnknownSeries: a symbol that the lake does not have.
        """
        if isinstance(self.reader, Replay) and self.reader.pin.window is not None:
            pinned = self.reader.pin.window
            start, end = max(start, microseconds(pinned.start)), min(end, microseconds(pinned.end))
            if start >= end:
                return {}
        window = from_microseconds(start), from_microseconds(end)
        frame = self._read_versions(symbols, *window) if self.strict else self._read_present(symbols, *window)
        if frame.is_empty():
            return {}
        stamps = frame["timestamp"]
        closes = self.bar_closes(stamps)
        frame = frame.with_columns(
            holds_from=pl.max_horizontal(closes, pl.col("known_at")) if self.strict else closes,
        )
        parts = frame.sort("symbol", "timestamp", "holds_from", maintain_order=True).partition_by(
            "symbol", as_dict=True
        )
        return {str(code): self._to_versions(str(code), rows) for (code,), rows in parts.items()}

    def earliest(self, symbols: Sequence[str]) -> dict[str, int]:
        """By symbol, a moment before which no bar of it opens."""
        if isinstance(self.reader, Lake):
            known = self.reader.symbols(self.source, self.resolution).select("symbol", "start")
        else:
            rows = self.reader.bars(list(symbols), self.resolution, source=self.source, columns=["symbol", "timestamp"])
            known = rows.select("symbol", start="timestamp")
        firsts = dict(known.group_by("symbol").agg(pl.col("start").min()).drop_nulls().iter_rows())
        # A longer bar opens before its first part.
        return {
            symbol: microseconds(firsts[symbol] - timedelta(days=32)) if symbol in firsts else LAST_MOMENT
            for symbol in symbols
        }

    def _read_present(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        try:
            rows = self.reader.bars(
                list(symbols),
                self.resolution,
                start,
                end,
                source=self.source,
                columns=["symbol", "timestamp", *self.fields],
                as_of=self.as_of,
                as_float=True,
                adjustment=self._read_as,
                resample=None if self.frequency is self.resolution else self.frequency,
                calendar=self.calendar if self.frequency is not self.resolution else None,
            )
        except NoDataInRange:
            return pl.DataFrame()
        return rows.with_columns(holds_until=pl.lit(NEVER))

    def _read_versions(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame:
        """Every version, from the feed of changes: applied in their order they give the bars of each moment."""
        assert isinstance(self.reader, Lake)
        changes = self.reader.changes(
            None, self.source, list(symbols), self.resolution, start, end, until=self.as_of
        ).sort("symbol", "timestamp", "known_at", maintain_order=True)
        bar = ["symbol", "timestamp"]
        ends = pl.col("known_at").shift(-1).over(bar).cast(pl.Int64)
        return (
            changes.with_columns(holds_until=ends.fill_null(NEVER))
            .filter(pl.col("kind") != "removed")
            .select(*bar, "known_at", "holds_until", *(pl.col(f"new_{name}").alias(name) for name in self.fields))
            .with_columns(pl.col(self.fields).cast(pl.Float64))
            # A version that another one replaced before the bar was closed never held.
            .filter(pl.col("holds_until") > pl.col("timestamp").cast(pl.Int64))
        )

    def _to_versions(self, symbol: str, rows: pl.DataFrame) -> Versions:
        opens = rows["timestamp"].cast(pl.Int64).to_numpy()
        stretches = np.zeros(len(opens), np.int64)
        paid = 1.0
        if self.factors is not None and self._spans_ex_dates:
            stretches += self.factors.last_stretch(symbol)
            paid = self.factors.paid_since_last_session(symbol)
        elif self.factors is not None:
            sessions = self.calendar.session_of(rows["timestamp"], self.frequency)
            stretches = self.factors.stretches(symbol, sessions)
        elif self.by_day:
            sessions = self.calendar.session_of(rows["timestamp"], self.frequency).fill_null(strategy="forward")
            stretches = sessions.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
        return Versions(
            opens,
            rows["holds_from"].cast(pl.Int64).to_numpy(),
            rows["holds_until"].to_numpy(),
            {
                name: rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
                * (paid if name in _PRICES else 1.0)
                for name in self.fields
            },
            stretches,
        )

    @property
    def _spans_ex_dates(self) -> bool:
        """Whether a bar can hold days of before and after an ex date: such bars are made of adjusted ones."""
        return self.frequency in {Resolution.WEEK, Resolution.MONTH}

    @property
    def _read_as(self) -> PriceAdjustment | str | None:
        """What `Lake.bars` does to prices; the rest is done at each clock."""
        if self.factors is None:
            return None
        return self.factors.adjustment if self._spans_ex_dates else "raw"

    @property
    def calendar_begins(self) -> int:
        """The first moment that the calendar may expect a bar at."""
        first = self.calendar.first
        return FIRST_MOMENT if first is None else max(FIRST_MOMENT, microseconds(instant(first)))

    def bar_closes(self, stamps: pl.Series) -> pl.Series:
        """When each bar is closed; a day that the calendar does not know, when its UTC day is over."""
        longest = _LONGEST.get(self.frequency, timedelta(days=1))
        return self.calendar.bar_ends(stamps, self.frequency).fill_null(pl.Series(stamps + longest)).rename("closes")

    def grid(self, start: int, end: int) -> Grid:
        """The bars that the calendar expects to open in [start, end)."""
        days = [from_microseconds(edge).date() for edge in (start, end)]
        first = max(days[0], self.calendar.first or EARLIEST.date())
        last = min(days[1] + timedelta(days=3), self.calendar.end or LATEST.date())
        stamps = self.calendar.expected(first, max(first, last), self.frequency, self.alignment)["timestamp"]
        closes = self.bar_closes(stamps)
        return Grid(stamps.cast(INSTANT).cast(pl.Int64).to_numpy(), closes.cast(INSTANT).cast(pl.Int64).to_numpy())


def known_until(lake: Lake, resolution: Resolution) -> datetime:
    """The moment of the newest commit: what is read as of it never changes."""
    return newest_moment(lake.store.tables, answering_tables(resolution))


def answering_tables(resolution: Resolution) -> list[str]:
    """The names of the tables that answers about bars are made of."""
    names = [bars_dataset(resolution, precision).name for precision in Precision]
    return [*names, SESSIONS.name, CORPORATE_ACTIONS.name, FETCHES.name]
