"""This module writes and reads data files: Parquet of which every byte is covered by a checksum.

A file is encoded in memory and named after its checksums, `<random>-<crc of all bytes>-<crc of the footer>.parquet`, so a file
that was swapped, cut short or changed is known by its name alone. Pages carry checksums of their own; every read verifies
the footer and the pages that it decodes, and a damaged file is a `DamagedFile` that names what it holds.
"""

from __future__ import annotations

import errno
import re
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.errors import LakeError
from gb_pipeline.market.moments import microseconds
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.files import Files
from gb_pipeline.storage.footers import integers_for_decimals

ROW_GROUP_ROWS = 65_536
# Of files that hold many symbols, so that one of them is read without most of the others.
_ROWS_OF_SYMBOLS = 8_192
_MAGIC = b"PAR1"
# The length of the footer and four letters end a file.
TAIL = 8
# Files up to this size in bytes are read at once; where only so few columns of one are wanted, up to this smaller size.
SMALL = 4 << 20
_FEW_COLUMNS, _SMALL_FOR_FEW = 3, 128 << 10
# A column with fewer rows gets no dictionary, and one has to serve this many rows per value of the grid.
_WORTH_A_DICTIONARY, _PER_VALUE = 4_096, 4
# Rows from which the grid of a column is estimated.
_SAMPLE = 256
# Data files are ZSTD, as every release promised; LZ4 would decode a page in half the time, for 6 % more bytes.
# From level 4 on, ZSTD finds what delta-packed prices have in common, which lie on a grid.
_COMPRESSION, _LEVEL = "zstd", 4
# Rows of a page, of which a read of a day decodes one or two.
_PAGE_ROWS, _PAGE_ROWS_OF_SYMBOLS = 8_192, 1_024
_NAME = re.compile(r"[0-9a-f]{12}-([0-9a-f]{8})-([0-9a-f]{8})\.parquet")


class Unreadable(Exception):
    """The bytes of a file are not those that were written; `reason` says what was seen."""

    def __init__(self, reason: str) -> None:
        """A caller that knows what the file holds turns this into a `DamagedFile`."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Encoded:
    """A data file in memory, and the name that its bytes demand."""

    name: str
    data: memoryview


def encode(dataset: Dataset, table: pa.Table) -> Encoded:
    """Rows as a Parquet file: ZSTD, a checksum on every page; numbers and ids delta-packed, or by dictionary where few differ.

    Args:
        table: `to_arrow` of rows in the dataset's file schema; they are written as they lie.
    """
    packable = [field.name for field in table.schema if _can_delta_pack(field.type)]
    delta_packed = [
        name
        for name in packable
        if not (_comes_again(table[name]) if name in dataset.repeated else _suits_dictionary(table[name]))
    ]
    many_symbols = _holds_many_symbols(dataset)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=_COMPRESSION,
        compression_level=_LEVEL,
        row_group_size=_ROWS_OF_SYMBOLS if many_symbols else ROW_GROUP_ROWS,
        max_rows_per_page=_PAGE_ROWS_OF_SYMBOLS if many_symbols else _PAGE_ROWS,
        store_decimal_as_integer=True,
        use_dictionary=[name for name in table.column_names if name not in (*delta_packed, *dataset.distinct)],
        # Of texts of which hardly any comes twice, such as numbered trades, each begins mostly as the one before.
        column_encoding=dict.fromkeys(delta_packed, "DELTA_BINARY_PACKED")
        | dict.fromkeys(dataset.distinct, "DELTA_BYTE_ARRAY"),
        write_statistics=list(dataset.indexed),
        write_page_checksum=True,
        store_schema=False,
    )
    data = memoryview(sink.getvalue())
    footer = zlib.crc32(data[_footer_start(data) :])
    return Encoded(f"{secrets.token_hex(6)}-{zlib.crc32(data):08x}-{footer:08x}.parquet", data)


def _holds_many_symbols(dataset: Dataset) -> bool:
    return dataset.history and dataset.order[:1] == ("symbol",) and "symbol" not in dataset.partition_by


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of a schema as an Arrow table; decimals of up to 18 digits become 64-bit ones without a copy of digits."""
    columns = []
    for field in schema:
        kind, array = field.type, frame[field.name].to_arrow()
        if pa.types.is_decimal(kind) and kind.precision <= 18:
            columns.append(_to_decimal64(array, kind))
        else:
            columns.append(array if array.type == kind else array.cast(kind))
    fields = [pa.field(field.name, column.type, field.nullable) for field, column in zip(schema, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def checksums(name: str) -> tuple[int, int]:
    """The checksums of all bytes and of the footer that a file's name promises.

    Raises:
        Unreadable: no data file of ours is called so.
    """
    match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
    if match is None:
        raise Unreadable("its name carries no checksums, so it cannot be verified")
    return int(match[1], 16), int(match[2], 16)


def open_verified(files: Files, name: str, size: int, *, few: bool = False, integers: bool = False) -> pq.ParquetFile:
    """A file of which everything that is read from now on is verified; see `verified_source`.

    Args:
        few: only a few of its columns will be read.
        integers: decimals of up to 18 digits are read as the integers that they are stored as.

    Raises:
        Unreadable: it is missing, of another size, or damaged.
    """
    source, intact = verified_source(files, name, size, small=_SMALL_FOR_FEW if few and files.is_near else SMALL)
    try:
        metadata = integers_for_decimals(_footer(source, size)) if integers else None
        return pq.ParquetFile(source, metadata=metadata, page_checksum_verification=not intact)
    except OSError as error:
        raise _classify_error(name, error) from None
    except pa.ArrowException as error:
        raise Unreadable(_first_line(error)) from None


def verified_source(files: Files, name: str, size: int, *, small: int | None = None) -> tuple[pa.NativeFile, bool]:
    """A file's bytes, and whether all of them have been verified; else its footer has, and pages are to be as they are read.

    A small file is read at once and compared with the checksum of all its bytes.

    Args:
        small: how many bytes that are at most; `SMALL` by default.

    Raises:
        Unreadable: it is missing, of another size, or nothing of it can be read.
    """
    expected, expected_footer = checksums(name)
    try:
        if size <= min(SMALL, SMALL if small is None else small):
            data = files.read_buffer(name)
            _compare_size(len(data), size)
            intact = zlib.crc32(data) == expected
            if not intact:
                # The footer tells whether anything of it can be read.
                whole = data.to_pybytes()
                _compare_footer(whole[-TAIL:], whole, expected_footer)
            return pa.BufferReader(data), intact
        source = files.open(name)
        _compare_size(source.size(), size)
        tail = source.read_at(TAIL, size - TAIL)
        length = min(size, int.from_bytes(tail[:4], "little") + TAIL)
        _compare_footer(tail, source.read_at(length, size - length), expected_footer)
        return source, False
    except OSError as error:
        raise _classify_error(name, error) from None


def verified_footer(name: str, end: bytes) -> bytes | None:
    """The footer of a file in its last bytes, without its length; None where it is longer, or not the one that was written.

    Raises:
        Unreadable: the name carries no checksum.
    """
    length = int.from_bytes(end[-TAIL:-4], "little") + TAIL
    if end[-4:] != _MAGIC or length > len(end) or zlib.crc32(end[-length:]) != checksums(name)[1]:
        return None
    return end[-length:-TAIL]


def _footer(source: pa.NativeFile, size: int) -> bytes:
    """The footer of a file, without its length."""
    length = int.from_bytes(source.read_at(4, size - TAIL), "little")
    footer: bytes = source.read_at(length, size - TAIL - length)
    return footer


def bytes_if_intact(files: Files, name: str, size: int) -> bytes | None:
    """All bytes of a file; None where they are not those that were written."""
    try:
        data = files.read(name)
        expected, _ = checksums(name)
    except (OSError, Unreadable):
        return None
    return data if len(data) == size and zlib.crc32(data) == expected else None


def _compare_size(actual: int, size: int) -> None:
    if actual != size:
        raise Unreadable(f"it has {actual:,} bytes where {size:,} were written")


def _compare_footer(tail: bytes, data: bytes, expected: int) -> None:
    length = int.from_bytes(tail[:4], "little") + TAIL
    if tail[4:] != _MAGIC or not TAIL < length <= len(data) or zlib.crc32(data[-length:]) != expected:
        raise Unreadable("its footer is damaged")


def read_columns(
    files: Files,
    name: str,
    size: int,
    columns: Sequence[str],
    *,
    between: tuple[str, object, object] | None = None,
    stretch: tuple[int, int] | None = None,
    threads: bool = False,
    integers: bool = False,
) -> pa.Table:
    """Columns of one file, every page verified.

    Args:
        between: a column and its half-open range: row groups that cannot hold it are not read, rows are not filtered.
        stretch: the first row and the one after the last that are returned; all by default.
        integers: as in `open_verified`.

    Raises:
        Unreadable: the file, or a page of it, is damaged.
    """
    few = len(columns) <= _FEW_COLUMNS or stretch is not None
    file = open_verified(files, name, size, few=few, integers=integers)
    try:
        if stretch is not None:
            groups, skipped = _groups_of_rows(file, *stretch)
            table = file.read_row_groups(groups, columns=list(columns), use_threads=threads)
            return table.slice(stretch[0] - skipped, stretch[1] - stretch[0])
        groups = list(range(file.num_row_groups)) if between is None else _groups(file, *between)
        return file.read_row_groups(groups, columns=list(columns), use_threads=threads)
    except OSError as error:
        raise _classify_error(name, error) from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Unreadable(_first_line(error)) from None
    finally:
        file.close()


def verify_bytes(files: Files, name: str, size: int) -> None:
    """Read a whole file and compare it with the checksum in its name.

    Raises:
        Unreadable: it is missing or not what was written.
    """
    expected, _ = checksums(name)
    try:
        with files.open(name) as file:
            size_read, checksum = 0, 0
            while chunk := file.read(1 << 20):
                size_read, checksum = size_read + len(chunk), zlib.crc32(chunk, checksum)
    except OSError as error:
        raise _classify_error(name, error) from None
    _compare_size(size_read, size)
    if checksum != expected:
        raise Unreadable("its bytes are not those that were written")


class DamagedFile(LakeError):
    """A data file that is missing or not what was written; nothing else is touched by it."""

    def __init__(
        self, table: str, name: str, contents: str, reason: str, *, series: str = "", superseded: bool = False
    ) -> None:
        """Say which file, what it holds and how to get it back."""
        verify = f"`gb verify{' ' + series if series else ''} --repair`"
        fix = f"{verify} fetches what it held again; everything else can be read"
        if superseded:
            fix = f"restore it from a backup, as older versions cannot be fetched again; {verify} keeps what can be read of it"
        super().__init__(f"{table}: the file {name} ({contents}) is damaged: {reason}", fix=fix)
        self.table, self.name, self.contents, self.reason = table, name, contents, reason


def _groups(file: pq.ParquetFile, column: str, start: object, end: object) -> list[int]:
    metadata = file.metadata
    if metadata.num_row_groups == 1 or not isinstance(start, datetime) or not isinstance(end, datetime):
        # The log's statistics say the same of the whole file.
        return list(range(metadata.num_row_groups))
    column_number = metadata.schema.names.index(column)
    first, last = microseconds(start), microseconds(end)
    groups = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column_number).statistics
        # As integers: where PyArrow makes a moment of one, it imports pandas, which takes longer than many a read.
        if (
            statistics is None
            or not statistics.has_min_max
            or (statistics.min_raw < last and statistics.max_raw >= first)
        ):
            groups.append(group)
    return groups


def _groups_of_rows(file: pq.ParquetFile, first: int, end: int) -> tuple[list[int], int]:
    """The row groups that hold some rows, and how many rows lie in front of them."""
    groups, skipped, begin = list[int](), 0, 0
    for group in range(file.num_row_groups):
        after = begin + file.metadata.row_group(group).num_rows
        if begin < end and after > first:
            groups.append(group)
        elif after <= first:
            skipped = after
        begin = after
    return groups, skipped


def _footer_start(data: memoryview) -> int:
    return len(data) - TAIL - int.from_bytes(data[-TAIL:-4], "little")


def _to_decimal64(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Decimals of 128 bits that are known to fit into 64: of each the lower half."""
    if array.type != pa.decimal128(kind.precision, kind.scale):
        return array.cast(kind)
    halves = np.frombuffer(array.buffers()[1], np.int64)[2 * array.offset : 2 * (array.offset + len(array)) : 2]
    valid = array.is_valid().buffers()[1] if array.null_count else None
    narrow = pa.decimal64(kind.precision, kind.scale)
    return pa.Array.from_buffers(narrow, len(array), [valid, pa.py_buffer(np.ascontiguousarray(halves))])


def _can_delta_pack(kind: pa.DataType) -> bool:
    number = pa.types.is_decimal(kind) and kind.precision <= 18
    return bool(number or pa.types.is_timestamp(kind) or pa.types.is_integer(kind) or pa.types.is_date32(kind))


def _suits_dictionary(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary of a price column is worth its place: prices lie on a grid, and a month has few of its values.

    Delta-packed, each step carries all the digits below the grid: 2.6 bytes for a minute's price against 2.1 by dictionary.
    """
    kind, rows = column.type, len(column)
    if rows < _WORTH_A_DICTIONARY or not pa.types.is_decimal64(kind) or column.null_count or column.num_chunks != 1:
        return False
    chunk = column.chunk(0)
    integers = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + rows]
    steps = np.diff(np.sort(integers[:: rows // _SAMPLE]))
    tick = int(np.gcd.reduce(steps)) or 1
    return (int(integers.max()) - int(integers.min())) // tick < rows // _PER_VALUE


def _comes_again(column: pa.ChunkedArray) -> bool:
    """Whether values of a column that is said to have the same ones again and again do come again.

    Of a book's levels, 2.0 and 1.8 bytes by dictionary against 3.5 and 4.0 delta-packed for price and size.
    """
    first = column.slice(0, ROW_GROUP_ROWS).combine_chunks()
    if isinstance(first, pa.ChunkedArray):
        first = pa.concat_arrays(first.chunks)
    rows, width = len(first), first.type.byte_width
    values = np.frombuffer(first.buffers()[1], f"V{width}")[first.offset : first.offset + rows]
    return rows >= _SAMPLE and pl.Series(values.view(np.int64)[:: width // 8]).n_unique() <= rows // 2


def means_damage(error: OSError) -> bool:
    """Whether an error is about the bytes of a file, instead of permissions or limits: Arrow's own have no number."""
    return error.errno in {None, errno.EIO}


def _classify_error(name: str, error: OSError) -> Exception:
    """Whether an error of the system means that a file is damaged, or only that this process cannot read it just now."""
    if isinstance(error, FileNotFoundError):
        return Unreadable("it is missing")
    if means_damage(error):
        return Unreadable(_first_line(error))
    return LakeError(
        f"the file {name} cannot be read: {error.strerror or error}",
        fix="check its permissions and the limits of this process; that says nothing of what is in it",
    )


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
