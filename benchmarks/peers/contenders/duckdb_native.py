"""One table in DuckDB's own file format, fed from Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.peers import sql_reads
from benchmarks.peers.batch import NUMBERS, Batch, floats, table_of, units
from benchmarks.peers.contender import Contender
from benchmarks.peers.questions import Question

COLUMNS = ", ".join(("symbol", "timestamp", *NUMBERS))


@dataclass(frozen=True)
class _Rows:
    table: pa.Table
    start: datetime
    end: datetime


class DuckDBNative(Contender):
    """Doubles, which its format packs better than decimals."""

    def open(self, folder: Path, resolution: str) -> None:
        del resolution
        self.replaced = False
        self.database = duckdb.connect(str(folder / "bars.duckdb"))

    def prepare(self, batch: Batch) -> _Rows:
        rows: Any = batch.rows
        columns: dict[str, Any] = {
            "symbol": rows["symbol"].cast(pa.string()),
            "timestamp": rows["timestamp"].cast(pa.timestamp("us")),
        }
        columns |= {name: floats(rows[name].to_numpy()) for name in NUMBERS}
        return _Rows(pa.table(columns), batch.start.replace(tzinfo=None), batch.end.replace(tzinfo=None))

    def write(self, data: _Rows) -> None:
        self.database.register("received", data.table)
        self.database.execute("create table bars as from received")

    def append(self, data: _Rows) -> None:
        self.database.register("received", data.table)
        self.database.execute("insert into bars from received")

    def add_day(self, data: _Rows) -> None:
        self.database.register("received", data.table)
        self.database.execute("create table if not exists bars as from received limit 0")
        self.database.execute("insert into bars from received")

    def replace(self, data: _Rows) -> None:
        self.replaced = True
        self.database.register("received", data.table)
        self.database.begin()
        self.database.execute(
            "delete from bars where timestamp >= ? and timestamp < ? and symbol in (select distinct symbol from received)",
            [data.start, data.end],
        )
        self.database.execute("insert into bars from received")
        self.database.commit()

    def compact(self) -> None:
        self.database.execute("create table compacted as from bars order by symbol, timestamp")
        self.database.execute("drop table bars")
        self.database.execute("alter table compacted rename to bars")
        self.database.execute("checkpoint")

    def read(self) -> pa.Table:
        rows: Any = self.database.execute(f"select {COLUMNS} from bars").to_arrow_table()
        numbers = {name: units(rows[name].to_numpy()) for name in NUMBERS}
        return table_of(
            rows["symbol"].cast(pa.string()), rows["timestamp"].cast(pa.timestamp("us")).cast(pa.int64()), numbers
        )

    def ask(self, question: Question) -> dict[str, Any]:
        # Rows come in the order in which they were inserted.
        return sql_reads.ask(self.database, "bars", question, in_order=not self.replaced)

    def columns(self, answer: dict[str, Any]) -> Iterator[Any]:
        return sql_reads.columns(answer)

    def rows(self, answer: dict[str, Any], question: Question) -> pa.Table:
        return sql_reads.rows(answer, question)

    def close(self) -> None:
        self.database.close()


def contender() -> Contender:
    return DuckDBNative()
