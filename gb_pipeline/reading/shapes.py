"""Bars in the shapes that research uses: a column per symbol, returns, and pandas. Nothing here reads a lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.schema import CONTENT, PRICES

if TYPE_CHECKING:
    import pandas as pd


def wide_columns(column: str) -> list[str]:
    """The columns of bars that a wide table is made of.

    Raises:
        ConfigError: it is not one of the numbers of a bar.
    """
    if column not in CONTENT:
        raise ConfigError(f"{column!r:.40} is not a number of a bar", fix=f"choose from {', '.join(CONTENT)}")
    return ["timestamp", "symbol", column]


def to_wide(bars: pl.DataFrame, column: str, symbols: Sequence[str] | None) -> pl.DataFrame:
    """A row per timestamp and a column per symbol, in this order or by name; null where there is no bar."""
    names = sorted(bars["symbol"].unique()) if symbols is None else symbols
    table = bars.pivot("symbol", index="timestamp", values=column, on_columns=names).sort("timestamp")
    return table.select("timestamp", *names)


def check_returns(kind: str, column: str) -> None:
    """Refuse what no return can be made of.

    Raises:
        ConfigError: an unknown kind, or a column that is no price.
    """
    if kind not in {"simple", "log"}:
        raise ConfigError(f"{kind!r:.40} is not a kind of return", fix="use simple or log")
    if column not in (*PRICES, "vwap"):
        raise ConfigError(f"{column!r:.40} is not a price", fix=f"choose from {', '.join((*PRICES, 'vwap'))}")


def to_returns(prices: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Returns of every column but `timestamp`, from the last price that there is to this one; see `Lake.returns`."""
    names = [name for name in prices.columns if name != "timestamp"]

    def ratio(name: str) -> pl.Expr:
        price, before = pl.col(name), pl.col(name).forward_fill().shift()
        return pl.when((price > 0) & (before > 0)).then(price / before)

    returns = ((ratio(name) - 1 if kind == "simple" else ratio(name).log()).alias(name) for name in names)
    return prices.select("timestamp", *returns)


def with_index(columns: Sequence[str]) -> list[str]:
    """The columns, and the one that becomes the index."""
    chosen = [columns] if isinstance(columns, str) else list(columns)
    return chosen if "timestamp" in chosen else ["timestamp", *chosen]


def to_pandas(bars: pl.DataFrame) -> pd.DataFrame:
    """A pandas frame with the column `timestamp` as its index.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise ConfigError(
            "pandas is not installed", fix="install it, or use `bars`, which needs Polars alone"
        ) from None
    return bars.to_pandas().set_index("timestamp")
