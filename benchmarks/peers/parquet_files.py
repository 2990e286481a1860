"""Plain Parquet files: one for each symbol, or one for each symbol and day where days are kept as they come.

This runs in the peers' environment as well as in ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.peers.batch import NUMBERS, Batch, floats, table_by_symbol, units
from benchmarks.peers.contender import Contender


class ParquetFiles(Contender):
    """float64, ZSTD; whatever changes a file writes it anew."""

    def places(self, symbol: str) -> Path:
        """Where a symbol lies: its file, or its days."""
        folder = self.folder / symbol
        return folder / "*.parquet" if folder.is_dir() else self.file(symbol)

    def open(self, folder: Path, resolution: str) -> None:
        del resolution
        self.folder = folder

    def prepare(self, batch: Batch) -> dict[str, pl.DataFrame]:
        return {
            symbol: pl.DataFrame(
                {"timestamp": pl.Series(part["timestamp"]).cast(pl.Datetime("us", "UTC"))}
                | {name: floats(part[name]) for name in NUMBERS}
            )
            for symbol, part in batch.by_symbol().items()
        }

    def write(self, data: dict[str, pl.DataFrame]) -> None:
        for symbol, frame in data.items():
            self._write(symbol, frame)

    def append(self, data: dict[str, pl.DataFrame]) -> None:
        for symbol, frame in data.items():
            self._write(symbol, pl.concat([pl.read_parquet(self.file(symbol)), frame]))

    def add_day(self, data: dict[str, pl.DataFrame]) -> None:
        for symbol, frame in data.items():
            folder = self.folder / symbol
            folder.mkdir(exist_ok=True)
            frame.write_parquet(folder / f"{frame['timestamp'][0]:%Y-%m-%d}.parquet", compression="zstd")

    def replace(self, data: dict[str, pl.DataFrame]) -> None:
        for symbol, frame in data.items():
            stored = pl.read_parquet(self.file(symbol))
            first, last = frame["timestamp"][0], frame["timestamp"][-1]
            parts = [stored.filter(pl.col("timestamp") < first), frame, stored.filter(pl.col("timestamp") > last)]
            self._write(symbol, pl.concat(parts))

    def compact(self) -> None:
        for folder in [path for path in self.folder.iterdir() if path.is_dir()]:
            self._write(folder.name, pl.read_parquet(folder / "*.parquet"))
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def read(self) -> pa.Table:
        parts = {}
        for path in sorted(self.folder.iterdir()):
            frame = pl.read_parquet(path / "*.parquet" if path.is_dir() else path)
            stamps = frame["timestamp"].to_physical().to_numpy().astype(np.int64)
            parts[path.name.removesuffix(".parquet")] = {
                "timestamp": stamps,
                **{name: units(frame[name].to_numpy()) for name in NUMBERS},
            }
        return table_by_symbol(parts)

    def file(self, symbol: str) -> Path:
        """The file of a symbol that was not kept day by day."""
        return self.folder / f"{symbol}.parquet"

    def _write(self, symbol: str, frame: pl.DataFrame) -> None:
        # Beside and renamed: a user who overwrites in place loses the year when the machine stops meanwhile.
        beside = self.folder / f"{symbol}.new"
        frame.write_parquet(beside, compression="zstd")
        beside.replace(self.file(symbol))
