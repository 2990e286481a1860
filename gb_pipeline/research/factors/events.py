"""Which published value each session may see: the newest period that was known before it opened, in its newest version."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.research.factors.datasets import Dataset, LoadRequest
from gb_pipeline.research.factors.holders import SINCE
from gb_pipeline.research.factors.request import Market
from gb_pipeline.research.factors.timeline import Block, Timeline


def add_columns(
    frame: pl.DataFrame, market: Market, timeline: Timeline, block: Block, dataset: Dataset, columns: Sequence[str]
) -> pl.DataFrame:
    """The frame of a block with columns of a dataset, named `dataset.column`.

    A value is the one that its own session could see, also in the windows of later sessions.
    """
    request = LoadRequest(
        tuple(columns),
        market.names,
        timeline.day(block.warm),
        timeline.day(block.end - 1),
        market.lake,
        market.source,
        market.asked,
        market.strict,
    )
    rows = dataset.load(request)
    moments = frame.select("symbol", "session").with_columns(
        opens=pl.Series(timeline.opens).gather(frame["column"].cast(pl.Int64) + block.warm)
    )
    seen = _as_known(rows, market.names)
    found = (
        moments.with_row_index("place")
        .sort("opens", maintain_order=True)
        .join_asof(seen, left_on="opens", right_on="known", by="symbol", check_sortedness=False)
        .sort("place")
    )
    if dataset.max_age is not None:
        age = pl.col("opens") - pl.col("known")
        fresh = age <= int(dataset.max_age.total_seconds() * 1e6)
        found = found.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in columns)
    found = found.with_columns(_of_holder(market, found, columns))
    kinds = {name: pl.Float64 if dataset.columns[name].is_numeric() else dataset.columns[name] for name in columns}
    return frame.with_columns(found[name].cast(kind).alias(f"{dataset.name}.{name}") for name, kind in kinds.items())


def _of_holder(market: Market, found: pl.DataFrame, columns: Sequence[str]) -> list[pl.Expr]:
    """The columns without what was told of whoever had a symbol before."""
    numbers = [number for number, name in enumerate(market.names) if name in market.holders.changes]
    if not numbers:
        return []
    symbols = pl.Series(market.names, dtype=pl.String)
    named = found.select(pl.lit(symbols).gather(pl.col("symbol")).alias("symbol"), pl.col("session").cast(pl.Date))
    since = market.holders.with_spans(named, "session")[SINCE].cast(pl.Datetime("us")).to_physical()
    own = pl.lit(since).is_null() | (pl.col("known") >= pl.lit(since))
    return [pl.when(own).then(pl.col(name)).alias(name) for name in columns]


def _as_known(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """What was the newest period at each moment at which something became known, by symbol number and `known`."""
    newest = pl.col("session").cum_max().over("symbol")
    return (
        rows.filter(pl.col("session") >= newest)
        .with_columns(
            pl.col("symbol").cast(pl.Enum(list(names))).to_physical().cast(pl.Int32),
            known=pl.col("known_at").to_physical().cast(pl.Int64),
        )
        .drop("session", "known_at")
        .sort("known", maintain_order=True)
    )
