"""Content that a vendor changed after it was stored.

Belongs here: recording old and new side by side, exactly once, before the bar itself is replaced. A crash between the two
commits leaves a record whose bar still has the old content; running again finds the record and finishes with its moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake.files import ledger_rows
from gb_pipeline.lake.specs import spec_of
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, polars_schema

_KEY = ("symbol", "timestamp", "first_known")


def read(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[datetime, datetime] | None = None,
) -> pl.DataFrame:
    """Recorded restatements; `between` is a half-open range of bar timestamps. Sorted by series and timestamp."""
    rows = ledger_rows(tables, "restatements", source=source, symbols=symbols, between=between)
    if resolution is not None:
        rows = rows.filter(pl.col("resolution") == resolution.value)
    return rows.sort("source", "resolution", "symbol", "timestamp", "replaced_at").collect()


def record(
    tables: Tables, source: str, resolution: Resolution, changed: pl.DataFrame, replaced_at: datetime
) -> pl.DataFrame:
    """Record changed bars.

    Args:
        changed: `symbol`, `timestamp`, the new content columns, `old_<content>` and `old_known_at`.
        replaced_at: when the new content became known.

    Returns:
        `symbol`, `timestamp`, `known_at`: the moment that the new content is to carry. It is an earlier one where a run
        that crashed had recorded the very same change.

    Raises:
        CommitFailedError: somebody else records the same bars; decide anew.
    """
    spec = spec_of("restatements")
    types = polars_schema(spec.schema)
    rows = changed.select(
        pl.lit(source).alias("source"),
        "symbol",
        pl.lit(resolution.value).alias("resolution"),
        "timestamp",
        *(pl.col(f"old_{name}") for name in CONTENT),
        *(pl.col(name).alias(f"new_{name}") for name in CONTENT),
        pl.col("old_known_at").alias("first_known"),
        pl.lit(replaced_at).alias("replaced_at"),
        (pl.lit(replaced_at) - pl.col("old_known_at")).dt.total_microseconds().alias("delay"),
    ).cast(types)
    symbols = rows["symbol"].unique().sort().to_list()
    low, high = rows["timestamp"].min(), rows["timestamp"].max()
    tables.ensure(spec)
    with tables.open(spec.name) as table:
        there = read(tables, source, resolution, symbols).filter(pl.col("timestamp").is_between(low, high))
        content = [f"new_{name}" for name in CONTENT]
        same = there.join(rows.select(*_KEY, *content), on=[*_KEY, *content], how="semi", nulls_equal=True)
        fresh = rows.join(same, on=_KEY, how="anti")
        if not fresh.is_empty():
            rows = pl.concat([there.join(fresh, on=_KEY, how="anti"), fresh]).sort(spec.order)
            tables.replace(table, spec, rows, _predicate(source, resolution, symbols, low, high))  # type: ignore[arg-type]
    return pl.concat([same, fresh]).select("symbol", "timestamp", pl.col("replaced_at").alias("known_at"))


def _predicate(source: str, resolution: Resolution, symbols: list[str], low: datetime, high: datetime) -> str:
    names = ", ".join(f"'{symbol}'" for symbol in symbols)
    return (
        f"source = '{source}' AND resolution = '{resolution.value}' AND symbol IN ({names})"
        f" AND timestamp >= '{low.isoformat()}' AND timestamp <= '{high.isoformat()}'"
    )
