"""This module reads versions of bars out of chosen files: newest and superseded ones, of both precisions of a resolution.

What follows from them, restatements, withdrawn bars and changes, is in `versions` and `changes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema, polars_schema
from gb_pipeline.storage import reading
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

BAR_KEY = ["source", "symbol", "resolution", "timestamp"]
WIDE = polars_schema(bar_schema(Precision.WIDE))
NUMBERS = {name: WIDE[name] for name in CONTENT}
VERSIONS = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol"), pl.String()),
        "timestamp": WIDE["timestamp"],
        **NUMBERS,
        "withdrawn": pl.Boolean(),
        "known_at": WIDE["timestamp"],
        "superseded_at": WIDE["timestamp"],
        "resolution": pl.String(),
    }
)
Between = tuple[datetime, datetime]


def by_resolution(
    tables: Tables, resolution: Resolution | None
) -> Iterator[tuple[Resolution, dict[Precision, Snapshot]]]:
    """The tables of bars that there are, by resolution and precision."""
    found: dict[Resolution, dict[Precision, Snapshot]] = {}
    for dataset in tables.possible():
        kind = parse_bar_table(dataset.name)
        if kind is None or resolution not in {None, kind[0]}:
            continue
        snapshot = tables.newest(dataset.name)
        if snapshot.version >= 0:
            found.setdefault(kind[0], {})[kind[1]] = snapshot
    yield from found.items()


@dataclass(frozen=True)
class VersionQuery:
    """A query over the tables of one resolution."""

    tables: Tables
    resolution: Resolution
    source: str | None
    symbols: Sequence[str] | None
    between: Between | None

    def select(self, snapshot: Snapshot) -> pl.DataFrame:
        """The files of one table that may hold such rows."""
        return snapshot.select(
            {} if self.source is None else {"source": self.source},
            between=None if self.between is None else {"timestamp": self.between},
            holding=None if self.symbols is None else {"symbol": self.symbols},
        )

    def files(self, snapshots: Mapping[Precision, Snapshot]) -> Iterator[tuple[Snapshot, pl.DataFrame]]:
        """The same, table by table."""
        for snapshot in snapshots.values():
            yield snapshot, self.select(snapshot)

    def near(self, rows: pl.DataFrame) -> VersionQuery:
        """The same query, of nothing but the time between the first and the last of some bars."""
        first, last = rows["timestamp"].min(), rows["timestamp"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return self
        return replace(self, between=(first, last + timedelta(microseconds=1)))

    def read(self, snapshot: Snapshot, files: pl.DataFrame, *, only_withdrawn: bool = False) -> pl.DataFrame:
        """Key, content and moments of the versions in some files, numbers in the wider types."""
        names = ["source", "symbol", "timestamp", *CONTENT, "withdrawn", "known_at", "superseded_at"]
        needed_range = None if self.between is None else ("timestamp", *self.between)
        rows = reading.scan(self.tables.storage, snapshot.dataset, files, names, between=needed_range)
        if self.symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(list(self.symbols)))
        if only_withdrawn:
            rows = rows.filter(pl.col("withdrawn").fill_null(False))
        numbers = (pl.col(name).cast(number) for name, number in NUMBERS.items())
        return rows.with_columns(pl.lit(self.resolution.value).alias("resolution"), *numbers).collect()

    def hidden(self, snapshots: Mapping[Precision, Snapshot]) -> pl.DataFrame:
        """Standard rows that a wide row hides; `superseded_at` is when it began to."""
        standard, wide = snapshots.get(Precision.STANDARD), snapshots.get(Precision.WIDE)
        if standard is None or wide is None or (wide_files := self.select(wide)).is_empty():
            return pl.DataFrame(schema=VERSIONS)
        wide_rows = self.read(wide, wide_files).group_by(BAR_KEY).agg(pl.col("known_at").min().alias("taken_at"))
        near = self.near(wide_rows)
        rows = near.read(standard, reading.current_files(standard, near.select(standard))).join(wide_rows, on=BAR_KEY)
        return rows.with_columns(pl.col("taken_at").alias("superseded_at")).select(VERSIONS.names())
