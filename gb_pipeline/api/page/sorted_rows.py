"""This module shows millions of bars in the order of any column: they are read once, into a file without a name, and sorted.

A grid asks for some hundred rows at any place of an order. To find each of them in the lake would read most of its files, for
neighbours in the order of a price lie anywhere in time. So all bars are written once to an Arrow file in the lake's state, a piece
at a time; of each order only the places are kept, four bytes a bar, also in a file; and both are mapped into memory. One column at
a time is held while it is sorted, about a hundred bytes a bar. The system deletes the files when nobody uses them any more, however
the process ends.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Hashable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from cachetools import LRUCache

from gb_pipeline.api.page.rows import COLUMNS, read_places
from gb_pipeline.api.page.session_index import SessionIndex, SessionIndexes
from gb_pipeline.api.page.sorting import Sort
from gb_pipeline.errors import ReadError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake

_PIECE = 250_000
# Two times what one grid may have, so that two people sort at a time: about 140 bytes of disk for a bar.
_KEPT_FACTOR = 2
_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(), "timestamp": pl.Datetime("us", "UTC"),
        **{name: pl.Decimal(38, 18) for name in ("open", "high", "low", "close", "volume")},
        "trade_count": pl.Int64(), "vwap": pl.Decimal(38, 18), "known_at": pl.Datetime("us", "UTC"),
    }
)  # fmt: skip


class BarFile:
    """Bars in a file without a name, and the orders that were asked for. Read it from any thread."""

    def __init__(self, frames: Iterator[pl.DataFrame], folder: Path) -> None:
        """Write the bars.

        Args:
            frames: pieces of them, in the order of the lake, as `COLUMNS`.
            folder: where there is room for the file.
        """
        self._folder = folder
        with tempfile.TemporaryFile(dir=folder) as file:
            schema = pl.DataFrame(schema=_SCHEMA).to_arrow().schema
            with pa.ipc.new_file(file, schema) as writer:
                for frame in frames:
                    if frame.height:
                        table = frame.cast(_SCHEMA).to_arrow().cast(schema)
                        writer.write_batch(table.combine_chunks().to_batches()[0])
            file.flush()
            reader = pa.ipc.open_file(pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.rows = int(self._starts[-1])
        self._orders: dict[str, tuple[npt.NDArray[np.uint32], int]] = {}
        self._lock = Lock()

    def window(self, sort: Sort, offset: int, limit: int) -> pl.DataFrame:
        """Some bars in an order, whose first use takes the time to sort one column."""
        places, filled = self._order(sort.column)
        wanted = np.arange(offset, min(offset + limit, self.rows))
        if sort.descending:
            # What has no value stays behind.
            wanted = np.where(wanted < filled, filled - 1 - wanted, wanted)
        return self._take(places[wanted])

    def _order(self, column: str) -> tuple[npt.NDArray[np.uint32], int]:
        with self._lock:
            if column not in self._orders:
                self._orders[column] = self._sort(column)
            return self._orders[column]

    def _sort(self, column: str) -> tuple[npt.NDArray[np.uint32], int]:
        chunks = pa.chunked_array([batch.column(column) for batch in self._batches])
        values = pl.Series(column, chunks)
        [places] = values.to_frame().select(pl.arg_sort_by(column, nulls_last=True, maintain_order=True)).get_columns()
        filled = values.len() - values.null_count()
        with tempfile.TemporaryFile(dir=self._folder) as file:
            places.to_numpy().astype(np.uint32).tofile(file)
            file.flush()
            return np.memmap(file, np.uint32, "r"), filled

    def _take(self, places: npt.NDArray[np.uint32]) -> pl.DataFrame:
        in_order = np.argsort(places, kind="stable")
        ascending = places[in_order]
        cuts = np.searchsorted(ascending, self._starts)
        parts = [
            batch.take(pa.array(ascending[first:end] - start))
            for batch, start, first, end in zip(self._batches, self._starts, cuts, cuts[1:], strict=False)
            if end > first
        ] or [self._batches[0].slice(0, 0)]
        frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(parts)))
        return frame[np.argsort(in_order)]


class SortedRows:
    """The bars that were sorted last; a write to the lake makes them anew. Safe to share between threads."""

    def __init__(self, lake: Lake, indexes: SessionIndexes, *, most: int) -> None:
        """Nothing is read before the first order is asked for.

        Args:
            lake: whose bars.
            indexes: where each session begins.
            most: bars that are sorted at a time.
        """
        self._lake, self._indexes, self._most = lake, indexes, most
        self._lock = Lock()
        self._kept: LRUCache[Hashable, BarFile] = LRUCache(
            _KEPT_FACTOR * most, getsizeof=lambda bars: max(1, bars.rows)
        )

    def window(
        self, sort: Sort, source: str, symbol: str | None, resolution: Resolution, offset: int, limit: int,
        as_of: datetime | None = None,
    ) -> tuple[pl.DataFrame, int]:  # fmt: skip
        """Bars in the order of a column, and how many there are in all.

        Raises:
            ConfigError: bars have no such column.
            ReadError: there are more than can be sorted.
            UnknownSeries: a name that the lake does not know.
        """
        sort.require_one_of(COLUMNS)
        index = self._indexes.find(source, symbol, resolution, as_of)
        if index.total > self._most:
            raise ReadError(
                f"{index.total:,} bars are too many to be sorted: at most {self._most:,}",
                fix="open one series, whose bars are fewer, or ask in SQL with `order by` and `limit`",
            )
        if index.total == 0:
            return pl.DataFrame(schema=_SCHEMA), 0
        key = self._indexes.key(source, symbol, resolution, as_of)
        with self._lock:
            bars = self._kept.get(key)
            if bars is None:
                bars = self._kept[key] = BarFile(self._read(index, source, resolution, as_of), self._folder())
        return bars.window(sort, offset, limit), bars.rows

    def _read(
        self, index: SessionIndex, source: str, resolution: Resolution, as_of: datetime | None
    ) -> Iterator[pl.DataFrame]:
        for offset in range(0, index.total, _PIECE):
            yield read_places(self._lake, index, source, resolution, offset, _PIECE, as_of)

    def _folder(self) -> Path:
        folder = self._lake.store.storage.state
        folder.mkdir(parents=True, exist_ok=True)
        return folder
