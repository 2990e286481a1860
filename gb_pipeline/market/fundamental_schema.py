"""This module declares the columns of fundamentals and of listings, as `schema` does those of bars.

Fundamentals are kept long: one row for each number or text of a company's report, with its unit, its currency and the moment from
which the public could have it.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl
import pyarrow as pa

from gb_pipeline.market.schema import FETCHED_AT_COLUMN, SERIES_COLUMNS, TIMESTAMP, column


class Statement(StrEnum):
    """What a row of fundamentals stands in."""

    OVERVIEW = "overview"
    INCOME_STATEMENT = "income_statement"
    BALANCE_SHEET = "balance_sheet"
    CASH_FLOW = "cash_flow"
    EARNINGS = "earnings"


class PeriodKind(StrEnum):
    """How long a stretch a row is about: a fiscal year, a fiscal quarter, or what the vendor showed on one day."""

    ANNUAL = "annual"
    QUARTERLY = "quarterly"
    SNAPSHOT = "snapshot"


class Unit(StrEnum):
    """What a number counts; `text` where the row has a text instead."""

    MONEY = "money"
    MONEY_PER_SHARE = "money_per_share"
    SHARES = "shares"
    RATIO = "ratio"
    PERCENT = "percent"
    COUNT = "count"
    TEXT = "text"


# What is summed over four quarters: what is earned, paid or moved in them. A balance sheet is a moment's.
SUMMED_STATEMENTS = (Statement.INCOME_STATEMENT, Statement.CASH_FLOW, Statement.EARNINGS)

# Items that are texts, whoever tells them.
TEXT_ITEMS = frozenset(
    {
        "asset_type", "name", "description", "cik", "exchange", "currency", "country", "sector", "industry", "address",
        "official_site", "fiscal_year_end", "latest_quarter", "dividend_date", "ex_dividend_date", "report_time",
    }
)  # fmt: skip

# One row is (source, symbol, statement, kind, fiscal_period_end, item); storage keeps every version of it.
FUNDAMENTALS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("statement", pa.string(), "overview, income_statement, balance_sheet, cash_flow or earnings"),
        column("kind", pa.string(), "annual, quarterly, or snapshot: what the vendor showed on the day"),
        column("fiscal_period_end", pa.date32(), "last day of the fiscal period; null of a snapshot", nullable=True),
        column("item", pa.string(), "what it is, such as total_revenue"),
        column("value", pa.decimal128(38, 18), "the number, exact; null where the vendor says none", nullable=True),
        column("text", pa.string(), "the text, of items that are no numbers", nullable=True),
        column("unit", pa.string(), "money, money_per_share, shares, ratio, percent, count or text"),
        column("currency", pa.string(), "of money, where the vendor says it", nullable=True),
        column("reported_date", pa.date32(), "day on which the period was reported, if told", nullable=True),
        column("published_at", TIMESTAMP, "from then on the public could have this content"),
        column("withdrawn", pa.bool_(), "true from the moment on at which the vendor no longer says it", nullable=True),
        FETCHED_AT_COLUMN,
    ]
)

# One listing is (source, symbol, ipo_date): a code that was given again has several.
LISTINGS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("ipo_date", pa.date32(), "first day of the listing, where the vendor says", nullable=True),
        column("name", pa.string(), "of the company or fund", nullable=True),
        column("exchange", pa.string(), "the vendor's name of the venue", nullable=True),
        column("asset_type", pa.string(), "Stock or ETF, in the vendor's words", nullable=True),
        column("delisting_date", pa.date32(), "the day that the vendor gives as that of the end", nullable=True),
        column("status", pa.string(), "active or delisted"),
        column("vendor_symbol", pa.string(), "the vendor's own spelling"),
        column(
            "withdrawn", pa.bool_(), "true from the moment on at which the vendor no longer lists it", nullable=True
        ),
        FETCHED_AT_COLUMN,
    ]
)

# What a provider hands over: numbers are the vendor's own text until `quality` reads them.
FUNDAMENTALS_RECEIVED = pl.Schema(
    {
        "statement": pl.String(),
        "kind": pl.String(),
        "fiscal_period_end": pl.Date(),
        "item": pl.String(),
        "value": pl.String(),
        "text": pl.String(),
        "unit": pl.String(),
        "currency": pl.String(),
        "reported_date": pl.Date(),
    }
)
LISTINGS_RECEIVED = pl.Schema(
    {
        "symbol": pl.String(),
        "ipo_date": pl.Date(),
        "name": pl.String(),
        "exchange": pl.String(),
        "asset_type": pl.String(),
        "delisting_date": pl.Date(),
        "status": pl.String(),
        "vendor_symbol": pl.String(),
    }
)
