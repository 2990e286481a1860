"""What a symbol means to a strategy: who stands under it at the clock, without what came to be known later."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from gb_pipeline.lake import instruments
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.listed_instrument import ListedInstrument, find_listed
from gb_pipeline.reading.pins import newest_moment


class ListedAtClock:
    """The instruments of a lake as a simulation knows them.

    Args:
        lake: that knows them.
        source: whose symbols are meant; None for any.
        as_of: what is known, but by a strict portal; None for what the lake knows now, which stays so.
        strict: only what the lake knew at the clock.
    """

    def __init__(self, lake: Lake, source: str | None, as_of: datetime | None, *, strict: bool) -> None:
        """Nothing is read yet."""
        self._lake = lake
        self._source = source
        self._strict = strict
        self._known_at = as_of or newest_moment(lake.store.tables, [instruments.TABLE])
        self._versions: pl.DataFrame | None = None
        self._by_code: dict[str, pl.DataFrame] = {}
        self._order: Sequence[str] = ()
        # What was answered on one day of the simulation.
        self._answers: dict[tuple[str, date], ListedInstrument] = {}
        self._answered_on: date | None = None

    def find(self, code: str, day: date, now: datetime, day_of_now: date) -> ListedInstrument:
        """Who stood under a symbol on a day, as it is known at the clock.

        Raises:
            UnknownSeries: nobody did.
            ReadError: sources disagree on who it was.
        """
        if self._strict:
            return self._find(code, day, now, day_of_now)
        if self._answered_on != day_of_now:
            self._answers.clear()
            self._answered_on = day_of_now
        answer = self._answers.get((code, day))
        if answer is None:
            answer = self._answers[code, day] = self._find(code, day, now, day_of_now)
        return answer

    def _find(self, code: str, day: date, now: datetime, day_of_now: date) -> ListedInstrument:
        if self._versions is None:
            self._versions = instruments.history(self._lake.store.tables)
            self._order = [fact.name for fact in self._lake.source_facts]
        if code not in self._by_code:
            of_code = instruments.instruments_of(self._versions, [code])
            # Where there is none, what resembles it is looked for among all.
            self._by_code[code] = of_code if of_code.height else self._versions
        known = instant_literal(min(now, self._known_at) if self._strict else self._known_at)
        ended = pl.col("superseded_at")
        rows = self._by_code[code].filter(pl.col("known_at") <= known, ended.is_null() | (ended > known))
        # Whoever comes later is not there yet, also where an exchange has announced it.
        rows = rows.filter(pl.col("valid_from") <= day_of_now)
        return find_listed(rows, code, day, self._source, self._order).known_on(day_of_now)
