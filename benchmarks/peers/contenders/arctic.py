"""ArcticDB on LMDB with pandas frames, one symbol for each series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from arcticdb import Arctic, QueryBuilder, ReadRequest, WritePayload  # type: ignore[import-not-found]

from benchmarks.peers import numbers
from benchmarks.peers.batch import NUMBERS, Batch, floats, table_by_symbol, units
from benchmarks.peers.contender import Contender
from benchmarks.peers.questions import EXTENT, HOURS, LATEST, Question

HOURLY = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


class ArcticPandas(Contender):
    """float64 with an index of timestamps; several symbols in one batch call."""

    def open(self, folder: Path, resolution: str) -> None:
        self.arctic = Arctic(f"lmdb://{folder}")
        self.library = self.arctic.get_library(f"bars_{resolution}", create_if_missing=True)

    def look(self) -> None:
        # Listing takes a second in a library that was copied.
        self.symbols = self.library.list_symbols()

    def prepare(self, batch: Batch) -> list[WritePayload]:
        return [WritePayload(symbol, _frame(part)) for symbol, part in batch.by_symbol().items()]

    def write(self, data: list[WritePayload]) -> None:
        _complain(self.library.write_batch(data))

    def append(self, data: list[WritePayload]) -> None:
        # `write` where a symbol is not there yet: appending to nothing creates it.
        _complain(self.library.append_batch(data))

    def replace(self, data: list[WritePayload]) -> None:
        for item in data:
            self.library.update(item.symbol, item.data)

    def compact(self) -> None:
        read = self.library.read_batch(self.symbols)
        _complain(read)
        _complain(self.library.write_batch([WritePayload(item.symbol, item.data) for item in read]))

    def read(self) -> pa.Table:
        parts = {}
        for symbol in sorted(self.library.list_symbols()):
            frame = self.library.read(symbol).data
            stamps = frame.index.to_numpy().astype("datetime64[us]").astype(np.int64)
            parts[symbol] = {"timestamp": stamps, **{name: units(frame[name].to_numpy()) for name in NUMBERS}}
        return table_by_symbol(parts)

    def ask(self, question: Question) -> dict[str, Any]:
        symbols, columns = question.symbols, list(question.columns)
        if question.kind == EXTENT:
            return dict(zip(symbols, self.library.get_description_batch(list(symbols)), strict=True))
        if question.kind == LATEST:
            return {symbol: self.library.tail(symbol, 1, columns=columns).data for symbol in symbols}
        # Both ends count.
        window = tuple(pd.Timestamp(edge).tz_localize(None) for edge in (question.start, question.end))
        window = window[0], window[1] - pd.Timedelta(1, "ns")
        hourly = QueryBuilder().resample("1h").agg(HOURLY) if question.kind == HOURS else None
        if len(symbols) == 1:
            options: dict[str, Any] = {"query_builder": hourly} if hourly is not None else {"columns": columns}
            return {symbols[0]: self.library.read(symbols[0], date_range=window, **options).data}
        requests = [ReadRequest(symbol, date_range=window, columns=columns) for symbol in symbols]
        read = self.library.read_batch(requests)
        _complain(read)
        return {item.symbol: item.data for item in read}

    def columns(self, answer: dict[str, Any]) -> Iterator[Any]:
        for part in answer.values():
            if isinstance(part, pd.DataFrame):
                yield part.index.asi8
                yield from (part[name].to_numpy() for name in part)

    def rows(self, answer: dict[str, Any], question: Question) -> pa.Table:
        if question.kind == EXTENT:
            first, last = (
                pd.to_datetime([item.date_range[place] for item in answer.values()], utc=True).tz_localize(None)
                for place in (0, 1)
            )
            return numbers.extents(list(answer), [item.row_count for item in answer.values()], first, last)
        return pa.concat_tables(
            numbers.rows(symbol, part.index.to_numpy(), {name: part[name].to_numpy() for name in question.columns})
            for symbol, part in answer.items()
        )

    def close(self) -> None:
        del self.library, self.arctic


def _frame(part: dict[str, Any]) -> pd.DataFrame:
    index = pd.DatetimeIndex(part["timestamp"].astype("datetime64[us]").astype("datetime64[ns]"))
    return pd.DataFrame({name: floats(part[name]) for name in NUMBERS}, index=index)


def _complain(done: list[Any]) -> None:
    """A batch returns errors in place of results."""
    for item in done:
        if not hasattr(item, "version"):
            raise RuntimeError(str(item))


def contender() -> Contender:
    return ArcticPandas()
