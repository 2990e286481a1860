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

# The log's statistics are cut to milliseconds: a row may lie less than this after what they say.
_SLACK = timedelta(milliseconds=1)


class File(NamedTuple):
    """A data file of bars.

    Attributes:
        path: relative to the table, as the log spells it.
        symbol: None where the file holds many symbols, from `first_symbol` to `last_symbol`.
        first: timestamp of the first row; None where the log has no statistics.
        until: no row is at or after it; None where the log has no statistics.
    """

    path: str
    source: str
    symbol: str | None
    first_symbol: str | None
    last_symbol: str | None
    first: datetime | None
    until: datetime | None


_COLUMNS = pl.Schema(
    {
        **dict.fromkeys(("path", "source", "symbol", "first_symbol", "last_symbol"), pl.String()),
        **dict.fromkeys(("first", "until"), pl.Datetime("us", "UTC")),
    }
)


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
        listed = self.listed(bar_table(resolution, precision))
        wanted = [] if source is None else [pl.col("source") == source]
        if symbols is not None and resolution.intraday:
            wanted.append(pl.col("symbol").is_in(list(symbols)))
        if window is not None:
            # A file without statistics may hold anything.
            wanted.append((pl.col("first") < window.end).fill_null(True))
            wanted.append((pl.col("until") > window.start).fill_null(True))
        found = [File(*row) for row in listed.filter(pl.lit(True), *wanted).iter_rows()]
        if symbols is not None and not resolution.intraday:
            found = [file for file in found if any(_may_hold(file, code) for code in symbols)]
        return found

    def listed(self, name: str) -> pl.DataFrame:
        """Every file of one table, columns as the fields of `File`, in the order of time."""
        with self.tables.open(name) as table:
            if table is None:
                return pl.DataFrame(schema=_COLUMNS)
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
            (pl.col("max.timestamp") + _SLACK).alias("until"),
        )
        listed = listed.select(_COLUMNS.names()).cast(_COLUMNS).sort("first", "path")
        self._held[name] = (version, listed)
        return listed


def _may_hold(file: File, code: str) -> bool:
    if file.first_symbol is None or file.last_symbol is None:
        return True
    return file.first_symbol <= code <= file.last_symbol
