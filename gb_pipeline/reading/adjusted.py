"""Prices as traded, or split-adjusted, from whatever is stored: the argument `adjustment` of `Lake.bars`.

This module finds which splits each stored bar carries and which it should, and refuses to answer where both would be mixed.
`market.adjust` has the arithmetic, `adjustment.split_timeline` what the lake knows of splits.

Every factor comes from the vendor's own splits, as they were known at the moment in question.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import polars as pl

from gb_pipeline.adjustment.split_timeline import (
    SplitPeriod,
    action_fetches,
    confirmations,
    in_doubt,
    last_splits,
    not_covered,
    split_factors,
    split_periods,
)
from gb_pipeline.errors import ReadError
from gb_pipeline.lake import ledger
from gb_pipeline.lake.adjustments import remembered_adjustments, stored_adjustments
from gb_pipeline.market.adjust import FACTOR, factor_columns, rescale
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.reading.arguments import LATEST
from gb_pipeline.reading.plan import Part, Plan, Question
from gb_pipeline.storage.table import Tables

_NO_CONFIRMATIONS = pl.DataFrame()


def adjust_plan(tables: Tables, question: Question, plan: Plan, requested: Adjustment | None) -> Plan:
    """The plan with the prices and volumes of each part as requested.

    Args:
        requested: None leaves them as they are stored, and refuses to answer where a split has reached only some of them.

    Raises:
        ReadError: whether a series was split is not known, it cannot be un-adjusted, or its bars are of before and after a
            split.
    """
    return replace(plan, parts=tuple(_adjust_part(tables, question, part, requested) for part in plan.parts))


def _adjust_part(tables: Tables, question: Question, part: Part, requested: Adjustment | None) -> Part:
    codes = [part.symbol] if part.symbol is not None else list(question.symbols) or None
    if requested is None:
        # Most series have no split at all; they are not looked at any closer.
        first = question.window.start.date()
        split_later = [code for code, day in last_splits(tables, part.source).items() if day > first]
        codes = [code for code in split_later if codes is None or code in codes]
        if not codes:
            return part
    if codes is None:
        adjustments = stored_adjustments(tables, part.source, question.resolution)
    else:
        adjustments = remembered_adjustments(tables, part.source, question.resolution, codes)
    relevant_codes = [code for code, kind in adjustments.items() if _differs(part.source, code, kind, requested)]
    facts = _LedgerFacts.of(tables, question, part.source, relevant_codes)
    candidates = {code: facts.series(code, adjustments[code], requested) for code in relevant_codes}
    series = {code: candidate for code, candidate in candidates.items() if candidate is not None}
    if requested is None:
        for code, split_series in series.items():
            split_series.refuse_mixture(_collect_rows(part, code))
        return part
    if not series and codes is not None and set(codes) <= set(adjustments):
        return part

    def convert(frame: pl.DataFrame) -> pl.DataFrame:
        return _convert(frame, part, series, set(adjustments))

    return part.converted(convert)


def _differs(source: str, code: str, stored: Adjustment, requested: Adjustment | None) -> bool:
    """Whether there is anything to do or to check."""
    if stored is Adjustment.ALL and requested is not None:
        raise ReadError(
            f"{source} {code} is stored adjusted for dividends as well, which cannot be undone exactly",
            fix="fetch it from a vendor that serves prices as traded",
        )
    # Split-adjusted bars may be of before and of after a split, whatever is asked for.
    return stored is Adjustment.SPLIT or (stored is Adjustment.RAW and requested is Adjustment.SPLIT)


def _collect_rows(part: Part, code: str) -> pl.DataFrame:
    rows = part.rows if part.symbol is not None else part.rows.filter(pl.col("symbol") == code)
    return rows.select("timestamp", "fetched_at").collect()


def _convert(frame: pl.DataFrame, part: Part, series: Mapping[str, _Series], recorded: Collection[str]) -> pl.DataFrame:
    codes = frame["symbol"].unique().to_list() if part.symbol is None else [part.symbol]
    for code in codes if frame.height else ():
        if code not in recorded:
            raise ReadError(
                f"what was done to the prices of {part.source} {code} is not recorded: a write is under way or was killed",
                fix="read again in a moment, or fetch the newest session again",
            )
    if part.symbol is not None:
        factors = series[part.symbol].factors(frame) if part.symbol in series and frame.height else None
        return frame if factors is None else rescale(frame.hstack(factors), back=False)
    unit_factors = [pl.lit(1, kind).alias(name) for name, kind in FACTOR.items()]
    parts = [frame.filter(~pl.col("symbol").is_in(list(series))).with_columns(unit_factors)]
    grouped = frame.filter(pl.col("symbol").is_in(list(series))).partition_by(
        "symbol", as_dict=True, maintain_order=True
    )
    for (code,), rows in grouped.items():
        factors = series[str(code)].factors(rows)
        parts.append(rows.with_columns(unit_factors) if factors is None else rows.hstack(factors))
    # One call for all series: hundreds of small ones would cost more than their rows are worth.
    return rescale(pl.concat(parts), back=False)


@dataclass(frozen=True)
class _LedgerFacts:
    """What the ledgers say about some series of one source, read once for all of them."""

    tables: Tables
    question: Question
    source: str
    sessions: Mapping[tuple[object, ...], pl.DataFrame]
    fetches: Mapping[tuple[object, ...], pl.DataFrame]
    periods: Mapping[str, Sequence[SplitPeriod]]

    @classmethod
    def of(cls, tables: Tables, question: Question, source: str, codes: Sequence[str]) -> _LedgerFacts:
        if not codes:
            return cls(tables, question, source, {}, {}, {})
        sessions = _read_sessions(tables, question, source, codes)
        told_at = question.told_at or question.as_of
        fetches = action_fetches(tables, source, codes, told_at)
        return cls(
            tables,
            question,
            source,
            sessions.partition_by("symbol", as_dict=True),
            fetches.partition_by("symbol", as_dict=True),
            split_periods(tables, source, codes, told_at),
        )

    def series(self, code: str, stored: Adjustment, requested: Adjustment | None) -> _Series | None:
        """What is needed to convert one series; None where none of its bars is concerned."""
        told_at = self.question.told_at or self.question.as_of
        sessions = self.sessions.get((code,))
        if sessions is None:
            return None
        if requested is not None and not (stored is requested is Adjustment.SPLIT):
            fetches = self.fetches.get((code,), pl.DataFrame())
            refuse_unknown(self.question, self.source, code, stored, sessions, fetches)
        first = sessions["session"].min()
        periods = tuple(period for period in self.periods.get(code, ()) if period.ex_date > first)  # type: ignore[operator]
        if not periods:
            return None
        confirmed = _NO_CONFIRMATIONS
        if in_doubt(periods):
            confirmed = confirmations(self.tables, self.source, self.question.resolution, code, told_at)
        day = today() if told_at is None else told_at.date()
        return _Series(
            self.source, code, self.question.resolution, stored, requested, periods, confirmed, sessions, day
        )


def today() -> date:
    """The day in UTC; splits with a later ex date do not count yet."""
    return datetime.now(UTC).date()


def _read_sessions(tables: Tables, question: Question, source: str, codes: Sequence[str]) -> pl.DataFrame:
    """Stored sessions of the window, and of some days beside it: bars between two sessions would belong to neither."""
    margin = timedelta(days=8)
    window = question.window
    start = max(window.start.date(), date.min + margin) - margin
    until = (min(window.end, LATEST - 2 * margin) + margin).date()
    rows = ledger.current(tables, source, question.resolution, codes, (start, until), question.as_of)
    return rows.filter(pl.col("actual") > 0).select(
        "symbol", "session", "first_timestamp", "last_timestamp", "fetched_at"
    )


def refuse_unknown(
    question: Question, source: str, code: str, stored: Adjustment, sessions: pl.DataFrame, fetches: pl.DataFrame
) -> None:
    """Raise unless the vendor has told of every split that may concern the sessions of the window."""
    window, as_of = question.window, question.told_at or question.as_of
    inside = sessions.filter((pl.col("first_timestamp") < window.end) & (pl.col("last_timestamp") >= window.start))
    days = [inside["session"].min(), inside["session"].max()]
    if stored is Adjustment.SPLIT:
        # Whatever happened until a bar was fetched is in its prices.
        days += [min(moment, as_of or moment).date() for moment in inside["fetched_at"]]
    known_days = [day for day in days if isinstance(day, date)]
    if not known_days:
        return
    missing = not_covered(fetches, min(known_days), max(known_days)) if fetches.height else min(known_days)
    if missing is None:
        return
    problem = "its corporate actions were never fetched"
    if not fetches.is_empty():
        problem = f"its corporate actions are not known on {missing}"
    raise ReadError(
        f"whether {source} {code} was split between {min(known_days)} and {max(known_days)} is not known: {problem}",
        fix=f"fetch them: gb actions fetch {source} {code}",
    )


@dataclass(frozen=True)
class _Series:
    """One series, its splits, and the adjustment requested for its prices."""

    source: str
    code: str
    resolution: Resolution
    stored: Adjustment
    requested: Adjustment | None
    periods: Sequence[SplitPeriod]
    confirmed: pl.DataFrame
    sessions: pl.DataFrame
    today: date

    def factors(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """What the prices of each row are to be divided by, columns of `FACTOR`; None where nothing is to be done."""
        codes, products = self._products_by_row(frame)
        divisors = [self._divisor(carried, due) for carried, due in products]
        if all(divisor == 1 for divisor in divisors):
            return None
        return pl.DataFrame(factor_columns(divisors)).select(pl.all().gather(codes))

    def refuse_mixture(self, rows: pl.DataFrame) -> None:
        """Raise where one answer would mix bars from before and after a split."""
        if rows.is_empty():
            return
        codes, products = self._products_by_row(rows)
        missing_factors = {products[code][1] / products[code][0] for code in codes.unique()}
        if len(missing_factors) > 1:
            stale = [code for code, (carried, due) in enumerate(products) if carried != due]
            first_stale = rows.filter(codes.is_in(stale))["timestamp"].sort()[0]
            raise ReadError(
                f"{self.source} {self.code} {self.resolution}: bars from {first_stale} on were fetched before a split that others"
                " carry",
                fix="read them with adjustment='split' or 'raw', or fetch that range again",
            )

    def _divisor(self, carried: Fraction, due: Fraction) -> Fraction:
        """What prices are divided by: new shares per old share."""
        if self.stored is Adjustment.RAW:
            return due
        return 1 / carried if self.requested is Adjustment.RAW else due / carried

    def _products_by_row(self, frame: pl.DataFrame) -> tuple[pl.Series, list[tuple[Fraction, Fraction]]]:
        rows = frame.select("timestamp", "fetched_at").with_columns(self._assign_sessions(frame["timestamp"]))
        return split_factors(rows, self.periods, self.confirmed, self.today)

    def _assign_sessions(self, stamps: pl.Series) -> pl.Series:
        """The session of each bar, as exactly as splits need it: before or after each ex date."""
        if not self.resolution.intraday:
            return self._assign_labels(stamps)
        edges = self.sessions.drop_nulls().sort("first_timestamp")
        positions = edges["first_timestamp"].search_sorted(stamps, side="right").cast(pl.Int64) - 1
        session = edges["session"].gather(positions.clip(0)).rename("session")
        # Every stored bar lies between the first and the last one of its session, as soon as its write has ended.
        beyond = (positions < 0) | (stamps > edges["last_timestamp"].gather(positions.clip(0)))
        if beyond.any():
            self._refuse_unplaced(stamps.filter(beyond), edges)
        return session

    def _refuse_unplaced(self, stamps: pl.Series, edges: pl.DataFrame) -> None:
        for period in self.periods:
            before = edges.filter(pl.col("session") < period.ex_date)["last_timestamp"].max()
            after = edges.filter(pl.col("session") >= period.ex_date)["first_timestamp"].min()
            unplaced = stamps
            if before is not None:
                unplaced = unplaced.filter(unplaced > before)
            if after is not None:
                unplaced = unplaced.filter(unplaced < after)
            if len(unplaced):
                raise ReadError(
                    f"to which side of the split of {period.ex_date} the bar of {self.code} at {unplaced[0]} belongs is not"
                    " recorded: a write is under way or was killed",
                    fix="read again in a moment, or fetch that session again",
                )

    def _assign_labels(self, stamps: pl.Series) -> pl.Series:
        days = stamps.dt.date().rename("session")
        if self.resolution is Resolution.DAY:
            return days
        length = {Resolution.WEEK: "1w", Resolution.MONTH: "1mo"}[self.resolution]
        ends = days.dt.offset_by(length)
        for period in self.periods:
            across = (days < period.ex_date) & (ends > period.ex_date) & (self.requested is not None)
            if across.any():
                raise ReadError(
                    f"the bar of {self.resolution} of {self.code} at {days.filter(across)[0]} holds prices of before and"
                    f" after the split of {period.ex_date}",
                    fix="read daily bars, and resample them once they are adjusted",
                )
        return days
