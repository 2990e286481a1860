"""Which market a portal's symbols trade on, and which of them are gone by a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.grid import CLOCK
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.lake import Lake


@dataclass(frozen=True)
class Market:
    """Its hours.

    Attributes:
        calendar, alignment: of its bars.
        delisted: the first day without the symbol, where it is known.
    """

    calendar: Calendar
    alignment: str
    delisted: Mapping[str, date]

    def day(self, moment: datetime) -> date:
        """The date on the exchange's wall clock."""
        return moment.astimezone(self.calendar.zone).date()

    def is_open(self, moment: datetime) -> bool:
        """Whether it trades at this instant."""
        stamps = pl.Series([moment], dtype=INSTANT)
        return bool(self.calendar.in_hours(stamps, Resolution.TICK)[0])

    def is_listed(self, symbol: str, moment: datetime) -> bool:
        """Whether the symbol is not known to be delisted by then."""
        gone = self.delisted.get(symbol)
        return gone is None or self.day(moment) < gone


def find_market(
    reader: BarReader,
    symbols: Sequence[str],
    source: str | None,
    calendar: Calendar | str | None,
    as_of: datetime | None,
) -> Market:
    """The market of some symbols.

    Args:
        calendar: its calendar; by default the one that all sources of the symbols share.

    Raises:
        ConfigError: they have several, or the lake knows none.
    """
    facts = [fact for fact in reader.source_facts if source in {None, fact.name}]
    if source is None and isinstance(reader, Lake):
        stored = reader.symbols().filter(pl.col("symbol").is_in(list(symbols)))["source"].unique().to_list()
        facts = [fact for fact in facts if fact.name in stored]
    alignments = {fact.alignment for fact in facts} or {CLOCK}
    if calendar is None:
        calendar = common_calendar(facts)
    if len(alignments) > 1:
        raise ConfigError("the sources of these symbols align their bars differently", fix="name one source")
    trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
    return Market(trading, alignments.pop(), _delistings(reader, symbols, source, as_of))


def common_calendar(facts: Sequence[SourceFacts]) -> Calendar:
    """The one calendar of some sources.

    Raises:
        ConfigError: they have several, or there are none.
    """
    calendars = {fact.trading_calendar for fact in facts}
    if not calendars:
        raise ConfigError("the lake knows no calendar of these symbols", fix="name it: calendar='XNYS'")
    if len(calendars) > 1:
        names = " and ".join(sorted(calendar.name for calendar in calendars))
        raise ConfigError(
            f"these symbols trade by several calendars: {names}",
            fix="make a portal for each, with the same clock, or name one source",
        )
    return calendars.pop()


def _delistings(
    reader: BarReader, symbols: Sequence[str], source: str | None, as_of: datetime | None
) -> dict[str, date]:
    if not isinstance(reader, Lake):
        return {}
    rows = reader.corporate_actions(source=source, kind="delisting", as_of=as_of)
    mine = rows.filter(pl.col("symbol").is_in(list(symbols)))
    return dict(mine.group_by("symbol").agg(pl.col("ex_date").max()).iter_rows())
