"""This module reads versions of bars: what vendors changed after it was stored, and what they no longer return.

The tables of bars keep every version of a row, so nothing else is stored for this.
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
from gb_pipeline.storage.dataset import IS_CURRENT
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

_KEY = ["source", "symbol", "resolution", "timestamp"]
_WIDE = polars_schema(bar_schema(Precision.WIDE))
_NUMBERS = {name: _WIDE[name] for name in CONTENT}
_ORDER = ["source", "resolution", "symbol", "timestamp"]
RESTATEMENTS = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "timestamp": _WIDE["timestamp"],
        **{f"old_{name}": kind for name, kind in _NUMBERS.items()},
        **{f"new_{name}": kind for name, kind in _NUMBERS.items()},
        "first_known": _WIDE["timestamp"],
        "replaced_at": _WIDE["timestamp"],
        "delay": pl.Int64(),
    }
)
WITHDRAWN = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "timestamp": _WIDE["timestamp"],
        **_NUMBERS,
        "withdrawn_at": _WIDE["timestamp"],
    }
)
_VERSIONS = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol"), pl.String()),
        "timestamp": _WIDE["timestamp"],
        **_NUMBERS,
        "withdrawn": pl.Boolean(),
        "known_at": _WIDE["timestamp"],
        "superseded_at": _WIDE["timestamp"],
        "resolution": pl.String(),
    }
)
Between = tuple[datetime, datetime]


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
        microseconds between them); sorted by series, timestamp and moment. A bar that was only withdrawn, or that came back as it
        was, is not among them.
    """
    changes = [pl.DataFrame(schema=RESTATEMENTS)]
    for kind, snapshots in _by_resolution(tables, resolution):
        query = _VersionQuery(tables, kind, source, symbols, between)
        parts = [query.read(snapshot, files.filter(~pl.col(IS_CURRENT))) for snapshot, files in query.files(snapshots)]
        superseded = pl.concat([*parts, query.hidden(snapshots)])
        if superseded.is_empty():
            continue
        # The version that followed may be current, or superseded itself.
        near = query.near(superseded)
        following = pl.concat([near.read(snapshot, files) for snapshot, files in near.files(snapshots)])
        changes.append(_changes(superseded, following.join(superseded.select(_KEY).unique(), on=_KEY, how="semi")))
    return pl.concat(changes).sort(*_ORDER, "replaced_at")


def _changes(old: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring versions whose content differs, columns of `RESTATEMENTS`."""
    pairs = old.join(after, left_on=[*_KEY, "superseded_at"], right_on=[*_KEY, "known_at"], suffix=" after")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} after")) for name in CONTENT)
    return (
        pairs.filter(~same)
        .select(
            *_KEY,
            *(pl.col(name).alias(f"old_{name}") for name in CONTENT),
            *(pl.col(f"{name} after").alias(f"new_{name}") for name in CONTENT),
            pl.col("known_at").alias("first_known"),
            pl.col("superseded_at").alias("replaced_at"),
            (pl.col("superseded_at") - pl.col("known_at")).dt.total_microseconds().alias("delay"),
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
    for kind, snapshots in _by_resolution(tables, resolution):
        query = _VersionQuery(tables, kind, source, symbols, between)
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
        rows = rows.join(hidden, on=[*_KEY, "known_at"], how="anti")
        parts.append(rows.select(*_KEY, *CONTENT, pl.col("known_at").alias("withdrawn_at")).cast(WITHDRAWN))
    return pl.concat(parts).sort(_ORDER)


def _files_at(snapshot: Snapshot, files: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    return reading.current_files(snapshot, files) if as_of is None else reading.files_valid_at(files, as_of)


def _by_resolution(
    tables: Tables, resolution: Resolution | None
) -> Iterator[tuple[Resolution, dict[Precision, Snapshot]]]:
    """The tables of bars that there are, by resolution and precision."""
    by_resolution: dict[Resolution, dict[Precision, Snapshot]] = {}
    for dataset in tables.possible():
        kind = parse_bar_table(dataset.name)
        if kind is None or resolution not in {None, kind[0]}:
            continue
        snapshot = tables.newest(dataset.name)
        if snapshot.version >= 0:
            by_resolution.setdefault(kind[0], {})[kind[1]] = snapshot
    yield from by_resolution.items()


@dataclass(frozen=True)
class _VersionQuery:
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

    def near(self, rows: pl.DataFrame) -> _VersionQuery:
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
        numbers = (pl.col(name).cast(number) for name, number in _NUMBERS.items())
        return rows.with_columns(pl.lit(self.resolution.value).alias("resolution"), *numbers).collect()

    def hidden(self, snapshots: Mapping[Precision, Snapshot]) -> pl.DataFrame:
        """Standard rows that a wide row hides; `superseded_at` is when it began to."""
        standard, wide = snapshots.get(Precision.STANDARD), snapshots.get(Precision.WIDE)
        if standard is None or wide is None or (wide_files := self.select(wide)).is_empty():
            return pl.DataFrame(schema=_VERSIONS)
        wide_rows = self.read(wide, wide_files).group_by(_KEY).agg(pl.col("known_at").min().alias("taken_at"))
        near = self.near(wide_rows)
        rows = near.read(standard, reading.current_files(standard, near.select(standard))).join(wide_rows, on=_KEY)
        return rows.with_columns(pl.col("taken_at").alias("superseded_at")).select(_VERSIONS.names())
