"""What a lake holds after an import of trades, quotes and books."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import reading

Stored = Callable[..., pl.DataFrame]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture
def stored(lake: Lake) -> Stored:
    """All rows of a table, in the order of time; those of the wide sibling among them."""

    def read(name: str, source: str | None = None) -> pl.DataFrame:
        tables = lake.store.tables
        names = [name]
        if name in {"trades", "book_updates", "book_snapshots", "quotes"}:
            names = [stream_dataset(name, precision).name for precision in Precision]
        frames = [reading.read(lake.store.storage, tables[one].dataset, tables.newest(one).files) for one in names]
        rows = pl.concat(
            [frame.with_columns(pl.selectors.decimal().cast(pl.Decimal(38, 18))) for frame in frames if frame.height]
            or frames[:1]
        )
        if source is not None:
            rows = rows.filter(pl.col("source") == source)
        order = [column for column in ("symbol", "timestamp", "receive_time", "ordinal") if column in rows.columns]
        return rows.sort(order)

    return read
