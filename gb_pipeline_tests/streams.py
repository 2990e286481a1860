"""Rows of streams as a collector commits them, for tests of whoever reads them: trades, intervals of evidence, watermarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from gb_pipeline.lake.datasets import STREAM_INTERVALS, WATERMARKS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.storage.append import append
from gb_pipeline.storage.dataset import Dataset

SECOND = 1_000_000_000


def nanoseconds(text: str) -> int:
    """`2024-01-02 09:30` in UTC, as the tables write moments."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def commit_rows(store: LakeStore, dataset: Dataset, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows without what is null in all of them; `timestamp` is told by `at`, in ns."""
    schema = polars_schema(dataset.columns)
    made = [{"timestamp": datetime.fromtimestamp(row["at"] // 1000 / 1e6, UTC)} | dict(row) for row in rows]
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in made], schema=schema, orient="row")
    append(store.tables[dataset.name], frame, clock=store.clock)


def commit_trades(
    store: LakeStore, times: Iterable[int], *, source: str = "kraken", symbol: str = "BTC-USD", price: str = "100.5"
) -> None:
    """One trade at each moment (ns)."""
    rows = [
        {
            "source": source, "symbol": symbol, "at": time, "exchange_time": time, "receive_time": time + 1, "side": "buy",
            "price": Decimal(price), "size": Decimal("0.25"), "trade_id": str(time), "ordinal": 0, "collector": "one",
            "origin": "stream",
        }
        for time in times
    ]  # fmt: skip
    commit_rows(store, stream_dataset("trades"), rows)


def commit_levels(
    store: LakeStore, table: str, times: Iterable[int], *, source: str = "kraken", symbol: str = "BTC-USD"
) -> None:
    """A bid and an offer at each moment (ns): changed levels of a book, or a whole one, as the table has it."""
    rows = [
        {
            "source": source, "symbol": symbol, "at": time, "exchange_time": time, "receive_time": time, "side": side,
            "price": Decimal(price), "size": Decimal(1), "ordinal": ordinal, "sequence": time, "collector": "one",
            "reason": "subscribed",
        }
        for time in times
        for ordinal, (side, price) in enumerate((("bid", "100"), ("ask", "101")))
    ]  # fmt: skip
    commit_rows(store, stream_dataset(table), rows)


def commit_interval(
    store: LakeStore,
    start: int,
    end: int,
    *,
    kind: str = "covered",
    reason: str | None = None,
    source: str = "kraken",
    symbol: str = "BTC-USD",
    dataset: str = "trades",
    collector: str = "one",
    messages: int = 0,
    missing: int | None = None,
) -> None:
    """A stretch of evidence, or a gap with its reason."""
    row = {
        "source": source, "symbol": symbol, "dataset": dataset, "at": start, "start_time": start, "end_time": end, "kind": kind,
        "reason": reason, "collector": collector, "messages": messages, "rows": messages, "missing": missing,
    }  # fmt: skip
    commit_rows(store, STREAM_INTERVALS, [row])


def commit_watermark(
    store: LakeStore,
    through: int,
    *,
    source: str = "kraken",
    dataset: str = "trades",
    collector: str = "one",
    segment: int = 1,
) -> None:
    """Everything before a moment is committed."""
    row = {
        "source": source, "dataset": dataset, "collector": collector, "at": through, "through_time": through, "segment": segment,
        "rows": 0,
    }  # fmt: skip
    commit_rows(store, WATERMARKS, [row])
