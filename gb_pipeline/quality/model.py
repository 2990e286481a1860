"""This module has the rules of a bar as a Pandera model, and finds every breach of every row.

There is one named check per rule, over columns and types that come from the schema. It is used only on frames in which something
is wrong (`clean`): Pandera takes 0.4 s to import and a millisecond a check.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.schema import CORE, OPTIONAL, PRICES, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.reasons import (
    NOT_INCREASING,
    OUTSIDE_SESSION,
    OUTSIDE_WINDOW,
    PRICE_NOT_POSITIVE,
    STILL_OPEN,
    UNREADABLE_TIMESTAMP,
)
from gb_pipeline.quality.rules import BarRules

if TYPE_CHECKING:
    import pandera.polars as pa

BREACHES = pl.Schema({"index": pl.UInt32(), "reason": pl.String()})


def bar_model(rules: BarRules, window: Window, now: datetime) -> pa.DataFrameSchema:
    """The Pandera model of a placed bar (`placement.place`): types and nullability from the schema, one check per rule."""
    import pandera.polars as pa

    arrow = bar_schema(rules.precision)
    types = polars_schema(arrow)
    columns = {name: pa.Column(types[name], nullable=arrow.field(name).nullable) for name in (*CORE, *OPTIONAL)}
    expressions = _rule_expressions(rules, window, now)
    checks = [pa.Check(_as_check(rule.fill_null(True)), name=code) for code, rule in expressions.items()]
    return pa.DataFrameSchema(columns, checks=checks, strict=False, name="bars")


def find_breaches(frame: pl.DataFrame, rules: BarRules, window: Window, now: datetime) -> pl.DataFrame:
    """Every rule that every row breaks.

    Args:
        frame: a placed frame with exact numbers and a column `index` (UInt32).

    Returns:
        Columns `index` (UInt32) and `reason` (String). A missing number is not reported here: reading it said why.

    Raises:
        WindowRefused: the frame as a whole has wrong columns or types.
    """
    import pandera.errors

    try:
        bar_model(rules, window, now).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return _named_breaches(errors.failure_cases, frame["index"])
    return pl.DataFrame(schema=BREACHES)


def _named_breaches(cases: pl.DataFrame, index: pl.Series) -> pl.DataFrame:
    frame_failures = cases.filter(pl.col("index").is_null())
    if not frame_failures.is_empty():
        problems = "; ".join(
            f"{column}: {check}" for column, check in frame_failures.select("column", "check").iter_rows()
        )
        raise WindowRefused(f"the frame cannot be validated: {problems}", fix="see market.schema for the types")
    nulls = pl.col("check") == "not_nullable"
    stamps = nulls & (pl.col("column") == "timestamp")
    named_breaches = cases.filter(~nulls | stamps).select(
        pl.col("index").cast(pl.UInt32).alias("row"),
        pl.when(stamps).then(pl.lit(UNREADABLE_TIMESTAMP)).otherwise("check").alias("reason"),
    )
    return (
        named_breaches.with_columns(index.gather(named_breaches["row"]).alias("index"))
        .select("index", "reason")
        .cast(BREACHES)
    )


def _as_check(rule: pl.Expr) -> Any:
    def check(data: Any) -> pl.LazyFrame:
        lazy: pl.LazyFrame = data.lazyframe.select(rule)
        return lazy

    return check


def _rule_expressions(rules: BarRules, window: Window, now: datetime) -> dict[str, pl.Expr]:
    """Every rule by its code; true where the row keeps it, null where a value is missing: that is the column's breach."""
    col = pl.col
    repeats_previous = (col("symbol") == col("symbol").shift(1)) & (col("timestamp") == col("timestamp").shift(1))
    expressions = {
        "high_not_highest": (col("high") >= col("open")) & (col("high") >= col("low")) & (col("high") >= col("close")),
        "low_not_lowest": (col("low") <= col("open")) & (col("low") <= col("high")) & (col("low") <= col("close")),
        "negative_volume": col("volume") >= 0,
        "negative_trade_count": col("trade_count") >= 0,
        OUTSIDE_WINDOW: (col("timestamp") >= window.start) & (col("timestamp") < window.end),
        NOT_INCREASING: ~repeats_previous,
        OUTSIDE_SESSION: col("session").is_not_null() | col("timestamp").is_null(),
        "outside_hours": col("in_hours") | col("session").is_null(),
        "in_future": col("timestamp") <= now,
        STILL_OPEN: (col("end") + rules.grace <= now) | (col("timestamp") > now),
    }
    if not rules.allow_unaligned:
        expressions["misaligned"] = col("on_grid")
    if not rules.allow_negative_prices:
        expressions[PRICE_NOT_POSITIVE] = pl.all_horizontal(col(name) > 0 for name in PRICES)
    return expressions
