"""This module turns prices as traded into split-adjusted ones, and back: the arithmetic, on frames.

Which splits there were is known to `lake.corporate_actions`, and what was already done to a stored series to `reading.adjusted`.
Dividends are `reading.dividends`'.

A bar of a session on or after a split's ex date is left alone; every earlier one carries the product of all splits with a
later ex date. `adjust` divides prices by it and multiplies volumes, `unadjust` does the opposite. Ratios are fractions, so
nothing is lost before the last step: the quotient is exact where the column's decimals can hold it, and is rounded half to
even at the column's own scale where they cannot (a third of 100.00 has no decimal form). Floats are multiplied once and
divided once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, SPLIT

NUMERATOR, DENOMINATOR = "split_numerator", "split_denominator"
# New shares per old share, exact, of a product of splits.
FACTOR = pl.Schema({NUMERATOR: pl.Int128(), DENOMINATOR: pl.Int128()})
_PRICES = (*PRICES, "vwap")
_LIMIT = 2**126
_LARGEST = 2**62


def adjust(
    frame: pl.DataFrame, splits: pl.DataFrame, *, calendar: Calendar | None = None, resolution: Resolution | None = None
) -> pl.DataFrame:
    """Prices as traded -> split-adjusted: a price before a 4-for-1 split becomes a quarter, a volume four times as large.

    Args:
        frame: `timestamp` (Datetime us UTC, the bar's open; the session's date for a day), any of `open, high, low, close,
            vwap, volume` as decimals or floats; other columns stay as they are. `symbol` where there are several.
        splits: `ex_date` (Date), `split_to`, `split_from` (new and old shares: decimals or integers), such as
            `Lake.corporate_actions("AAPL")` returns them; rows of other kinds and withdrawn ones do not count. `symbol`
            where there are several.
        calendar: to which session an intraday bar belongs; needed for these only. A column `session` (Date) of the frame
            is used instead where there is one.
        resolution: of the bars; a day by default.

    Returns:
        The frame with the same columns, types and order. Decimals are rounded half to even at their own scale where the
        quotient has more digits.

    Raises:
        ConfigError: a column is missing or of an unusable type, or intraday bars came without a calendar.
        ReadError: a result does not fit into the column's digits.

    Example:
        >>> adjust(bars, pl.DataFrame({"ex_date": [date(2020, 8, 31)], "split_to": [4], "split_from": [1]}))
    """
    return _apply_splits(frame, splits, calendar, resolution, back=False)


def unadjust(
    frame: pl.DataFrame, splits: pl.DataFrame, *, calendar: Calendar | None = None, resolution: Resolution | None = None
) -> pl.DataFrame:
    """Split-adjusted prices -> as traded; the opposite of `adjust`, with the same arguments, result and errors.

    `adjust(unadjust(bars))` gives the bars back where all products and quotients fit into the columns' decimals; prices
    always do when the ratios are whole numbers. A vendor that rounded its adjusted prices leaves its rounding, times the
    ratio, in the result.
    """
    return _apply_splits(frame, splits, calendar, resolution, back=True)


def rescale(frame: pl.DataFrame, *, back: bool) -> pl.DataFrame:
    """Apply the factor that each row carries in the columns of `FACTOR`, and drop these.

    Args:
        frame: any of the columns that `adjust` changes, and new shares per old share as a fraction.
        back: multiply prices (`unadjust`) instead of dividing them (`adjust`).

    Raises:
        ConfigError: a price or volume column that is neither decimal nor float.
        ReadError: a result does not fit into the column's digits.
    """
    factors = frame.select(NUMERATOR, DENOMINATOR)
    frame = frame.drop(NUMERATOR, DENOMINATOR)
    if (factors[NUMERATOR] == factors[DENOMINATOR]).all():
        return frame
    up, down = (NUMERATOR, DENOMINATOR) if back else (DENOMINATOR, NUMERATOR)
    changed = [
        _scale(frame[name], factors[up], factors[down])
        if name in _PRICES
        else _scale(frame[name], factors[down], factors[up])
        for name in (*_PRICES, "volume")
        if name in frame.columns
    ]
    return frame.with_columns(changed)


def as_fraction(to: object, of: object) -> Fraction:
    """New shares per old share, exact.

    Raises:
        ConfigError: one of them is not a positive number.
    """
    try:
        ratio = Fraction(Decimal(str(to))) / Fraction(Decimal(str(of)))
    except (ArithmeticError, ValueError):
        ratio = Fraction(0)
    if ratio <= 0:
        raise ConfigError(f"{to} for {of} is not a split", fix="give new and old shares as positive numbers")
    return ratio


def factor_columns(ratios: Iterable[Fraction]) -> list[pl.Series]:
    """Fractions as the columns of `FACTOR`.

    Raises:
        ReadError: one has more digits than exact arithmetic allows.
    """
    pairs = [ratio.as_integer_ratio() for ratio in ratios]
    if any(max(pair) >= _LARGEST for pair in pairs):
        raise ReadError(
            "the product of the splits has too many digits to be exact", fix="check the splits of the symbol"
        )
    return [pl.Series(name, [pair[side] for pair in pairs], kind) for side, (name, kind) in enumerate(FACTOR.items())]


def within_digits(ratio: Fraction) -> Fraction:
    """The nearest fraction that `factor_columns` takes: relatively off by 2**-60 at the most."""
    if max(ratio.as_integer_ratio()) < _LARGEST:
        return ratio
    scale = _LARGEST // 2 if ratio < 1 else int(_LARGEST / ratio) // 2
    return Fraction(round(ratio * scale), scale)


def _apply_splits(
    frame: pl.DataFrame, splits: pl.DataFrame, calendar: Calendar | None, resolution: Resolution | None, *, back: bool
) -> pl.DataFrame:
    by = _common_keys(frame, splits)
    steps = _steps(_select_splits(splits), by)
    if steps.is_empty():
        return frame
    sessions = _sessions(frame, calendar, resolution or Resolution.DAY)
    keys = pl.DataFrame([sessions.alias("session"), *(frame[name] for name in by)])
    if keys["session"].null_count():
        raise ConfigError("some bars belong to no session of the calendar", fix="name the calendar of the exchange")
    # A join per session, not per bar.
    factors = (
        keys.unique()
        .sort("session")
        .join_asof(steps.sort("since"), left_on="session", right_on="since", by=by or None, check_sortedness=False)
    )
    row_factors = keys.join(factors.drop("since", strict=False), on=[*by, "session"], how="left", maintain_order="left")
    one = pl.lit(1, pl.Int128)
    return rescale(frame.with_columns(row_factors.select(pl.col(NUMERATOR, DENOMINATOR).fill_null(one))), back=back)


def _steps(splits: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """From which session on which factor holds: `since`, the factor, and the symbol where there are several."""
    steps: dict[str, list[object]] = {"symbol": [], "since": []}
    ratios: list[Fraction] = []
    for key, group in splits.sort("ex_date").group_by(by or [pl.lit("")], maintain_order=True):
        factor = Fraction(1)
        later = []
        for ex_date, to, of in reversed(group.select("ex_date", "split_to", "split_from").rows()):
            later.append((ex_date, factor))
            factor *= as_fraction(to, of)
        for since, ratio in [(date.min, factor), *reversed(later)]:
            steps["symbol"].append(key[0])
            steps["since"].append(since)
            ratios.append(ratio)
    table = pl.DataFrame(steps, schema={"symbol": pl.String(), "since": pl.Date()})
    table = table.with_columns(factor_columns(ratios))
    # Two splits of one day: the last of its steps carries neither.
    table = table.unique(["symbol", "since"], keep="last", maintain_order=True)
    return table if by else table.drop("symbol")


def _select_splits(splits: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in ("ex_date", "split_to", "split_from") if name not in splits.columns]
    if missing:
        raise ConfigError(f"the splits lack {', '.join(missing)}", fix="give ex_date, split_to and split_from")
    if "kind" in splits.columns:
        splits = splits.filter(pl.col("kind") == SPLIT)
    if "withdrawn" in splits.columns:
        splits = splits.filter(~pl.col("withdrawn").fill_null(False))
    return splits


def _common_keys(frame: pl.DataFrame, splits: pl.DataFrame) -> list[str]:
    if "symbol" in frame.columns and "symbol" in splits.columns:
        return ["symbol"]
    if any("symbol" in table.columns and table["symbol"].n_unique() > 1 for table in (frame, splits)):
        raise ConfigError("it is not clear which symbol the splits belong to", fix="give both frames a column `symbol`")
    return []


def _sessions(frame: pl.DataFrame, calendar: Calendar | None, resolution: Resolution) -> pl.Series:
    if "session" in frame.columns:
        return frame["session"]
    if not resolution.intraday:
        return frame["timestamp"].dt.date()
    if calendar is None:
        raise ConfigError(
            f"it is not clear which session a bar of {resolution} belongs to", fix="pass calendar=get_calendar('XNYS')"
        )
    return calendar.session_of(frame["timestamp"], resolution)


def _scale(column: pl.Series, up: pl.Series, down: pl.Series) -> pl.Series:
    dtype = column.dtype
    if dtype.is_float():
        return column * up.cast(pl.Float64) / down.cast(pl.Float64)
    if not isinstance(dtype, pl.Decimal):
        raise ConfigError(f"column {column.name!r} holds {dtype}", fix="pass decimals or floats")
    units = column.to_physical().cast(pl.Int128)
    extremes = [abs(edge) for edge in (units.min(), units.max()) if isinstance(edge, int)]
    largest_factor = up.max()
    if extremes and isinstance(largest_factor, int) and max(extremes) * largest_factor >= _LIMIT:
        raise _too_large(column)
    product = pl.DataFrame([units.alias("units"), up.alias("up"), down.alias("down")]).select(
        (pl.col("units") * pl.col("up")).alias("product"), "down"
    )
    quotient, remainder = pl.col("product") // pl.col("down"), pl.col("product") % pl.col("down")
    two = pl.lit(2, pl.Int128)
    upwards = (two * remainder > pl.col("down")) | ((two * remainder == pl.col("down")) & (quotient % two != 0))
    digits = product.select((quotient + upwards.cast(pl.Int128)).alias(column.name))
    unit = pl.lit(Decimal((0, (1,), -dtype.scale)), pl.Decimal(38, dtype.scale))
    try:
        return digits.select((pl.col(column.name).cast(pl.Decimal(38, 0)) * unit).cast(dtype)).to_series()
    except pl.exceptions.InvalidOperationError:
        raise _too_large(column) from None


def _too_large(column: pl.Series) -> ReadError:
    return ReadError(
        f"column {column.name!r} has values that do not fit into {column.dtype} once splits are applied",
        fix="choose a shorter range, or check the splits of the symbol",
    )
