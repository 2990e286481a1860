"""Trades, quotes and books as CSV, Parquet and Arrow: `<source>/<symbol>/<table>/<day>.csv`, with the columns of the tables, exact.

Every column is written as it is stored: times as ns since 1970 UTC, numbers with all their digits. What is read back is the same,
but for who heard it: imported rows are of the collector `file`. Evidence of what was heard is not in these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.errors import FormatRefused, InvalidSymbol
from gb_pipeline.formats.streams.archive import CHUNK_ROWS, StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.days import Stream
from gb_pipeline.formats.streams.text_files import Lines, find_files, place_of, read_first_line, read_lines
from gb_pipeline.formats.streams.writer import Account, Day, StreamWriter
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.symbol import AssetClass, symbol_code

_CSV, _PARQUET, _ARROW = ".csv", ".parquet", ".arrow"
_SUFFIXES = (_CSV, ".csv.gz", _PARQUET, _ARROW)
# What a file says of how its rows came into another lake.
_OF_THE_LAKE = ("source", "timestamp", "collector", "origin")
_NOTE = "Evidence of what was heard and what is missing is not in these files."


class PlainFilesWriter(StreamWriter):
    """Writes a file for each table, stream and day."""

    tables: ClassVar = STREAM_TABLES
    suffix: ClassVar[str]

    def place_of(self, stream: Stream) -> str:
        """Its folder."""
        return f"{quote(stream.source, safe='')}/{quote(stream.symbol, safe='')}"

    def inspect(self, stream: Stream, day: Day, account: Account) -> None:  # noqa: ARG002
        """Everything is exact."""
        account.events += day.height
        account.notes[_NOTE] = None

    def write(self, stream: Stream, day: Day, folder: StagedFolder) -> None:
        """One file of each table that has rows."""
        for table, rows in day.rows.items():
            if rows.height:
                name = f"{self.place_of(stream)}/{table}/{day.start:%Y-%m-%d}{self.suffix}"
                self.write_rows(rows, folder.path(name, stream.name))

    def write_rows(self, rows: pl.DataFrame, path: Path) -> None:
        """Write one file."""
        raise NotImplementedError


class CsvWriter(PlainFilesWriter):
    """Text: a header, decimals digit by digit, nothing where a value is not known."""

    suffix = _CSV

    def write_rows(self, rows: pl.DataFrame, path: Path) -> None:
        """See `PlainFilesWriter`."""
        texts = rows.with_columns(pl.selectors.decimal().cast(pl.String))
        texts.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")


class ParquetWriter(PlainFilesWriter):
    """Parquet, compressed with ZSTD; decimals are decimals."""

    suffix = _PARQUET

    def write_rows(self, rows: pl.DataFrame, path: Path) -> None:
        """See `PlainFilesWriter`."""
        rows.write_parquet(path)


class ArrowWriter(PlainFilesWriter):
    """Arrow's file format, compressed with ZSTD."""

    suffix = _ARROW

    def write_rows(self, rows: pl.DataFrame, path: Path) -> None:
        """See `PlainFilesWriter`."""
        rows.write_ipc(path, compression="zstd")


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A file, or all files of a folder; see `archive.StreamReader`."""
    skipped: dict[str, str] = {}
    files: list[tuple[Path, str]] = []
    for file in find_files(path, *_SUFFIXES):
        table = _table_of(_column_names(file))
        if table is None:
            skipped[place_of(file, path)] = "its columns are those of no table of trades, quotes or books"
        else:
            files.append((file, table))
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file, path), partial(_read, file, table, options)) for file, table in files),
        files=tuple(file for file, _ in files),
        asset_class=options.asset_class or AssetClass.CRYPTO,
        notes=(_NOTE,),
        skipped=skipped,
    )


def _column_names(file: Path) -> list[str]:
    try:
        if file.name.lower().endswith(_PARQUET):
            return pq.read_schema(file).names  # type: ignore[no-any-return]
        if file.name.lower().endswith(_ARROW):
            with pa.memory_map(str(file)) as source:
                return pa.ipc.open_file(source).schema.names  # type: ignore[no-any-return]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None
    return read_first_line(file)


def _table_of(names: list[str]) -> str | None:
    """The table whose columns these are; files may lack those that a lake has of its own."""
    for table in STREAM_TABLES:
        needed = {name for name in stream_dataset(table).columns.names if name not in _OF_THE_LAKE}
        if needed <= set(names) and set(names) <= needed | set(_OF_THE_LAKE):
            return table
    return None


def _read(file: Path, table: str, options: StreamOptions) -> Iterator[StreamChunk]:
    kinds = polars_schema(stream_dataset(table).columns)
    for lines in _batches(file):
        rows = lines.frame.drop(_OF_THE_LAKE, strict=False)
        whole = [name for name in rows.columns if kinds[name].is_integer()]
        numbers = rows.with_columns(pl.col(whole).cast(pl.Int64, strict=False))
        lost = [name for name in whole if numbers[name].null_count() > rows[name].null_count()]
        if lost:
            raise FormatRefused(f"{file}: {lost[0]} has what is no whole number", fix="export it again")
        codes = {name: _symbol(name, options) for name in numbers["symbol"].unique().to_list()}
        numbers = numbers.with_columns(pl.col("symbol").replace_strict(codes, return_dtype=pl.String))
        yield StreamChunk(
            table, numbers.with_row_index("record"), lines.frame.select(pl.all().cast(pl.String)), lines.first,
            lines.broken,
        )  # fmt: skip


def _symbol(name: str | None, options: StreamOptions) -> str:
    try:
        return symbol_code(options.names.get(name or "", name or ""))
    except InvalidSymbol as error:
        raise FormatRefused(f"a file names {name!r:.40} as a symbol", fix=error.fix) from None


def _batches(file: Path) -> Iterator[Lines]:
    """Some rows at a time; those of CSV as text."""
    name, at = file.name.lower(), 0
    if not name.endswith((_PARQUET, _ARROW)):
        yield from read_lines(file, read_first_line(file), has_header=True)
        return
    try:
        for batch in _parquet(file) if name.endswith(_PARQUET) else _arrow(file):
            yield Lines(frame := pl.DataFrame(pa.Table.from_batches([batch])), (), at)
            at += frame.height
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _parquet(file: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as source:
        yield from source.iter_batches(CHUNK_ROWS)


def _arrow(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _damaged(file: Path, error: Exception) -> FormatRefused:
    return FormatRefused(f"{file} cannot be read: {error}", fix="export it again")
