"""This module keeps the ledger of vendor calls: what was requested, what came, and how long it took.

There is one row per request, whatever became of it: a window of bars, a range of corporate actions, a list of instruments. Rows
are appended in one commit per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

import polars as pl

from gb_pipeline.lake.datasets import FETCHES
from gb_pipeline.market.schema import polars_schema
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
    rows: int = 0
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
    unplaced: int | None = None


def record(tables: Tables, records: Sequence[FetchRecord], *, clock: Clock = wall_clock) -> None:
    """Append; no commit when there is nothing to say."""
    if records:
        rows = [asdict(item) | {"outcome": item.outcome.value} for item in records]
        append.append(tables[FETCHES.name], pl.DataFrame(rows, schema=polars_schema(FETCHES.columns)), clock=clock)


def scan(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.LazyFrame:
    """The same as `read`, lazily and in no order."""
    snapshot = tables.newest(FETCHES.name)
    files = snapshot.select(
        {"source": source} if source is not None else None, holding={"symbol": symbols} if symbols is not None else None
    )
    lazy = reading.scan(tables.storage, FETCHES, files)
    return lazy if symbols is None else lazy.filter(pl.col("symbol").is_in(list(symbols)))


def read(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.DataFrame:
    """All recorded fetches of a source; columns of the dataset `fetches`, oldest first."""
    return scan(tables, source, symbols).sort("fetched_at", "known_at").collect()
