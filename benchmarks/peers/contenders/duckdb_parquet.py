"""Plain Parquet files, read by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.peers import sql_reads
from benchmarks.peers.contender import Contender
from benchmarks.peers.parquet_files import ParquetFiles
from benchmarks.peers.questions import KINDS, Question


class DuckDBParquet(ParquetFiles):
    """One view over the files of the symbols in question. How files are written is told by `parquet_polars`."""

    acts = KINDS | {"write", "add_day", "compact"}

    def open(self, folder: Path, resolution: str) -> None:
        super().open(folder, resolution)
        self.database = duckdb.connect()
        self.database.execute("set timezone = 'UTC'")

    def ask(self, question: Question) -> dict[str, Any]:
        selected = "select '{}' as symbol, * replace (timestamp::timestamp as timestamp) from '{}'"
        parts = [selected.format(symbol, self.places(symbol)) for symbol in question.symbols]
        return sql_reads.ask(self.database, f"({' union all '.join(parts)})", question, in_order=True)

    def columns(self, answer: dict[str, Any]) -> Iterator[Any]:
        return sql_reads.columns(answer)

    def rows(self, answer: dict[str, Any], question: Question) -> pa.Table:
        return sql_reads.rows(answer, question)

    def close(self) -> None:
        self.database.close()


def contender() -> Contender:
    return DuckDBParquet()
