"""Corporate actions for tests, as a provider hands them over."""

from __future__ import annotations

from datetime import date

import polars as pl

from gb_pipeline.market.schema import ACTIONS_RECEIVED


def split(ex_date: str | None, to: str | None, of: str | None = "1", label: str = "", symbol: str = "AAPL") -> dict:
    return {
        "symbol": symbol,
        "ex_date": None if ex_date is None else date.fromisoformat(ex_date),
        "kind": "split",
        "label": label,
        "split_to": to,
        "split_from": of,
    }


def dividend(ex_date: str | None, amount: str | None, label: str = "CD", symbol: str = "AAPL", **more: object) -> dict:
    return {
        "symbol": symbol,
        "ex_date": None if ex_date is None else date.fromisoformat(ex_date),
        "kind": "cash_dividend",
        "label": label,
        "amount": amount,
        "currency": "USD",
        **more,
    }


def delisting(ex_date: str, symbol: str = "AAPL") -> dict:
    return {"symbol": symbol, "ex_date": date.fromisoformat(ex_date), "kind": "delisting", "label": ""}


def received(*rows: dict) -> pl.DataFrame:
    """The frame of some actions; what a row does not say is null."""
    return pl.DataFrame(list(rows), schema={"symbol": pl.String(), **ACTIONS_RECEIVED})
