"""This module reads versions of bars: what vendors changed after it was stored, and what they no longer return.

The tables of bars keep every version of a row, so nothing else is stored for this.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake.version_rows import BAR_KEY, NUMBERS, WIDE, Between, VersionQuery, by_resolution
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import IS_CURRENT
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

_ORDER = ["source", "resolution", "symbol", "timestamp"]
RESTATEMENTS = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "timestamp": WIDE["timestamp"],
        **{f"old_{name}": kind for name, kind in NUMBERS.items()},
        **{f"new_{name}": kind for name, kind in NUMBERS.items()},
        "first_known": WIDE["timestamp"],
        "replaced_at": WIDE["timestamp"],
        "delay": pl.Int64(),
        "age": pl.Int64(),
    }
)
WITHDRAWN = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "timestamp": WIDE["timestamp"],
        **NUMBERS,
        "withdrawn_at": WIDE["timestamp"],
    }
)


def restatements(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: Between | None = None,
) -> pl.DataFrame:
    """Content that a vendor changed after it was stored, one row per change.

    Args:
        between: half-open range of bar timestamps.

    Returns:
        `source, symbol, resolution, timestamp`, `old_<content>` and `new_<content>` (Decimal(38,18) for prices and volumes),
        `first_known` and `replaced_at` (Datetime us UTC: when the old and the new content became known), `delay` (Int64
        microseconds between them), `age` (the same since any content of the bar was known); sorted by series, timestamp and moment.
        A bar that was only withdrawn, or that came back as it was, is not among them.
    """
    changes = [pl.DataFrame(schema=RESTATEMENTS)]
    for kind, snapshots in by_resolution(tables, resolution):
        query = VersionQuery(tables, kind, source, symbols, between)
        parts = [query.read(snapshot, files.filter(~pl.col(IS_CURRENT))) for snapshot, files in query.files(snapshots)]
        superseded = pl.concat([*parts, query.hidden(snapshots)])
        if superseded.is_empty():
            continue
        # The version that followed may be current, or superseded itself.
        near = query.near(superseded)
        following = pl.concat([near.read(snapshot, files) for snapshot, files in near.files(snapshots)])
        changes.append(
            _changes(superseded, following.join(superseded.select(BAR_KEY).unique(), on=BAR_KEY, how="semi"))
        )
    return pl.concat(changes).sort(*_ORDER, "replaced_at")


def _changes(old: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring versions whose content differs, columns of `RESTATEMENTS`."""
    old = old.with_columns(pl.col("known_at").min().over(BAR_KEY).alias("began"))
    pairs = old.join(after, left_on=[*BAR_KEY, "superseded_at"], right_on=[*BAR_KEY, "known_at"], suffix=" after")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} after")) for name in CONTENT)
    return (
        pairs.filter(~same)
        .select(
            *BAR_KEY,
            *(pl.col(name).alias(f"old_{name}") for name in CONTENT),
            *(pl.col(f"{name} after").alias(f"new_{name}") for name in CONTENT),
            pl.col("known_at").alias("first_known"),
            pl.col("superseded_at").alias("replaced_at"),
            (pl.col("superseded_at") - pl.col("known_at")).dt.total_microseconds().alias("delay"),
            (pl.col("superseded_at") - pl.col("began")).dt.total_microseconds().alias("age"),
        )
        .cast(RESTATEMENTS)
    )


def withdrawn(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: Between | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Stored bars that the vendor no longer returns, now or as was known at a moment.

    Returns:
        `source, symbol, resolution, timestamp`, content (Decimal(38,18)), `withdrawn_at` (Datetime us UTC); sorted by series and
        timestamp.
    """
    parts = [pl.DataFrame(schema=WITHDRAWN)]
    for kind, snapshots in by_resolution(tables, resolution):
        query = VersionQuery(tables, kind, source, symbols, between)
        withdrawn_parts = [
            query.read(snapshot, _files_at(snapshot, files, as_of), only_withdrawn=True)
            for snapshot, files in query.files(snapshots)
        ]
        rows = pl.concat(withdrawn_parts)
        if as_of is not None:
            rows = rows.filter(valid_at(as_of, history=True))
        hidden = query.hidden(snapshots) if rows.height else rows
        if as_of is not None:
            hidden = hidden.filter(pl.col("superseded_at") <= as_of)
        rows = rows.join(hidden, on=[*BAR_KEY, "known_at"], how="anti")
        parts.append(rows.select(*BAR_KEY, *CONTENT, pl.col("known_at").alias("withdrawn_at")).cast(WITHDRAWN))
    return pl.concat(parts).sort(_ORDER)


def _files_at(snapshot: Snapshot, files: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    return reading.current_files(snapshot, files) if as_of is None else reading.files_valid_at(files, as_of)
