"""ArcticDB on LMDB with pandas frames, one symbol for each series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from arcticdb import Arctic, WritePayload  # type: ignore[import-not-found]

from benchmarks.peers.batch import NUMBERS, Batch, floats, table_by_symbol, units
from benchmarks.peers.contender import Contender


class ArcticPandas(Contender):
    """float64 with an index of timestamps; several symbols in one batch call."""

    def open(self, folder: Path, resolution: str) -> None:
        self.arctic = Arctic(f"lmdb://{folder}")
        self.library = self.arctic.get_library(f"bars_{resolution}", create_if_missing=True)
        # Listing takes a second in a library that was copied; whoever compacts knows what there is.
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
