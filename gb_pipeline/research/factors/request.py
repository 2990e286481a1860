"""What a run reads and for whom: the arguments of `run_pipeline`, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.config.symbols.membership_intervals import MembershipInterval, by_code
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.grid import CLOCK
from gb_pipeline.market.moments import day_number
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.portal.known_actions import KnownActions
from gb_pipeline.portal.loading import known_until
from gb_pipeline.portal.market import common_calendar
from gb_pipeline.portal.price_factors import ADJUSTMENTS, PriceFactors
from gb_pipeline.portal.windows import OnGap
from gb_pipeline.reading.arguments import Moment, moment, named_symbols
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.series import stored_series
from gb_pipeline.research.factors.holders import Holders

AUTO = "auto"
# Where nothing is split.
_WITHOUT_SPLITS = {"24/7", "24/5", "FX"}
UniverseLike = str | Symbol | Sequence[str | Symbol] | pl.DataFrame | Mapping[str, Sequence[MembershipInterval]]


@dataclass(frozen=True)
class Universe:
    """Who is in, and when.

    Attributes:
        symbols: everybody who ever was.
        intervals: when; None for always.
        by_bars: whether who has a bar in the session before is in.
    """

    symbols: tuple[str, ...]
    intervals: Mapping[str, Sequence[MembershipInterval]] | None = None
    by_bars: bool = False

    def members(self, names: Sequence[str], days: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Who of some symbols is in at each session: shape (symbols, sessions)."""
        inside = np.zeros((len(names), len(days)), bool)
        known = set(self.symbols)
        for number, name in enumerate(names):
            if name not in known:
                continue
            if self.intervals is None:
                inside[number] = True
                continue
            for stay in self.intervals[name]:
                first = 0 if stay.joined is None else np.searchsorted(days, day_number(stay.joined))
                last = len(days) if stay.left is None else np.searchsorted(days, day_number(stay.left))
                inside[number, first:last] = True
        return inside


@dataclass(frozen=True)
class Market:
    """What is read of a lake.

    Attributes:
        lake, source, resolution: whose bars.
        universe: whose rows.
        names: of all symbols that are read, sorted; those of benchmarks too.
        stored: those of them that the lake has.
        calendar, alignment: of the sessions.
        factors: that prices are adjusted by; None leaves them as they are stored.
        known_actions: what takes their place in a strict run: the same as they were known in each session.
        holders: when symbols changed hands.
        on_gap: what a window does where a bar is missing.
        strict: leave out what the lake had not known when a session opened.
        as_of: the bars that are read were known at this moment.
        asked: the moment that was asked for; None for whatever is known now, in datasets as well.
        now: bars that are not closed by then do not exist.
    """

    lake: Lake
    source: str | None
    resolution: Resolution
    universe: Universe
    names: tuple[str, ...]
    stored: tuple[str, ...]
    calendar: Calendar
    alignment: str
    factors: PriceFactors | None
    known_actions: KnownActions | None
    holders: Holders
    on_gap: OnGap
    strict: bool
    as_of: datetime
    asked: datetime | None
    now: datetime

    @classmethod
    def open(
        cls,
        lake: Lake,
        universe: UniverseLike | None,
        benchmarks: Sequence[str],
        *,
        source: str | None,
        resolution: Resolution | str,
        calendar: Calendar | str | None,
        adjustment: str | None,
        on_gap: str,
        strict: bool,
        as_of: Moment | None,
    ) -> Market:
        """See `run_pipeline`."""
        kind = Resolution.parse(resolution)
        if kind in {Resolution.TICK, Resolution.WEEK, Resolution.MONTH}:
            raise ConfigError(f"a pipeline has a row per session, not per {kind}", fix="use resolution='1d'")
        if strict and kind is not Resolution.DAY:
            raise ConfigError("strict reading makes no days of shorter bars", fix="use resolution='1d'")
        policy = OnGap.parse(on_gap)
        asked = moment(as_of, lake.store.clock)
        now = asked or lake.store.clock()
        known_at = asked or known_until(lake, kind)
        # Who is stored is read from the files of bars: the ledger has a row for every session.
        series = stored_series(lake.store.tables, kind, source=source, as_of=asked)
        have = set(series["symbol"].to_list())
        chosen = _universe(universe, sorted(have))
        names = tuple(sorted({*chosen.symbols, *benchmarks}))
        needed = [*benchmarks, *(chosen.symbols if chosen.intervals is None else ())]
        unknown = [name for name in needed if name not in have]
        if unknown:
            raise UnknownSeries(
                f"no {kind} bars of {list_some(unknown)} are stored" + (f" of {source}" if source else ""),
                fix="`Lake.symbols()` lists what is; fetch them, or leave them out of the universe",
            )
        stored = tuple(name for name in names if name in have)
        if not stored:
            raise UnknownSeries(f"no {kind} bars of anybody in the universe are stored", fix="fetch them: gb update")
        trading, alignment = _hours(lake, stored, series, calendar)
        if adjustment == AUTO:
            adjustment = None if trading.name in _WITHOUT_SPLITS else "splits"
        known_actions = None
        if strict and adjustment is not None:
            known_actions = KnownActions.of(lake, stored, kind, source, adjustment, known_at)
        return cls(
            lake,
            source,
            kind,
            chosen,
            names,
            stored,
            trading,
            alignment,
            _factors(lake, stored, kind, source, adjustment, known_at),
            known_actions,
            Holders.of(lake, names, source, asked),
            policy,
            strict,
            known_at,
            asked,
            now,
        )


def _hours(
    lake: Lake, names: Sequence[str], series: pl.DataFrame, calendar: Calendar | str | None
) -> tuple[Calendar, str]:
    """The calendar that was named, or that of the sources of some symbols; and how their bars are aligned."""
    if calendar is not None:
        return get_calendar(calendar) if isinstance(calendar, str) else calendar, CLOCK
    own = series.filter(pl.col("symbol").is_in(list(names)))["source"].unique().to_list()
    facts = [fact for fact in lake.source_facts if fact.name in own]
    return common_calendar(facts), facts[0].alignment


def _factors(
    lake: Lake,
    names: Sequence[str],
    kind: Resolution,
    source: str | None,
    adjustment: str | None,
    known_at: datetime,
) -> PriceFactors | None:
    if adjustment is None:
        return None
    if adjustment not in ADJUSTMENTS:
        raise ConfigError(
            f"{adjustment!r:.40} is not an adjustment of a pipeline",
            fix=f"use {', '.join(ADJUSTMENTS)}, {AUTO}, or None for prices as they are stored",
        )
    try:
        return PriceFactors.read(lake, names, kind, source, adjustment, known_at)
    except UnknownSeries as error:
        raise UnknownSeries(
            error.what, near=error.near, fix=f"{error.fix}, or pass adjustment=None for prices as they are stored"
        ) from error


def _universe(given: UniverseLike | None, stored: Sequence[str]) -> Universe:
    if given is None:
        return Universe(tuple(stored), by_bars=True)
    if isinstance(given, pl.DataFrame):
        return _of_intervals(_read_intervals(given))
    if isinstance(given, Mapping):
        return _of_intervals({str(code): tuple(stays) for code, stays in given.items()})
    names = named_symbols(given) or []
    if not names:
        raise ConfigError("the universe is empty", fix="name symbols, or leave `universe` out for all of the source")
    return Universe(tuple(sorted(set(names))))


def _of_intervals(intervals: Mapping[str, Sequence[MembershipInterval]]) -> Universe:
    if not intervals:
        raise ConfigError("the universe is empty", fix="name symbols, or leave `universe` out for all of the source")
    return Universe(tuple(sorted(intervals)), intervals)


def _read_intervals(frame: pl.DataFrame) -> dict[str, tuple[MembershipInterval, ...]]:
    missing = [name for name in ("symbol", "joined", "left") if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"a universe without the column {', '.join(missing)}",
            fix="give it symbol (String), joined and left (Date; left is the first day without it, null where it stays)",
        )
    rows = frame.select(pl.col("symbol").cast(pl.String), pl.col("joined", "left").cast(pl.Date))
    if rows["symbol"].null_count():
        raise ConfigError("a universe has a row without a symbol", fix="leave such rows out")
    return by_code((code, MembershipInterval(joined, left)) for code, joined, left in rows.rows())
