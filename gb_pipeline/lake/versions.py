"""Versions of bars: what vendors changed after it was stored, and what they no longer return.

Belongs here: views over the tables of bars, whose rows keep every version. Nothing is stored for these: what a write recorded is
the versions themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from gb_pipeline.lake.datasets import bars_of
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema, polars_schema
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import IS_CURRENT
from gb_pipeline.storage.reading import held_at
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
    found = [pl.DataFrame(schema=RESTATEMENTS)]
    for snapshot, kind in _tables_of(tables, resolution):
        files = _files(snapshot, source, symbols, between)
        ended = files.filter(~pl.col(IS_CURRENT))
        if ended.is_empty():
            continue
        old = _versions(tables, snapshot, ended, kind, symbols, between)
        keys = old["timestamp"].min(), old["timestamp"].max()
        if old.is_empty():
            continue
        # The version that followed may be current, or superseded itself.
        near = files.filter((pl.col("max.timestamp") >= keys[0]) & (pl.col("min.timestamp") <= keys[1]))
        new = _versions(tables, snapshot, near, kind, symbols, between).join(
            old.select(_KEY).unique(), on=_KEY, how="semi"
        )
        pairs = old.join(new, left_on=[*_KEY, "superseded_at"], right_on=[*_KEY, "known_at"], suffix=" after")
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} after")) for name in CONTENT)
        found.append(
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
    return pl.concat(found).sort(*_ORDER, "replaced_at")


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
    found = [pl.DataFrame(schema=WITHDRAWN)]
    for snapshot, kind in _tables_of(tables, resolution):
        files = _files(snapshot, source, symbols, between)
        files = reading.current(snapshot, files) if as_of is None else reading.known_by(files, as_of)
        rows = _versions(tables, snapshot, files, kind, symbols, between, only_withdrawn=True)
        if as_of is not None:
            rows = rows.filter(held_at(as_of, history=True))
        found.append(rows.select(*_KEY, *CONTENT, pl.col("known_at").alias("withdrawn_at")).cast(WITHDRAWN))
    return pl.concat(found).sort(_ORDER)


def _tables_of(tables: Tables, resolution: Resolution | None) -> Iterator[tuple[Snapshot, Resolution]]:
    for snapshot in tables.existing():
        kind = bars_of(snapshot.dataset.name)
        if kind is not None and resolution in {None, kind[0]}:
            yield snapshot, kind[0]


def _files(
    snapshot: Snapshot, source: str | None, symbols: Sequence[str] | None, between: Between | None
) -> pl.DataFrame:
    return snapshot.select(
        {} if source is None else {"source": source},
        between=None if between is None else {"timestamp": between},
        holding=None if symbols is None else {"symbol": symbols},
    )


def _versions(
    tables: Tables,
    snapshot: Snapshot,
    files: pl.DataFrame,
    resolution: Resolution,
    symbols: Sequence[str] | None,
    between: Between | None,
    *,
    only_withdrawn: bool = False,
) -> pl.DataFrame:
    names = ["source", "symbol", "timestamp", *CONTENT, "withdrawn", "known_at", "superseded_at"]
    cut = None if between is None else ("timestamp", *between)
    rows = reading.scan(tables.storage, snapshot.dataset, files, names, between=cut)
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if only_withdrawn:
        rows = rows.filter(pl.col("withdrawn").fill_null(False))
    return rows.with_columns(
        pl.lit(resolution.value).alias("resolution"), *(pl.col(name).cast(number) for name, number in _NUMBERS.items())
    ).collect()
