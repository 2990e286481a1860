"""The lake, through its public API: validated, fingerprinted, with history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.measurement import compact
from benchmarks.peers import numbers
from benchmarks.peers.batch import NUMBERS, Batch, table_of
from benchmarks.peers.contender import Contender
from benchmarks.peers.questions import EXTENT, HOURS, LATEST, Question
from gb_pipeline import BarRules, CacheOptions, Lake, LakeStore, Resolution, Window

SOURCE = "bench"


@dataclass(frozen=True)
class _Answer:
    symbols: tuple[str, ...]
    resolution: Resolution
    window: Window
    frame: pl.DataFrame


class Ours(Contender):
    """Exact decimals in, exact decimals out."""

    acts = Contender.acts | {"again"}
    # No answer is kept: each is made of files every time.
    cache: ClassVar[CacheOptions | bool] = False

    def open(self, folder: Path, resolution: str) -> None:
        self.folder, self.resolution = folder, resolution
        self.lake = Lake.open(folder, create=True, cache=self.cache)

    @property
    def store(self) -> LakeStore:
        return self.lake.store

    def prepare(self, batch: Batch) -> _Answer:
        rows = batch.rows
        frame = pl.DataFrame(
            pa.table(
                {
                    "symbol": rows["symbol"].cast(pa.string()),
                    "timestamp": rows["timestamp"].cast(pa.timestamp("us", "UTC")),
                }
                | {name: _decimals(rows[name].to_numpy()) for name in NUMBERS}
            )
        )
        symbols = tuple(frame["symbol"].unique().sort())
        return _Answer(symbols, Resolution(batch.resolution), Window(batch.start, batch.end), frame)

    def write(self, data: _Answer) -> Any:
        """Every row is stored, or this is no measurement."""
        report = self.store.write_bars(
            SOURCE, data.symbols, data.resolution, data.window, data.frame, rules=BarRules(resolution=data.resolution)
        )
        if report.stored + report.unchanged != data.frame.height:
            raise AssertionError(f"{report.stored + report.unchanged} of {data.frame.height} rows are stored")
        return report

    append = replace = write

    def again(self, data: _Answer) -> None:
        """Identical content: nothing may be committed."""
        if self.write(data).version is not None:
            raise AssertionError("identical content was committed")

    def compact(self) -> None:
        compact(self.store)

    def read(self) -> pa.Table:
        frame = Lake.open(self.folder).bars(None, self.resolution, source=SOURCE)
        numbers = {name: frame[name].to_physical().cast(pl.Int64).to_arrow() for name in NUMBERS}
        return table_of(
            frame["symbol"].cast(pl.String).to_arrow(), frame["timestamp"].to_physical().to_arrow(), numbers
        )

    def ask(self, question: Question) -> pl.DataFrame:
        symbols, columns = question.symbols, question.columns
        if question.kind == EXTENT:
            return self.lake.extent(symbols, self.resolution, source=SOURCE)
        if question.kind == LATEST:
            names = ["symbol", "timestamp", *columns]
            return self.lake.latest(symbols, self.resolution, source=SOURCE, columns=names, as_float=True)
        several = ("symbol",) if len(symbols) > 1 else ()
        return self.lake.bars(
            symbols, self.resolution, question.start, question.end,
            source=SOURCE, columns=[*several, "timestamp", *columns], as_float=True,
            resample="1h" if question.kind == HOURS else None,
        )  # fmt: skip

    def columns(self, answer: pl.DataFrame) -> Iterator[Any]:
        for column in answer.iter_columns():
            if column.name in {"symbol", "source"}:
                continue
            yield (column.to_physical() if column.dtype.is_temporal() else column).to_numpy()

    def rows(self, answer: pl.DataFrame, question: Question) -> pa.Table:
        symbols = answer["symbol"].to_list() if "symbol" in answer.columns else question.symbols[0]
        if question.kind == EXTENT:
            first, last = (answer[name].dt.replace_time_zone(None).to_numpy() for name in ("first", "last"))
            return numbers.extents(symbols, answer["bars"], first, last)
        stamps = answer["timestamp"].to_physical().to_numpy()
        return numbers.rows(symbols, stamps, {name: answer[name].to_numpy() for name in question.columns})


def _decimals(units: Any) -> pa.Array:
    """Decimals of eight digits from whole numbers at 1e-8: 128 bits each, the upper half being the sign."""
    words = np.empty((len(units), 2), dtype="<i8")
    words[:, 0], words[:, 1] = units, np.asarray(units) >> 63
    return pa.Array.from_buffers(pa.decimal128(18, 8), len(units), [None, pa.py_buffer(words)])


def contender() -> Contender:
    return Ours()
