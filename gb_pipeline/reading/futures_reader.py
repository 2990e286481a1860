"""`FuturesReader`, the method of a lake that reads a chain of futures as one series; `market.continuous` computes it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.continuous import Join, continuous
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.rolls import RollRule, make_rolls, sorted_chain
from gb_pipeline.reading.arguments import EARLIEST, LATEST, Moment, between
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.floats import to_floats
from gb_pipeline.reading.request import refuse_options

_NEEDED = ("symbol", "timestamp", "open", "high", "low", "close", "volume")


class FuturesReader(BarReader):
    """Continuous futures of a lake."""

    def continuous(
        self,
        contracts: pl.DataFrame,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        roll: RollRule | str | pl.DataFrame = RollRule.CALENDAR,
        days_before: int = 0,
        measures: pl.DataFrame | None = None,
        join: Join | str = Join.NONE,
        anchor: str = "end",
        depth: int = 0,
        calendar: Calendar | str,
        as_float: bool = False,
        **options: Any,
    ) -> pl.DataFrame:
        """The bars of the front contract, or of one behind it, as one series.

        Args:
            contracts: the chain: `symbol`, `expiry` (Date, last session) and, if goods are delivered, `first_notice` (Date).
            resolution, start, end: as in `bars`.
            roll: `calendar`, `volume`, `open_interest`, or a table `session, from_symbol, to_symbol` of your own, such as
                `gb_pipeline.make_rolls` returns, corrected where you know better.
            days_before: sessions before the last one, see `make_rolls`.
            measures: `symbol`, `session`, `open_interest` for rolling by it; volumes are those of the bars.
            join: `none`, `ratio` (returns are those of who rolls) or `difference` (Panama).
            anchor: `end` leaves the newest prices of the answer as traded, `start` the first ones.
            depth: 0 for the front contract, 1 for the one behind it, and so on.
            calendar: to whose sessions bars belong.
            as_float: prices and volumes as Float64.
            options: `source`, `as_of` and `settled_only` of `bars`.

        Returns:
            `symbol` (the contract that the bar is of), `timestamp` (Datetime us UTC), `open, high, low, close, volume`; sorted by
            timestamp. Volumes are as traded. Nothing that is stored changes.

        Raises:
            ConfigError: an argument that cannot be used.
            ReadError: two contracts have no session in common before a roll; and what `bars` raises.

        Example:
            >>> contracts = pl.DataFrame({"symbol": ["ESZ13", "ESH14"], "expiry": [date(2013, 12, 20), date(2014, 3, 21)]})
            >>> lake.continuous(contracts, "1d", roll="volume", join="ratio", calendar="CMES")
        """
        refuse_options(options, "columns", "adjustment", "resample")
        kind = Resolution.parse(resolution)
        trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
        codes = sorted_chain(contracts)["symbol"].to_list()
        window = between(start, end, self._context.clock)
        # Which contract is the front one at the beginning follows from what was traded before.
        first = window.start if isinstance(roll, pl.DataFrame) or roll == RollRule.CALENDAR else EARLIEST
        last = None if window.end == LATEST else window.end
        rows = self.bars(codes, kind, None if first == EARLIEST else first, last, columns=_NEEDED, **options)
        rows = rows.with_columns(trading.session_of(rows["timestamp"], kind).alias("session")).drop_nulls("session")
        table = roll if isinstance(roll, pl.DataFrame) else None
        if table is None:
            table = make_rolls(
                contracts, _sessions(rows, contracts, trading), roll,  # type: ignore[arg-type]
                days_before=days_before, measures=_measures(rows, str(roll), measures),
            )  # fmt: skip
        rows = rows.filter(pl.col("timestamp") >= window.start)
        made = continuous(rows, table, codes, join=join, anchor=anchor, depth=depth).select(_NEEDED)
        return to_floats(made.lazy(), made.schema).collect() if as_float else made


def _sessions(rows: pl.DataFrame, contracts: pl.DataFrame, calendar: Calendar) -> list[date]:
    """The trading days of the bars and of the contracts, and some after."""
    if rows.is_empty():
        raise ConfigError("no bar of these contracts lies in a session of the calendar", fix="name their calendar")
    days = pl.concat([rows["session"], contracts["expiry"].cast(pl.Date)]).unique().sort().to_list()
    first, last = days[0], days[-1] + timedelta(days=10)
    begin, end = calendar.first or first, calendar.end or last
    return calendar.sessions(max(first, begin), min(last, end))


def _measures(rows: pl.DataFrame, rule: str, given: pl.DataFrame | None) -> pl.DataFrame | None:
    if rule != RollRule.VOLUME or given is not None:
        return given
    return rows.group_by("symbol", "session").agg(pl.col("volume").sum())
