"""Which files a lake's bars lie in, held in memory.

Belongs here: the Delta log's list of files, read once per version, and choosing files by its statistics. No folder is
ever listed and no data file opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from gb_pipeline.lake.files import files
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, bar_table
from gb_pipeline.market.window import Window

# The log's statistics are cut to milliseconds: a row may lie this much after what they say.
SLACK = timedelta(milliseconds=1)


class File(NamedTuple):
    """A data file of bars.

    Attributes:
        path: relative to the table, as the log spells it.
        symbol: None where the file holds many symbols, from `first_symbol` to `last_symbol`.
        first, last: timestamps; None where the log has no statistics.
    """

    path: str
    source: str
    symbol: str | None
    first_symbol: str | None
    last_symbol: str | None
    first: datetime | None
    last: datetime | None


class FileIndex:
    """The files of every bars table of a lake. Safe to share between threads."""

    def __init__(self, tables: Tables) -> None:
        """Nothing is read before it is asked for."""
        self.tables = tables
        self._held: dict[str, tuple[int, pl.DataFrame]] = {}

    def find(
        self,
        resolution: Resolution,
        precision: Precision,
        *,
        source: str | None = None,
        symbols: Sequence[str] | None = None,
        window: Window | None = None,
    ) -> list[File]:
        """Files of one table that may hold such rows, in the order of time; the table's newest commit."""
        listed = self._list(bar_table(resolution, precision))
        if source is not None:
            listed = listed.filter(pl.col("source") == source)
        if symbols is not None and resolution.intraday:
            listed = listed.filter(pl.col("symbol").is_in(list(symbols)))
        found = [File(*row) for row in listed.iter_rows()]
        if window is not None:
            found = [file for file in found if _touches(file, window)]
        if symbols is not None and not resolution.intraday:
            found = [file for file in found if any(_may_hold(file, code) for code in symbols)]
        return found

    def _list(self, name: str) -> pl.DataFrame:
        with self.tables.open(name) as table:
            if table is None:
                return pl.DataFrame(schema=dict.fromkeys(File._fields, pl.String()))
            version = int(table.version())
            held = self._held.get(name)
            if held is not None and held[0] == version:
                return held[1]
            logged = files(table)
        codes = {"symbol": "partition.symbol", "first_symbol": "min.symbol", "last_symbol": "max.symbol"}
        listed = logged.select(
            "path",
            pl.col("partition.source").alias("source"),
            *(
                (pl.col(column) if column in logged.columns else pl.lit(None, pl.String)).alias(field)
                for field, column in codes.items()
            ),
            pl.col("min.timestamp").alias("first"),
            pl.col("max.timestamp").alias("last"),
        ).sort("first", "path")
        self._held[name] = (version, listed)
        return listed


def _touches(file: File, window: Window) -> bool:
    return (file.first is None or file.first < window.end) and (file.last is None or file.last + SLACK > window.start)


def _may_hold(file: File, code: str) -> bool:
    if file.first_symbol is None or file.last_symbol is None:
        return True
    return file.first_symbol <= code <= file.last_symbol
