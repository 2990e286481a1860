"""Fundamentals for tests: rows as a provider hands them over."""

from __future__ import annotations

from datetime import date

import polars as pl

from gb_pipeline.market.fundamental_schema import FUNDAMENTALS_RECEIVED, LISTINGS_RECEIVED

Q1, Q2, Q3, Q4 = (date(2024, 3, 31), date(2024, 6, 30), date(2024, 9, 30), date(2024, 12, 31))


def told(
    value: str | None,
    period: date | None = Q1,
    item: str = "total_revenue",
    *,
    statement: str = "income_statement",
    kind: str = "quarterly",
    reported: date | None = None,
    currency: str | None = "USD",
    unit: str = "money",
    text: str | None = None,
) -> dict[str, object]:
    """One row."""
    return {
        "statement": statement, "kind": kind, "fiscal_period_end": period, "item": item, "value": value, "text": text,
        "unit": unit, "currency": currency, "reported_date": reported,
    }  # fmt: skip


def told_frame(*rows: dict[str, object]) -> pl.DataFrame:
    """Several rows, in the columns of `FUNDAMENTALS_RECEIVED`."""
    return pl.DataFrame(list(rows), schema=FUNDAMENTALS_RECEIVED)


def listing(symbol: str | None, first: date | None, last: date | None = None, **more: str | None) -> dict[str, object]:
    """One listing."""
    row = {
        "symbol": symbol, "ipo_date": first, "name": f"{symbol} Inc", "exchange": "NYSE", "asset_type": "Stock",
        "delisting_date": last, "status": "active" if last is None else "delisted", "vendor_symbol": symbol or "?",
    }  # fmt: skip
    return row | more


def listing_frame(*rows: dict[str, object]) -> pl.DataFrame:
    """Several listings, in the columns of `LISTINGS_RECEIVED`."""
    return pl.DataFrame(list(rows), schema=LISTINGS_RECEIVED)
