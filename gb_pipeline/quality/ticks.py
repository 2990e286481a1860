"""This module decides which rows of trades, quotes and order books can be stored, and in which table: exactly, or not at all.

Numbers come as text, decimals or integers of a fraction, and are never rounded. A row goes to the table of `Decimal(18,8)` where
all its numbers fit, to that of `Decimal(38,18)` where they fit there, and is refused with every reason otherwise. Nothing here
reads a file or writes a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.market.event_time import event_time
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.exact import parse_exact
from gb_pipeline.quality.reasons import (
    IMPLAUSIBLE_TIMESTAMP,
    MISSING,
    PRICE_NOT_POSITIVE,
    SIZE_NEGATIVE,
    SIZE_NOT_POSITIVE,
    UNKNOWN_SIDE,
    UNREADABLE_TIMESTAMP,
)

_STANDARD, _WIDE = Precision.STANDARD.decimal, Precision.WIDE.decimal
# 1970 to 2200: nanoseconds of 64 bits end in 2262.
_LATEST = 7_258_118_400 * 10**9
# More decimals than the wide table has, or an exponent: the cast alone would not say whether it is exact.
_DOUBTFUL = r"\.[0-9]{19}|[eE]"
# What the standard table holds exactly, whatever the digits are: most of what venues write.
_PLAIN = r"^[0-9]{1,10}(?:\.[0-9]{1,8})?$"
_SIZES_ABOVE_ZERO = frozenset({"trades", "book_snapshots"})
_SIDES = {"trades": ("buy", "sell"), "book_updates": ("bid", "ask"), "book_snapshots": ("bid", "ask")}


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Every row of a frame once.

    Attributes:
        standard, wide: rows that can be stored, with `timestamp` and decimals of the table's own type.
        refused: as they came, with the column `reasons`, a list of codes.
    """

    standard: pl.DataFrame
    wide: pl.DataFrame
    refused: pl.DataFrame


def place_rows(rows: pl.DataFrame, table: str, *, negative_prices: bool = False) -> PlacedRows:
    """Decide where each row of trades, quotes or a book goes.

    Args:
        rows: `exchange_time` and `receive_time` (Int64, ns since 1970 UTC, one of both may be null), the numbers of the table as
            text, decimals or integers, `side` where the table has one, and any others, which are passed on.
        table: `trades`, `book_updates`, `book_snapshots` or `quotes`.
        negative_prices: whether a price may be zero or less, as those of spreads and of some futures.

    Returns:
        The rows, each in one of the three frames, in their order.

    Example:
        >>> rows = pl.DataFrame({"exchange_time": [1], "receive_time": [None], "side": ["buy"], "price": ["1.5"], "size": ["0"]})
        >>> place_rows(rows, "trades").refused["reasons"].to_list()
        [['size_not_positive']]
    """
    names = [name for name in rows.columns if name in _NUMBERS]
    read = {name: _read(rows[name], required=table != "quotes") for name in names}
    moment = event_time()
    columns = [number for number, _, _ in read.values()]
    checked = rows.with_columns(*columns, moment.alias("_moment"))
    conditions: list[tuple[str, pl.Expr]] = [
        (UNREADABLE_TIMESTAMP, pl.col("_moment").is_null()),
        (IMPLAUSIBLE_TIMESTAMP, (pl.col("_moment") < 0) | (pl.col("_moment") >= _LATEST)),
    ]
    prices, sizes = ([name for name in names if name.endswith(end)] for end in ("price", "size"))
    if not negative_prices:
        conditions.append((PRICE_NOT_POSITIVE, pl.any_horizontal(pl.col(prices) <= 0)))
    if table in _SIZES_ABOVE_ZERO:
        conditions.append((SIZE_NOT_POSITIVE, pl.any_horizontal(pl.col(sizes) <= 0)))
    else:
        conditions.append((SIZE_NEGATIVE, pl.any_horizontal(pl.col(sizes) < 0)))
    if table in _SIDES:
        # Only of a trade it may be unknown who took liquidity.
        is_known = pl.col("side").is_in(_SIDES[table])
        conditions.append((UNKNOWN_SIDE, ~(is_known if table == "trades" else is_known.fill_null(False))))
    reasons = _reasons(checked, conditions, [problem for _, _, problem in read.values() if problem is not None])
    fits = pl.Series([True]).new_from_index(0, rows.height)
    for _, is_standard, _ in read.values():
        fits = fits if is_standard is None else fits & is_standard
    if reasons is None:
        good, refused = checked, rows.clear().with_columns(pl.lit(None, pl.List(pl.String())).alias("reasons"))
    else:
        is_good = reasons.list.len() == 0
        good, fits = checked.filter(is_good), fits.filter(is_good)
        refused = rows.with_columns(reasons).filter(~is_good)
    good = good.with_columns((pl.col("_moment") // 1000).cast(INSTANT).alias("timestamp")).drop("_moment")
    if fits.all():
        return PlacedRows(good.with_columns(pl.col(names).cast(_STANDARD)), _none_of(good, names, _WIDE), refused)
    return PlacedRows(
        good.filter(fits).with_columns(pl.col(names).cast(_STANDARD)),
        good.filter(~fits).with_columns(pl.col(names).cast(_WIDE)),
        refused,
    )


def _none_of(rows: pl.DataFrame, names: Sequence[str], kind: pl.Decimal) -> pl.DataFrame:
    return rows.clear().with_columns(pl.col(names).cast(kind))


_NUMBERS = frozenset({"price", "size", "bid_price", "bid_size", "ask_price", "ask_size"})


def _reasons(
    rows: pl.DataFrame, conditions: Sequence[tuple[str, pl.Expr]], problems: Sequence[pl.Series]
) -> pl.Series | None:
    """Lists of codes, empty for good rows; None where all are good."""
    flags = rows.select(condition.fill_null(False).alias(code) for code, condition in conditions)
    any_flag = flags.select(pl.all().any()).row(0)
    found = [code for code, is_there in zip(flags.columns, any_flag, strict=True) if is_there]
    if not found and not problems:
        return None
    parts = [pl.when(flags[code]).then(pl.lit(code)) for code in found]
    texts = flags.select(pl.concat_list([*parts, *(pl.lit(problem) for problem in problems)]).alias("reasons"))
    return texts["reasons"].list.drop_nulls().list.unique(maintain_order=True)


def _read(numbers: pl.Series, *, required: bool) -> tuple[pl.Series, pl.Series | None, pl.Series | None]:
    """Decimals of a column; which of them fit the standard table, None for all; and why others cannot be read, None for none."""
    kind = numbers.dtype
    if kind == _STANDARD and not (required and numbers.null_count()):
        return numbers, None, None
    if isinstance(kind, pl.Null):
        problem = pl.Series([MISSING]).new_from_index(0, len(numbers)) if required else None
        return numbers.cast(_STANDARD), None, problem
    if isinstance(kind, pl.String):
        if numbers.str.contains(_PLAIN).all() and not (required and numbers.null_count()):
            return numbers.cast(_STANDARD), None, None
        wide, problem = _from_text(numbers, required=required)
    elif kind.is_decimal() or kind.is_integer():
        wide = numbers.cast(_WIDE, strict=False)
        problem = None
        if required and numbers.null_count():
            problem = _where(numbers.is_null(), MISSING)
    else:
        raise TypeError(f"{numbers.name} is {kind}, which is not exact")
    standard = wide.cast(_STANDARD, strict=False)
    fits = (standard.cast(_WIDE) == wide).fill_null(False) | wide.is_null()
    return (standard, None, problem) if fits.all() else (wide, fits, problem)


def _from_text(texts: pl.Series, *, required: bool) -> tuple[pl.Series, pl.Series | None]:
    """Decimals of text, and why others cannot be read."""
    absent = texts.is_null() | (texts.str.strip_chars() == "")
    numbers = texts.cast(_WIDE, strict=False)
    doubtful = ((texts.str.contains(_DOUBTFUL) | numbers.is_null()) & ~absent).fill_null(False)
    problem = _where(absent, MISSING) if required and absent.any() else None
    if not doubtful.any():
        return numbers, problem
    rows = doubtful.arg_true()
    # Each text once: a file that is written wrongly is so in every line.
    distinct = texts.gather(rows).unique()
    parsed = [parse_exact(text, Precision.WIDE) for text in distinct]
    known = pl.DataFrame(
        {
            "text": distinct,
            "value": pl.Series([value for value, _ in parsed], dtype=_WIDE),
            "why": pl.Series([why for _, why in parsed], dtype=pl.String()),
        }
    )
    again = pl.DataFrame({"text": texts.gather(rows)}).join(known, on="text", how="left", maintain_order="left")
    why = pl.Series([None], dtype=pl.String()).new_from_index(0, len(texts)).scatter(rows, again["why"])
    numbers = numbers.scatter(rows, again["value"])
    if problem is not None:
        why = pl.DataFrame({"a": why, "b": problem}).select(pl.coalesce("a", "b")).to_series()
    return numbers, why if why.null_count() < len(why) else None


def _where(rows: pl.Series, code: str) -> pl.Series:
    return pl.DataFrame({"is": rows}).select(pl.when("is").then(pl.lit(code))).to_series()
