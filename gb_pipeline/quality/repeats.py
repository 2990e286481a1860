"""This module tells rows of one timestamp apart: repeats of a bar, bars that contradict each other, and lines that are no bar.

Some sources put lines beside their bars that are none: a dividend, a row of nulls, a row of zeros. They say nothing about
the price, so they never contradict a bar.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from gb_pipeline.market.schema import PRICES
from gb_pipeline.quality.model import BREACHES
from gb_pipeline.quality.reasons import (
    CONFLICT,
    MISSING,
    NO_BAR,
    NOT_INCREASING,
    PART_OF_SESSION,
    PRICE_NOT_POSITIVE,
    UNREADABLE,
)
from gb_pipeline.quality.rules import BarRules

_KEY = ["symbol", "timestamp"]
_VALUES = (*PRICES, "volume", "trade_count", "vwap", "ask_close")
# How sources write that there is no value.
_NOTHING = ("", "-", "--", "null", "nil", "none", "nan", "na", "n/a", "#n/a")
# What follows from there being no prices.
_IMPLIED = (MISSING, UNREADABLE, PRICE_NOT_POSITIVE)


@dataclass(frozen=True, slots=True)
class NamedRows:
    """What is wrong with the rows of a frame.

    Attributes:
        breaches: `index` and `reason`, one row each.
        duplicates: `index` of rows that repeat an earlier one in every value; nothing else is said of them.
        blank: `index` of rows that hold no price at all.
        told: `index` of those of them of which their provider says so itself.
    """

    breaches: pl.DataFrame
    duplicates: pl.Series
    blank: pl.Series
    told: pl.Series


def name_rows(breaches: pl.DataFrame, received: pl.DataFrame, read: pl.DataFrame, rules: BarRules) -> NamedRows:
    """Name lines that are no bar, repeats and contradictions.

    Args:
        breaches: `index`, `reason` of everything that the rows break by themselves.
        received: the rows as received with `index`, sorted by symbol and timestamp.
        read: the same rows, their numbers read.
        rules: of their source.
    """
    lines = _lines_without_bar(received, read, rules)
    no_bar = lines["index"]
    if len(no_bar):
        is_implied = pl.col("index").is_in(no_bar.implode()) & pl.col("reason").is_in(_IMPLIED)
        named = lines.select("index", pl.lit(NO_BAR).alias("reason")).cast(BREACHES)
        breaches = pl.concat([breaches.filter(~is_implied), named])
    blank, told = lines.filter("is_blank")["index"], lines.filter("is_told")["index"]
    repeats = breaches.filter(pl.col("reason") == NOT_INCREASING)["index"]
    if repeats.is_empty():
        return NamedRows(breaches, repeats, blank, told)
    rows = _compare_repeats(repeats, received, read, no_bar)
    duplicates = rows.filter(pl.col("is_alike") & ~pl.col("is_first"))["index"]
    conflicts = rows.filter(~pl.col("is_alike") & ~pl.col("is_no_bar")).select(
        "index", pl.lit(CONFLICT).alias("reason")
    )
    others = breaches.filter((pl.col("reason") != NOT_INCREASING) & ~pl.col("index").is_in(duplicates.implode()))
    return NamedRows(pl.concat([others, conflicts.cast(BREACHES)]), duplicates, blank, told)


def _lines_without_bar(received: pl.DataFrame, read: pl.DataFrame, rules: BarRules) -> pl.DataFrame:
    """Lines of which no price can be read, one being absent, or all of whose prices are zero: `index`, `is_blank`, `is_told`."""
    unread = pl.all_horizontal(pl.col(name).is_null() for name in PRICES)
    zero = pl.all_horizontal((pl.col(name) == 0).fill_null(False) for name in PRICES)
    suspects = read.select(
        "index", unread.alias("unread"), (zero & pl.lit(not rules.allow_negative_prices)).alias("zero")
    ).filter(pl.col("unread") | pl.col("zero"))
    fault = received["fault"] if "fault" in received.columns else pl.repeat(None, received.height, eager=True)
    fault = fault.cast(pl.String)[suspects["index"]]
    # Of other faults its provider knows better.
    suspects = suspects.with_columns((fault == NO_BAR).fill_null(False).alias("is_told")).filter(
        fault.is_null() | fault.is_in([NO_BAR, PART_OF_SESSION])
    )
    absent = [_says_nothing(received[name][suspects["index"]]).alias(name) for name in PRICES]
    return (
        suspects.with_columns(absent)
        .select(
            "index",
            pl.all_horizontal(PRICES).alias("is_blank"),
            "is_told",
            (pl.col("zero") | pl.any_horizontal(PRICES)).alias("is_no_bar"),
        )
        .filter("is_no_bar")
    )


def _says_nothing(values: pl.Series) -> pl.Series:
    if values.dtype != pl.String():
        return values.is_null()
    return values.is_null() | values.str.strip_chars().str.to_lowercase().is_in(_NOTHING)


def _compare_repeats(repeats: pl.Series, received: pl.DataFrame, read: pl.DataFrame, no_bar: pl.Series) -> pl.DataFrame:
    """`index` and `is_alike`, `is_first`, `is_no_bar` (Boolean) of every row whose timestamp stands several times."""
    keys = received[repeats].select(_KEY).unique()
    places = received.join(keys, on=_KEY, how="semi", maintain_order="left")["index"]
    raw, rows = received[places], read[places]
    values = [name for name in _VALUES if name in rows.columns]
    # Written differently, a value is the same; what cannot be read is compared as it was written.
    unread = [
        pl.select(pl.when(rows[name].is_null()).then(raw[name].cast(pl.String))).to_series().alias(f"raw {name}")
        for name in values
        if name in raw.columns
    ]
    group = [*_KEY, "is_no_bar"]
    content = [*values, *(series.name for series in unread)]
    return rows.with_columns(*unread, pl.col("index").is_in(no_bar.implode()).alias("is_no_bar")).select(
        "index",
        "is_no_bar",
        (pl.struct(content).n_unique().over(group) == 1).alias("is_alike"),
        (pl.col("index") == pl.col("index").min().over(group)).alias("is_first"),
    )
