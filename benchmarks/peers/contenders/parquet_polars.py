"""Plain Parquet files, read by Polars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.peers import numbers
from benchmarks.peers.contender import Contender
from benchmarks.peers.parquet_files import ParquetFiles
from benchmarks.peers.questions import EXTENT, HOURS, LATEST, Question


class ParquetPolars(ParquetFiles):
    """Scans with what is asked for pushed down."""

    def ask(self, question: Question) -> pl.DataFrame:
        several = len(question.symbols) > 1
        queries = []
        for symbol in question.symbols:
            rows = self._rows(symbol, question)
            queries.append(rows.with_columns(symbol=pl.lit(symbol)) if several else rows)
        return pl.concat(queries).collect() if several else queries[0].collect()

    def _rows(self, symbol: str, question: Question) -> pl.LazyFrame:
        file = pl.scan_parquet(self.places(symbol))
        stamp = pl.col("timestamp")
        if question.kind == EXTENT:
            return file.select(pl.len().alias("bars"), stamp.min().alias("first"), stamp.max().alias("last"))
        if question.kind == LATEST:
            return file.select("timestamp", *question.columns).tail(1)
        inside = file.filter((stamp >= question.start) & (stamp < question.end))
        if question.kind == HOURS:
            prices = pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
            return inside.group_by_dynamic("timestamp", every="1h").agg(*prices, pl.col("volume").sum())
        return inside.select("timestamp", *question.columns)

    def columns(self, answer: pl.DataFrame) -> Iterator[Any]:
        for column in answer.drop("symbol", strict=False):
            yield (column.to_physical() if column.dtype.is_temporal() else column).to_numpy()

    def rows(self, answer: pl.DataFrame, question: Question) -> pa.Table:
        symbols = answer["symbol"].to_list() if "symbol" in answer.columns else question.symbols[0]
        if question.kind == EXTENT:
            first, last = (answer[name].dt.replace_time_zone(None).to_numpy() for name in ("first", "last"))
            return numbers.extents([symbols] if isinstance(symbols, str) else symbols, answer["bars"], first, last)
        stamps = answer["timestamp"].to_physical().to_numpy()
        return numbers.rows(symbols, stamps, {name: answer[name].to_numpy() for name in question.columns})


def contender() -> Contender:
    return ParquetPolars()
