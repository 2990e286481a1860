"""Prices with cash dividends reinvested, and prices that are adjusted forwards: one factor per series and stretch between ex dates.

The factors are computed from prices as traded, with fifty digits, and applied to these: a number is rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Literal

import polars as pl

from gb_pipeline.adjustment.split_timeline import action_fetches
from gb_pipeline.errors import ReadError
from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.market.adjust import as_fraction, factor_columns, rescale, within_digits
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CASH_DIVIDEND, SPLIT, Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.reading.adjusted import adjust_plan, refuse_unknown
from gb_pipeline.reading.plan import Part, Plan, Question, make_plan
from gb_pipeline.reading.price_adjustment import Anchor, PriceAdjustment, Reinvested
from gb_pipeline.storage.table import Tables

_DIGITS = 50


def reinvest_plan(tables: Tables, question: Question, plan: Plan, wanted: PriceAdjustment, now: datetime) -> Plan:
    """The plan, whose prices are as traded, with splits and dividends in them and anchored as wanted.

    Args:
        now: the present.

    Raises:
        ReadError: a dividend that its price does not cover, or bars of weeks and months with an ex date within.
    """
    parts = []
    for part in plan.parts:
        codes = [part.symbol] if part.symbol is not None else sorted(question.symbols) or None
        factors = read_factors(tables, question, part.source, codes, wanted, now)
        parts.append(_with_factors(question.resolution, part, factors, wanted) if factors else part)
    return replace(plan, parts=tuple(parts))


@dataclass(frozen=True)
class SeriesFactors:
    """What prices and volumes of one series are multiplied by.

    Attributes:
        sessions: `session`, `first_timestamp` of those that are stored, sorted.
        ex_dates: sorted; of dividends, and where prices are adjusted forwards, of splits.
        dividends: for each stretch between ex dates, what its prices are multiplied by; the last is 1.
        splits: for each stretch, how many shares one share of it has become by the end.
    """

    sessions: pl.DataFrame
    ex_dates: Sequence[date]
    dividends: Sequence[Fraction]
    splits: Sequence[Fraction]

    def stretches(self, timestamps: pl.Series, resolution: Resolution) -> pl.Series:
        """The number of the stretch that each bar lies in."""
        ex_dates = pl.Series(self.ex_dates, dtype=pl.Date)
        if not resolution.intraday:
            return ex_dates.search_sorted(timestamps.dt.date(), side="right")
        positions = self.sessions["first_timestamp"].search_sorted(timestamps, side="right").cast(pl.Int64) - 1
        return ex_dates.search_sorted(self.sessions["session"].gather(positions.clip(0)), side="right")


def read_factors(
    tables: Tables,
    question: Question,
    source: str,
    codes: Sequence[str] | None,
    wanted: PriceAdjustment,
    now: datetime,
    *,
    from_ex_dates: bool = False,
    only_told: bool = False,
) -> dict[str, SeriesFactors]:
    """Factors of some series of a source, by symbol; nothing for one that has no splits or dividends.

    Args:
        question: whose resolution, window and moment count.
        codes: the symbols; None for all.
        wanted: whether dividends count, and at which price they are reinvested.
        now: the present.
        from_ex_dates: let a dividend count from its ex date on, whether or not a bar follows; else it counts from the first
            session that is stored without it, and not at all before there is one.
        only_told: take what was told by then for all there is, also where nobody had asked about a session yet.

    Raises:
        ReadError: not all dividends in the window are known, or one is not covered by its price.
    """
    told_at = question.told_at or question.as_of
    sessions = (
        ledger.current(tables, source, question.resolution, codes, None, question.as_of)
        .filter(pl.col("actual") > 0)
        .select("symbol", "session", "first_timestamp", "last_timestamp", "fetched_at")
        .sort("symbol", "session")
    )
    if wanted.dividends is not None and not only_told:
        _refuse_unknown(tables, question, source, sessions)
    actions = corporate_actions.read(tables, source, codes, told_at).filter(
        pl.col("kind").is_in([SPLIT] if wanted.dividends is None else [CASH_DIVIDEND, SPLIT]),
        pl.col("ex_date") <= (told_at or now).date(),
    )
    if actions.is_empty():
        return {}
    dividends = _group(actions.filter(pl.col("kind") == CASH_DIVIDEND))
    splits = _group(actions.filter(pl.col("kind") == SPLIT))
    closes = _read_closes(tables, question, source, _with_bases(dividends, sessions, wanted), told_at)
    factors = {}
    for (code,), own in sessions.partition_by("symbol", as_dict=True).items():
        name = str(code)
        factors[name] = _series_factors(
            source, name, own, dividends.filter(pl.col("symbol") == code), splits.filter(pl.col("symbol") == code),
            closes, wanted, from_ex_dates=from_ex_dates,
        )  # fmt: skip
    return factors


def _refuse_unknown(tables: Tables, question: Question, source: str, sessions: pl.DataFrame) -> None:
    """Raise unless the vendor has told of every dividend in the sessions of the window."""
    codes = sessions["symbol"].unique().to_list()
    fetches = action_fetches(tables, source, codes, question.told_at or question.as_of)
    by_symbol = fetches.partition_by("symbol", as_dict=True)
    for (code,), own in sessions.partition_by("symbol", as_dict=True).items():
        answered = by_symbol.get((code,), fetches.clear())
        refuse_unknown(question, source, str(code), Adjustment.RAW, own, answered)


def _group(actions: pl.DataFrame) -> pl.DataFrame:
    """The actions, by symbol and ex date."""
    return actions.select("symbol", "ex_date", "amount", "currency", "split_to", "split_from").sort("symbol", "ex_date")


def _with_bases(dividends: pl.DataFrame, sessions: pl.DataFrame, wanted: PriceAdjustment) -> pl.DataFrame:
    """`symbol, last_timestamp` of the sessions whose closes dividends are compared with."""
    days = dividends.select("symbol", session="ex_date").unique().sort("symbol", "session")
    previous = wanted.dividends is Reinvested.PREVIOUS_CLOSE
    if previous:
        days = days.with_columns(pl.col("session") - timedelta(days=1))
    strategy: Literal["backward", "forward"] = "backward" if previous else "forward"
    found = days.join_asof(sessions, on="session", by="symbol", strategy=strategy, check_sortedness=False)
    return found.drop_nulls("last_timestamp").select("symbol", "last_timestamp").unique()


def _read_closes(
    tables: Tables, question: Question, source: str, wanted: pl.DataFrame, told_at: datetime | None
) -> Mapping[tuple[str, datetime], Decimal]:
    """Closes as traded, by symbol and the bar's open."""
    if wanted.is_empty():
        return {}
    stamps = wanted["last_timestamp"]
    window = Window(stamps.min(), stamps.max() + timedelta(microseconds=1))  # type: ignore[operator, arg-type]
    symbols = tuple(wanted["symbol"].unique().sort())
    asked = replace(question, symbols=symbols, window=window, source=source, told_at=told_at, series=None)
    plan = adjust_plan(tables, asked, make_plan(tables, asked), Adjustment.RAW)
    closes: dict[tuple[str, datetime], Decimal] = {}
    for part in plan.parts:
        rows = part.rows if part.symbol is None else part.rows.with_columns(symbol=pl.lit(part.symbol))
        found = (
            rows.select("symbol", last_timestamp="timestamp", close="close")
            .join(wanted.lazy(), on=["symbol", "last_timestamp"], how="semi")
            .collect()
        )
        closes |= {(symbol, stamp): close for symbol, stamp, close in found.rows()}
    return closes


def _series_factors(
    source: str,
    code: str,
    sessions: pl.DataFrame,
    dividends: pl.DataFrame,
    splits: pl.DataFrame,
    closes: Mapping[tuple[str, datetime], Decimal],
    wanted: PriceAdjustment,
    *,
    from_ex_dates: bool,
) -> SeriesFactors:
    days = sessions["session"].to_list()
    last = sessions["last_timestamp"].to_list()
    by_date: dict[date, Fraction] = {}
    for to, of, ex_date in splits.select("split_to", "split_from", "ex_date").rows():
        by_date[ex_date] = by_date.get(ex_date, Fraction(1)) * as_fraction(to, of)
    _refuse_currencies(source, code, dividends)
    # By the session whose first bar is without them, so that several that fell between two sessions are one; and by the day
    # from which they count.
    paid: dict[int, dict[date, Fraction]] = {}
    for amount, ex_date in dividends.select("amount", "ex_date").rows():
        position = _first_from(days, ex_date)
        if position is None and from_ex_dates and wanted.dividends is Reinvested.PREVIOUS_CLOSE:
            position = len(days)
        if position is None or (not position and wanted.dividends is Reinvested.PREVIOUS_CLOSE):
            # Nothing was traded without it yet, or with it.
            continue
        # An amount is per share of its ex date; closes are in shares of their own session.
        if wanted.dividends is Reinvested.EX_CLOSE:
            per_share = Fraction(amount) / _product(by_date, ex_date, days[position])
        else:
            per_share = Fraction(amount) * _product(by_date, days[position - 1], ex_date)
        counts_from = ex_date if from_ex_dates else days[position]
        cash_by_day = paid.setdefault(position, {})
        cash_by_day[counts_from] = cash_by_day.get(counts_from, Fraction(0)) + per_share
    ratios: dict[date, Decimal] = {}
    with localcontext() as context:
        context.prec = _DIGITS
        for position, cash_by_day in paid.items():
            total, before = Fraction(0), Decimal(1)
            for day, cash in sorted(cash_by_day.items()):
                total += cash
                amount = Decimal(total.numerator) / total.denominator
                if wanted.dividends is Reinvested.EX_CLOSE:
                    close = closes[code, last[position]]
                    ratio = close / (close + amount)
                else:
                    ratio = 1 - amount / closes[code, last[position - 1]]
                if ratio <= 0:
                    raise ReadError(
                        f"{source} {code} paid {amount.normalize():f} before {day}, as much as a share was worth",
                        fix="check it: gb actions show; a distribution of that size is rarely a cash dividend",
                    )
                ratios[day] = ratio / before
                before = ratio
        return _accumulate(sessions, sorted({*ratios, *by_date}), ratios, by_date)


def _refuse_currencies(source: str, code: str, dividends: pl.DataFrame) -> None:
    """Raise where dividends were paid in several currencies: prices have one."""
    currencies = dividends["currency"].drop_nulls().unique().sort().to_list()
    if len(currencies) > 1:
        raise ReadError(
            f"dividends of {source} {code} are in {' and '.join(currencies)}, and its prices in one of them",
            fix="read it with adjustment='splits'; amounts and currencies are in `corporate_actions`",
        )


def _product(splits: Mapping[date, Fraction], after: date, until: date) -> Fraction:
    """How many shares one share of a day has become by another."""
    product = Fraction(1)
    for day, ratio in splits.items():
        product *= ratio if after < day <= until else 1
    return product


def _accumulate(
    sessions: pl.DataFrame, ex_dates: list[date], ratios: Mapping[date, Decimal], splits: Mapping[date, Fraction]
) -> SeriesFactors:
    """Products over all later ex dates, for each stretch."""
    dividend, split = Decimal(1), Fraction(1)
    by_dividends, by_splits = [Fraction(1)], [Fraction(1)]
    for ex_date in reversed(ex_dates):
        dividend *= ratios.get(ex_date, Decimal(1))
        split *= splits.get(ex_date, Fraction(1))
        by_dividends.append(Fraction(dividend))
        by_splits.append(split)
    return SeriesFactors(sessions, ex_dates, by_dividends[::-1], by_splits[::-1])


def _first_from(days: Sequence[date], first: date) -> int | None:
    """The position of the first session on or after a day."""
    position = int(pl.Series(days, dtype=pl.Date).search_sorted(first, side="left"))
    return position if position < len(days) else None


def _with_factors(
    resolution: Resolution, part: Part, factors: Mapping[str, SeriesFactors], wanted: PriceAdjustment
) -> Part:
    def convert(frame: pl.DataFrame) -> pl.DataFrame:
        if part.symbol is not None:
            return _convert(resolution, frame, part, part.symbol, factors, wanted)
        groups = frame.partition_by("symbol", as_dict=True, maintain_order=True)
        parts = [_convert(resolution, rows, part, str(code), factors, wanted) for (code,), rows in groups.items()]
        return pl.concat(parts) if parts else frame

    return part.converted(convert)


def _convert(
    resolution: Resolution,
    frame: pl.DataFrame,
    part: Part,
    code: str,
    factors: Mapping[str, SeriesFactors],
    wanted: PriceAdjustment,
) -> pl.DataFrame:
    own = factors.get(code)
    if own is None or frame.is_empty():
        return frame
    if resolution in {Resolution.WEEK, Resolution.MONTH}:
        _refuse_ex_dates_within(resolution, frame, part.source, code, own)
    stretches = own.stretches(frame["timestamp"], resolution)
    first = int(stretches[frame["timestamp"].arg_min() or 0]) if wanted.anchor is Anchor.START else -1
    split, dividend = own.splits[first], own.dividends[first]
    shares = [each / split for each in own.splits]
    prices = [within_digits(share * dividend / each) for share, each in zip(shares, own.dividends, strict=True)]
    volumes = _multiplied(frame, stretches, shares, ["volume"])
    return _multiplied(volumes, stretches, prices, [name for name in frame.columns if name != "volume"])


def _multiplied(
    frame: pl.DataFrame, stretches: pl.Series, divisors: Sequence[Fraction], columns: Sequence[str]
) -> pl.DataFrame:
    """Of these columns, prices divided, and the volume multiplied, by the divisor of the bar's stretch."""
    chosen = [name for name in columns if name in frame.columns]
    if not chosen or all(divisor == 1 for divisor in divisors):
        return frame
    factors = pl.DataFrame(factor_columns(divisors)).select(pl.all().gather(stretches))
    return frame.with_columns(rescale(frame.select(chosen).hstack(factors), back=False).get_columns())


def _refuse_ex_dates_within(
    resolution: Resolution, frame: pl.DataFrame, source: str, code: str, factors: SeriesFactors
) -> None:
    first = frame["timestamp"].dt.date()
    end = first.dt.offset_by("1w" if resolution is Resolution.WEEK else "1mo")
    for ex_date in factors.ex_dates:
        across = (first < ex_date) & (end > ex_date)
        if across.any():
            raise ReadError(
                f"the bar of {resolution} of {source} {code} at {first.filter(across)[0]} holds prices of before and after"
                f" the ex date {ex_date}",
                fix="read daily bars, and resample them once they are adjusted",
            )
