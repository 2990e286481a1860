"""This module computes what of the stored fundamentals the public could see at a moment. Pure functions on frames.

An event is a content of one row and the moment since which it could be seen: `published_at`, or, of a row that the vendor withdrew,
when that was known. What is computed for a moment depends on nothing that was published later.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from gb_pipeline.errors import UnknownSeries
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.storage.dataset import KNOWN_AT

ROW = ("source", "symbol", "statement", "kind", "fiscal_period_end", "item")
SERIES = ("source", "symbol", "statement", "kind", "item")
EVENT = "event_at"
_QUARTERS = 4
_MONTHS = 3
# Fiscal quarters of 52 or 53 weeks end some days around the end of a month.
_AROUND = 15
# A name, such as `total_revenue` or `cash_flow.net_income`, or several.
Items = str | Sequence[str]


def to_events(versions: pl.DataFrame, *, strict: bool = False) -> pl.DataFrame:
    """The events of some versions, without those that something which was known later had taken the place of already.

    Args:
        versions: of `lake.fundamentals.read(..., versions=True, withdrawn=True)`.
        strict: a content is an event no sooner than this lake knew it.

    Returns:
        The same columns and `event_at` (Datetime us UTC), sorted by row and `event_at`; `value`, `text` are null of what is
        withdrawn.
    """
    gone, published = pl.col("withdrawn"), pl.col("published_at")
    seen = pl.max_horizontal("published_at", KNOWN_AT) if strict else published
    rows = versions.with_columns(
        pl.when(gone).then(pl.col(KNOWN_AT)).otherwise(seen).alias(EVENT),
        *(pl.when(~gone).then(name).alias(name) for name in ("value", "text")),
    ).sort(*ROW, KNOWN_AT)
    later = pl.col(EVENT).reverse().cum_min().reverse().shift(-1).over(list(ROW))
    return rows.filter(later.is_null() | (pl.col(EVENT) < later))


def visible_at(events: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Of each row the content that could be seen at a moment; none where it was withdrawn by then."""
    seen = events.filter(pl.col(EVENT) <= instant_literal(moment))
    return seen.group_by(ROW, maintain_order=True).last().filter(~pl.col("withdrawn")).select(events.columns)


def newest_periods(events: pl.DataFrame) -> pl.DataFrame:
    """Events that change what a series shows: those of the newest period that could be seen by then.

    A restatement of an older period does not come back in the place of a newer one. Snapshots have no period: each of them
    counts.
    """
    ordered = events.sort(*SERIES, EVENT, "fiscal_period_end", maintain_order=True)
    newest = pl.col("fiscal_period_end").cum_max().over(list(SERIES))
    return ordered.filter(pl.col("fiscal_period_end").is_null() | (pl.col("fiscal_period_end") >= newest))


def trailing_sums(events: pl.DataFrame) -> pl.DataFrame:
    """What four quarters in a row add up to, as it could be seen at each moment.

    Args:
        events: of quarters, of items that may be summed.

    Returns:
        `source, symbol, statement, kind, item, fiscal_period_end` (of the newest quarter), `value, currency, unit, event_at`;
        `value` is null unless all four quarters have a number, in one currency.
    """
    quarters = events.with_columns(_month(pl.col("fiscal_period_end")).alias("month")).sort(EVENT, maintain_order=True)
    # Whatever moves one of the four quarters changes the sum: each event of the series is a moment at which it is computed.
    moments = quarters.select(*SERIES, EVENT, pl.col("month").cum_max().over(list(SERIES)).alias("newest")).unique(
        [*SERIES, EVENT], keep="last", maintain_order=True
    )
    told = quarters.select(*SERIES, EVENT, "month", "value", "currency", "unit", "fiscal_period_end")
    sums = moments
    for back in range(_QUARTERS):
        names = {name: f"{name}_{back}" for name in ("value", "currency", "unit", "fiscal_period_end")}
        sums = sums.with_columns((pl.col("newest") - back * _MONTHS).alias("month")).join_asof(
            told.rename(names), on=EVENT, by=[*SERIES, "month"], check_sortedness=False
        )
    values = [pl.col(f"value_{back}") for back in range(_QUARTERS)]
    whole = pl.all_horizontal(value.is_not_null() for value in values)
    same = pl.all_horizontal(
        pl.col("currency_0").eq_missing(pl.col(f"currency_{back}")) for back in range(1, _QUARTERS)
    )
    total = values[0]
    for value in values[1:]:
        total = total + value
    return sums.select(
        *SERIES,
        pl.col("fiscal_period_end_0").alias("fiscal_period_end"),
        pl.when(whole & same).then(total).cast(events.schema["value"]).alias("value"),
        pl.col("currency_0").alias("currency"),
        pl.col("unit_0").alias("unit"),
        EVENT,
    ).sort(*SERIES, EVENT)


def named_items(items: Items) -> list[str]:
    """Names of items, each once."""
    return list(dict.fromkeys([items] if isinstance(items, str) else items))


def select_items(rows: pl.DataFrame, items: Items | None) -> pl.DataFrame:
    """The rows of some items, by name or by statement and name."""
    if items is None:
        return rows
    wanted = named_items(items)
    qualified = pl.concat_str("statement", pl.lit("."), "item")
    known = {*rows["item"], *rows.select(qualified.alias("name"))["name"]}
    # Where there is no row of a symbol at all, there is nothing to compare a name with.
    unknown = [name for name in wanted if name not in known] if rows.height else []
    if unknown:
        near = near_names(unknown[0], sorted(rows["item"].unique()))
        raise UnknownSeries(
            f"no report has an item {unknown[0][:60]!r}",
            near=near,
            fix=did_you_mean(near, "`Lake.fundamentals(...)['item'].unique()` has the names"),
        )
    return rows.filter(pl.col("item").is_in(wanted) | qualified.is_in(wanted))


def in_periods(rows: pl.DataFrame, start: date | None, end: date | None) -> pl.DataFrame:
    """Rows about fiscal periods that end in a half-open range; snapshots have none, and are in no range."""
    if start is not None:
        rows = rows.filter(pl.col("fiscal_period_end") >= start)
    return rows if end is None else rows.filter(pl.col("fiscal_period_end") < end)


def _month(day: pl.Expr) -> pl.Expr:
    middle = day - pl.duration(days=_AROUND)
    return middle.dt.year().cast(pl.Int32) * 12 + middle.dt.month().cast(pl.Int32)
