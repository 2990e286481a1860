"""This module validates fundamentals and listings as a vendor sent them: text becomes exact decimals, and each row that breaks a
rule gets a reason.

What is stored already is dealt with in `lake.fundamentals` and `lake.listings`. All of it works on columns: a company has ten
thousand numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.fundamental_schema import (
    FUNDAMENTALS,
    FUNDAMENTALS_RECEIVED,
    LISTINGS,
    LISTINGS_RECEIVED,
    PeriodKind,
    Statement,
    Unit,
)
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.quality.corporate_actions import BAD
from gb_pipeline.quality.exact import read_exact
from gb_pipeline.quality.reasons import CONFLICT, NOT_REQUESTED

# Spellings of "there is none": never a zero.
NONE_SPELLINGS = ("None", "none", "null", "-", "")
NO_ITEM, NO_PERIOD, PERIOD_NOT_OVER = "missing_item", "missing_period", "period_not_over"
UNKNOWN_STATEMENT, UNKNOWN_KIND, UNKNOWN_UNIT = "unknown_statement", "unknown_kind", "unknown_unit"
UNKNOWN_CURRENCY = "unknown_currency"
NO_CODE, UNKNOWN_STATUS, ENDS_BEFORE_START = "no_canonical_code", "unknown_status", "delisted_before_listed"

FUNDAMENTAL_KEY = ("symbol", "statement", "kind", "fiscal_period_end", "item")
LISTING_KEY = ("symbol", "ipo_date")
LISTING_STATES = ("active", "delisted")
_ABOUT_THE_ROW = {"source", "withdrawn", "fetched_at"}
# A row without the source and without what the lake knows about it.
FUNDAMENTAL = pl.Schema(
    {name: kind for name, kind in polars_schema(FUNDAMENTALS).items() if name not in _ABOUT_THE_ROW | {"published_at"}}
)
LISTING = pl.Schema({name: kind for name, kind in polars_schema(LISTINGS).items() if name not in _ABOUT_THE_ROW})


@dataclass(frozen=True, slots=True)
class Validated:
    """The outcome of a validation; `received == good.height + bad.height + len(repeated)`.

    Attributes:
        good: columns of `FUNDAMENTAL` or `LISTING`, exact, each key once.
        bad: columns of `quality.corporate_actions.BAD`; `session` is the end of the period, or the day of the listing.
        refused: keys of bad rows: the vendor has not withdrawn these.
        received: rows of the frame.
        repeated: the symbol of each row that equals an earlier one in every value.
    """

    good: pl.DataFrame
    bad: pl.DataFrame
    refused: pl.DataFrame
    received: int
    repeated: pl.Series


def validate_fundamentals(frame: pl.DataFrame, symbols: Sequence[str], fetched_on: Mapping[str, date]) -> Validated:
    """Tell good rows from bad ones.

    Args:
        frame: `symbol` and columns of `FUNDAMENTALS_RECEIVED`; numbers as the vendor's own text.
        symbols: the requested ones.
        fetched_on: the day on which each was requested; a report about a period that ends later cannot be.

    Raises:
        WindowRefused: the frame has wrong columns or types.
    """
    received = _with_types(frame, pl.Schema({"symbol": pl.String(), **FUNDAMENTALS_RECEIVED}), "fundamentals")
    rows = received.with_columns(_none(name) for name in ("value", "text", "currency"))
    values, problems = read_exact(rows["value"], Precision.WIDE)
    days = pl.DataFrame(
        {"symbol": list(fetched_on), "asked_on": list(fetched_on.values())},
        schema={"symbol": pl.String(), "asked_on": pl.Date()},
    )
    rows = rows.with_columns(values, problems.alias("problem")).join(
        days, on="symbol", how="left", maintain_order="left"
    )
    snapshot = pl.col("kind") == PeriodKind.SNAPSHOT.value
    reasons = [
        _unless(pl.col("symbol").is_in(list(symbols)), NOT_REQUESTED),
        _unless(pl.col("statement").is_in([item.value for item in Statement]), UNKNOWN_STATEMENT),
        _unless(pl.col("kind").is_in([item.value for item in PeriodKind]), UNKNOWN_KIND),
        _unless(pl.col("unit").is_in([item.value for item in Unit]), UNKNOWN_UNIT),
        _unless(pl.col("item").str.len_chars() > 0, NO_ITEM),
        _unless(snapshot | pl.col("fiscal_period_end").is_not_null(), NO_PERIOD),
        _unless(
            (pl.col("fiscal_period_end") <= pl.col("asked_on"))
            | pl.col("fiscal_period_end").is_null()
            | pl.col("asked_on").is_null(),
            PERIOD_NOT_OVER,
        ),
        _unless(pl.col("currency").is_null() | pl.col("currency").str.contains("^[A-Z]{3}$"), UNKNOWN_CURRENCY),
        pl.when(pl.col("problem").is_not_null()).then(pl.concat_str(pl.lit("value_"), pl.col("problem"))),
    ]
    return _sort_out(received, rows, reasons, FUNDAMENTAL, FUNDAMENTAL_KEY, "fiscal_period_end")


def validate_listings(frame: pl.DataFrame) -> Validated:
    """Tell good listings from bad ones; of two that differ and have one key both are refused.

    Args:
        frame: columns of `LISTINGS_RECEIVED`; `symbol` is null where no canonical code can be made of the vendor's.

    Raises:
        WindowRefused: the frame has wrong columns or types.
    """
    received = _with_types(frame, LISTINGS_RECEIVED, "listings")
    rows = received.with_columns(_none(name) for name in ("name", "exchange", "asset_type"))
    reasons = [
        _unless(pl.col("symbol").is_not_null(), NO_CODE),
        _unless(pl.col("status").is_in(LISTING_STATES), UNKNOWN_STATUS),
        pl.when(pl.col("delisting_date") < pl.col("ipo_date")).then(pl.lit(ENDS_BEFORE_START)),
    ]
    return _sort_out(received, rows, reasons, LISTING, LISTING_KEY, "ipo_date")


def _none(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(text.is_in(NONE_SPELLINGS)).then(None).otherwise(text).alias(name)


def _unless(holds: pl.Expr, reason: str) -> pl.Expr:
    return pl.when(~holds.fill_null(False)).then(pl.lit(reason))


def _sort_out(
    received: pl.DataFrame,
    rows: pl.DataFrame,
    reasons: Sequence[pl.Expr],
    schema: pl.Schema,
    key: Sequence[str],
    dated: str,
) -> Validated:
    """Good rows, bad rows with their reasons, and how many come twice."""
    reasoned = rows.with_columns(
        pl.concat_list(reasons).list.drop_nulls().alias("reasons"), pl.int_range(pl.len()).alias("row")
    )
    clean = reasoned.filter(pl.col("reasons").list.len() == 0)
    content = [name for name in schema if name not in key]
    # Equal in every value: the first counts. Equal in the key alone: nobody can tell which of them holds.
    distinct = clean.unique([*key, *content], keep="first", maintain_order=True)
    repeated = clean.join(distinct.select("row"), on="row", how="anti", maintain_order="left")["symbol"]
    unclear = distinct.filter(pl.len().over(list(key)) > 1)
    good = distinct.join(unclear.select("row"), on="row", how="anti", maintain_order="left")
    conflicting = unclear.with_columns(pl.lit([CONFLICT], pl.List(pl.String())).alias("reasons"))
    refused = pl.concat([reasoned.filter(pl.col("reasons").list.len() > 0), conflicting]).sort("row")
    as_received = received[refused["row"]].select(pl.struct(pl.all()).struct.json_encode().alias("row"))["row"]
    bad = refused.select(
        pl.col("symbol").fill_null(""),
        pl.col(dated).alias("session"),
        pl.col(dated).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp"),
        "reasons",
        as_received,
    )
    return Validated(
        good=good.select(schema.names()).cast(schema),
        bad=bad.cast(BAD),
        refused=refused.select(key).unique(),
        received=received.height,
        repeated=repeated,
    )


def _with_types(frame: pl.DataFrame, types: pl.Schema, what: str) -> pl.DataFrame:
    missing, unknown = sorted(set(types) - set(frame.columns)), sorted(set(frame.columns) - set(types))
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown columns {', '.join(unknown)}"] if unknown else []
        raise WindowRefused(f"the frame of {what} {' and '.join(parts)}", fix=f"give {', '.join(types)}")
    for name, expected in types.items():
        if frame.schema[name] not in {expected, pl.Null()}:
            raise WindowRefused(
                f"column {name!r} of the {what} holds {frame.schema[name]}, not {expected}",
                fix="pass the vendor's own text, and dates as dates",
            )
    return frame.select(pl.col(name).cast(expected) for name, expected in types.items())
