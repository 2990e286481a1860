"""`FuturesReader`, the method of a lake that reads a chain of futures as one series; `market.continuous` computes it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError, ReadError, UnknownSeries
from gb_pipeline.lake import instruments
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.continuous import Join, continuous
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.rolls import ROLLS, RollRule, make_rolls, sorted_chain
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.symbology import OWN, believed
from gb_pipeline.reading.arguments import EARLIEST, LATEST, Moment, between, moment, named_source
from gb_pipeline.reading.floats import to_floats
from gb_pipeline.reading.instrument_reader import InstrumentReader
from gb_pipeline.reading.request import refuse_options

# The roll that is a table in the lake.
STORED = "stored"
_CONTRACT = ("symbol", "expiry", "first_notice", "tick_size", "multiplier", "currency", "exchange", "instrument")
_NEEDED = ("symbol", "timestamp", "open", "high", "low", "close", "volume")


class FuturesReader(InstrumentReader):
    """Continuous futures of a lake."""

    def continuous(
        self,
        contracts: pl.DataFrame | str,
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
            contracts: the root of a chain whose contracts the lake knows (`instruments`), such as `ES`; or a frame of your own:
                `symbol`, `expiry` (Date, last session) and, if goods are delivered, `first_notice` (Date).
            resolution, start, end: as in `bars`.
            roll: `calendar`, `volume`, `open_interest`; `stored` for the table that `LakeStore.write_rolls` keeps for the root; or
                a table `session, from_symbol, to_symbol` of your own, such as `gb_pipeline.make_rolls` returns, corrected where
                you know better.
            days_before: sessions before the last one, see `make_rolls`.
            measures: `symbol`, `session`, `open_interest` for rolling by it; volumes are those of the bars.
            join: `none`, `ratio` (returns are those of who rolls) or `difference` (Panama).
            anchor: `end` leaves the newest prices of the answer as traded, `start` the first ones.
            depth: 0 for the front contract, 1 for the one behind it, and so on.
            calendar: to whose sessions bars belong.
            as_float: prices and volumes as Float64.
            options: `source`, `as_of` and `settled_only` of `bars`; `as_of` holds for contracts and stored rolls as well.

        Returns:
            `symbol` (the contract that the bar is of), `timestamp` (Datetime us UTC), `open, high, low, close, volume`; sorted by
            timestamp. Volumes are as traded. Nothing that is stored changes.

        Raises:
            ConfigError: an argument that cannot be used.
            UnknownSeries: no contract of the root is known, or no table of rolls is stored for it.
            ReadError: two contracts have no session in common before a roll; and what `bars` raises.

        Example:
            >>> contracts = pl.DataFrame({"symbol": ["ESZ13", "ESH14"], "expiry": [date(2013, 12, 20), date(2014, 3, 21)]})
            >>> lake.continuous(contracts, "1d", roll="volume", join="ratio", calendar="CMES")
        """
        refuse_options(options, "columns", "adjustment", "resample")
        kind = Resolution.parse(resolution)
        trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
        root = contracts if isinstance(contracts, str) else None
        if isinstance(contracts, str):
            contracts = self.contracts(contracts, source=options.get("source"), as_of=options.get("as_of"))
        if isinstance(roll, str) and roll == STORED:
            roll = self._stored_rolls(root, options.get("as_of"))
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

    def contracts(self, root: str, *, source: str | None = None, as_of: Moment | None = None) -> pl.DataFrame:
        """The chain of a root, from what the lake knows of instruments.

        Args:
            root: such as `ES`.
            source: as which their bars are stored; what several sources say of one contract counts once.
            as_of: what was known at this moment.

        Returns:
            `symbol`, `expiry`, `first_notice` (Date; null where nothing is delivered or it was not told), `tick_size`, `multiplier`
            (Decimal), `currency`, `exchange`, `instrument`; in the order of expiry.

        Raises:
            UnknownSeries: no contract of this root is known.
            ReadError: a contract has no expiry.

        Example:
            >>> lake.contracts("ES").select("symbol", "expiry", "multiplier")
        """
        rows = instruments.read(self._store.tables, as_of=moment(as_of, self._context.clock))
        futures = rows.filter(pl.col("asset_class") == AssetClass.FUTURE.value)
        chain = believed(futures, named_source(source), self._context.priority()).filter(pl.col("root") == root)
        if chain.is_empty():
            near = near_names(root, futures["root"].drop_nulls().unique().sort())
            fix = did_you_mean(near, "tell the lake of its contracts: gb instruments import FILE")
            raise UnknownSeries(f"no contract of {root[:80]!r} is known", near=near, fix=fix)
        # Of a contract that was renamed the newest symbol.
        chain = chain.sort("rank", "valid_from").unique("instrument", keep="last", maintain_order=True)
        without = chain.filter(pl.col("expiry").is_null())
        if without.height:
            raise ReadError(
                f"the expiry of {without['symbol'][0]} is not known", fix="tell the lake: gb instruments import FILE"
            )
        return chain.sort("expiry", "symbol").select(_CONTRACT)

    def _stored_rolls(self, root: str | None, as_of: Moment | None) -> pl.DataFrame:
        if root is None:
            raise ConfigError("stored rolls belong to a root", fix="name it instead of the contracts, such as 'ES'")
        table = self.rolls(root, as_of=as_of)
        if table.is_empty():
            raise UnknownSeries(f"no table of rolls of {root} is stored", fix="store one: LakeStore.write_rolls")
        sources = table["source"].unique().sort().to_list()
        chosen = OWN if OWN in sources else sources[0]
        if chosen != OWN and len(sources) > 1:
            raise ReadError(
                f"{' and '.join(sources)} have tables of rolls of {root}", fix="pass the one that you mean: Lake.rolls"
            )
        return table.filter(pl.col("source") == chosen).select(ROLLS.names())


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
