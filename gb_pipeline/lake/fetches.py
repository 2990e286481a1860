"""This module keeps the ledger of vendor calls: what was requested, what came, and how long it took.

There is one row per request, whatever became of it: a window of bars, a range of corporate actions, a list of instruments. Rows
are appended in one commit per batch, before anything of an answer is stored. A request for bars is told again when they are:
with what became of its rows. Until then, and where a process died in between, these counts are null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import FETCHES
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.quality.read_rows import FileRows
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, wall_clock
from gb_pipeline.storage.table import Tables


class FetchOutcome(StrEnum):
    """How a fetch ended; `empty` means that the vendor sent a well-formed empty response.

    `deferred`: the calls of the vendor's day were used up. What waited behind it was never requested and leaves no row.
    """

    OK = "ok"
    EMPTY = "empty"
    ERROR = "error"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class FetchRecord:
    """One request to a vendor, whatever became of it; fields as in `market.schema.FETCHES`."""

    source: str
    symbol: str
    resolution: str
    window_start: datetime
    window_end: datetime
    fetched_at: datetime
    outcome: FetchOutcome
    received: int = 0
    calls: int = 0
    latency_ms: int = 0
    bytes: int = 0
    response_hash: str | None = None
    error: str | None = None
    message: str | None = None
    run_id: str | None = None
    kind: str = "bars"
    normaliser: str | None = None
    raw: tuple[str, ...] | None = None
    stored: int | None = None
    unchanged: int | None = None
    quarantined: int | None = None
    duplicates: int | None = None
    unplaced: int | None = None
    read: int | None = None
    outside: int | None = None
    files: tuple[FileRows, ...] | None = None
    fetch_id: str = field(default_factory=lambda: uuid4().hex[:16])

    def with_counts(self, counts: RowCounts) -> FetchRecord:
        """The same request, and what became of the rows of its answer.

        Raises:
            LakeError: the answer had another number of rows, which is a bug.
        """
        if counts.received != self.received:
            raise LakeError(
                f"{self.source} {self.symbol}: {self.received:,} rows were received, and {counts.received:,} accounted for",
                fix="this is a bug of gb_pipeline: please report it with these numbers",
            )
        return replace(self, **counts.as_dict())


def record(
    tables: Tables,
    records: Sequence[FetchRecord],
    *,
    clock: Clock = wall_clock,
    check: Callable[[], None] | None = None,
) -> None:
    """Append; no commit when there is nothing to say, nor where `check` raises: see `storage.append.append`."""
    if records:
        rows = [asdict(item) | {"outcome": item.outcome.value} for item in records]
        frame = pl.DataFrame(rows, schema=polars_schema(FETCHES.columns))
        append.append(tables[FETCHES.name], frame, clock=clock, check=check)


def scan(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    *,
    since: datetime | None = None,
) -> pl.LazyFrame:
    """The same as `read`, lazily and in no order; of fetches that began at a moment or later where one is given."""
    snapshot = tables.newest(FETCHES.name)
    files = snapshot.select(
        {"source": source} if source is not None else None, holding={"symbol": symbols} if symbols is not None else None
    )
    lazy = reading.scan(tables.storage, FETCHES, files)
    if since is not None:
        lazy = lazy.filter(pl.col("fetched_at") >= instant_literal(since))
    return _newest_telling(lazy if symbols is None else lazy.filter(pl.col("symbol").is_in(list(symbols))))


def _newest_telling(rows: pl.LazyFrame) -> pl.LazyFrame:
    """What was told last of every fetch, known since it was told first."""
    known_at, has_no_id = pl.col("known_at"), pl.col("fetch_id").is_null()
    is_newest = has_no_id | (known_at == known_at.max().over("fetch_id"))
    first = pl.when(has_no_id).then(known_at).otherwise(known_at.min().over("fetch_id"))
    return (
        rows.with_columns(is_newest.alias("is_newest"), first.alias("known_at")).filter("is_newest").drop("is_newest")
    )


def read(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.DataFrame:
    """All recorded fetches of a source; columns of the dataset `fetches`, oldest first."""
    return scan(tables, source, symbols).sort("fetched_at", "known_at").collect()
