"""This module knows where in a data file the columns and their pages lie, from bytes that were verified.

What is known of a file is remembered, as a file never changes and no other one has its name. The bytes of a page are read and
verified anew each time, against the checksum that its header had when the whole file was verified.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from gb_pipeline.storage import footers, parquet, thrift
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline.storage.footers import FileSchema

_CODECS = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "ZSTD": 6, "LZ4": 7}
# So much of a file's end is read at once, where its footer mostly lies.
_END = 8 << 10
_PAGE_SIZE, _PAGE_OF_DATA, _PAGE_OF_DICTIONARY, _VALUES = 3, 5, 7, 1
_DATA, _DICTIONARY = 0, 2
_MOST_KNOWN = 2_048
_STEP = 512
Stretch = tuple[int, int]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Page:
    """A page, from its header on: where it lies in the file, its header, and the bytes of both."""

    place: int
    header: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a chunk: the dictionary where it has one, and those of data with the rows that they begin at."""

    dictionary: Page | None
    data: tuple[Page, ...]
    begins: tuple[int, ...]

    def around(self, first: int, end: int) -> tuple[int, int]:
        """The row that the page with the first of some rows begins at, and the one that the page with the last ends at."""
        after = bisect_right(self.begins, end - 1)
        last = self.begins[after] if after < len(self.begins) else -1
        return self.begins[bisect_right(self.begins, first) - 1], last

    def holding(self, first: int, end: int) -> tuple[Page, ...]:
        """The pages of data that hold rows which one of them begins and one ends at."""
        return self.data[bisect_left(self.begins, first) : bisect_left(self.begins, end)]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of a row group.

    Attributes:
        head: what it says of itself wherever it lies, see `footers.chunk_head`.
        start, size: its place in the file.
        data: where its first page of data begins, from `start` on; 0 if it has no dictionary.
    """

    head: bytes
    start: int
    size: int
    data: int


class Layout:
    """Of one file its row groups, and of each the columns that were asked for. Safe to share between threads.

    Attributes:
        footer: as it was verified.
        schema: of that.
        rows: of each row group.
    """

    def __init__(self, footer: bytes) -> None:
        """Raises ValueError or IndexError where it is laid out in another way than ours are."""
        self.schema: FileSchema = footers.schema_of(footer)
        self.footer = footer
        self._chunks: dict[str, list[Chunk]] = {}
        self._pages: dict[tuple[int, str], Pages] = {}
        # Of columns whose values never fall: those of every so many rows, and the last.
        self._marks: dict[str, Integers] = {}
        metadata = footers.parse(footer)
        # Whoever asks for a layout asks for columns next.
        self._parsed: pq.FileMetaData | None = metadata
        self.rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._places = {name: place for place, name in enumerate(self.schema.elements)}

    def chunks(self, names: Sequence[str]) -> list[list[Chunk]]:
        """Of each column its chunks, one in each row group.

        Raises:
            KeyError: a column that the file does not have, or a compression that we do not use.
        """
        missing = [name for name in names if name not in self._chunks]
        if missing:
            metadata, self._parsed = self._parsed or footers.parse(self.footer), None
            groups = [metadata.row_group(group) for group in range(len(self.rows))]
            for name in missing:
                place = self._places[name]
                self._chunks[name] = [self._chunk(name, group.column(place)) for group in groups]
        return [self._chunks[name] for name in names]

    def _chunk(self, name: str, column: object) -> Chunk:
        told = column
        data, size = told.data_page_offset, told.total_compressed_size  # type: ignore[attr-defined]
        head = _head(self.schema, name, told.compression)  # type: ignore[attr-defined]
        dictionary = told.dictionary_page_offset if told.has_dictionary_page else None  # type: ignore[attr-defined]
        if dictionary is None:
            return Chunk(head, data, size, 0)
        return Chunk(head, dictionary, size, data - dictionary)

    def pages(self, group: int, name: str) -> Pages | None:
        """The pages of a chunk, once they are known."""
        return self._pages.get((group, name))

    def within(self, name: str, start: int, end: int) -> Stretch | None:
        """Rows among which are all of a half-open range, once it is known that the values of a column never fall."""
        marks = self._marks.get(name)
        if marks is None:
            return None
        first, last = marks.searchsorted([start, end]).tolist()
        rows = sum(self.rows)
        begin = min(max(first - 1, 0) * _STEP, rows)
        return begin, max(begin, min(last * _STEP, rows))

    def learn_order(self, name: str, values: Integers) -> None:
        """Take note of all values of a column, which never fall."""
        self._marks[name] = np.append(values[::_STEP], values[-1:])

    def learn_pages(self, data: memoryview, names: Sequence[str]) -> None:
        """Find the pages of some columns in the verified bytes of the file.

        Raises:
            ValueError, IndexError, KeyError: they are laid out in another way than ours are.
        """
        for name, chunks in zip(names, self.chunks(names), strict=True):
            for group, chunk in enumerate(chunks):
                if (group, name) not in self._pages:
                    self._pages[group, name] = _walk(data, chunk, self.rows[group])


def _walk(data: memoryview, chunk: Chunk, rows: int) -> Pages:
    """The pages of a chunk, header by header."""
    place, end, row = chunk.start, chunk.start + chunk.size, 0
    dictionary, pages, begins = None, list[Page](), list[int]()
    while place < end:
        # No header of ours, which has no statistics of text, is longer.
        written = bytes(data[place : min(end, place + 256)])
        fields, length = thrift.read_fields(written, 0)
        page = Page(place, written[:length], length + thrift.count_of(fields[_PAGE_SIZE]))
        kind = thrift.count_of(fields[1])
        if kind == _DICTIONARY and not pages and dictionary is None:
            dictionary = page
        elif kind == _DATA:
            pages.append(page)
            begins.append(row)
            row += thrift.count_of(thrift.read_fields(fields[_PAGE_OF_DATA][1], 0)[0][_VALUES])
        else:
            raise ValueError("a page of another kind")
        place += page.size
    if row != rows or place != end:
        raise ValueError("pages that do not make up their chunk")
    return Pages(dictionary, tuple(pages), tuple(begins))


_heads: dict[tuple[bytes, str, str], bytes] = {}


def _head(schema: FileSchema, name: str, codec: str) -> bytes:
    key = schema.physical(name), name, codec
    if key not in _heads:
        _heads[key] = footers.chunk_head(schema, name, _CODECS[codec])
    return _heads[key]


# By the name of the file, with its folder.
_known: dict[str, Layout] = {}
_guard = Lock()


def layout_of(files: LocalFiles, name: str, size: int) -> Layout:
    """Where the columns of a file lie; its footer is read once in a process.

    Raises:
        Unreadable, OSError: the file is missing or its footer damaged.
        ValueError, IndexError: the footer is laid out in another way than ours are.
    """
    found = _known.get(name)
    if found is None:
        end = memoryview(bytearray(min(size, _END)))
        files.read_into(name, size, [(size - len(end), end)])
        footer = parquet.verified_footer(name, bytes(end))
        if footer is None:
            whole = memoryview(bytearray(size))
            files.read_into(name, size, [(0, whole)])
            footer = parquet.verified_footer(name, bytes(whole))
        if footer is None:
            raise parquet.Unreadable("its footer is damaged")
        found = _remember(name, Layout(footer))
    return found


def known_layout(name: str) -> Layout | None:
    """The same if it is known; nothing is read."""
    return _known.get(name)


def _remember(name: str, layout: Layout) -> Layout:
    with _guard:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        return _known.setdefault(name, layout)


def learn_pages(files: LocalFiles, name: str, size: int, layout: Layout, columns: Sequence[str]) -> bool:
    """Find out where the pages of some columns lie, from the whole file, verified; False where it is too large for that.

    Raises:
        Unreadable, OSError, EOFError: the file is missing or damaged.
        ValueError, IndexError, KeyError: it is laid out in another way than ours are.
    """
    if all(layout.pages(group, column) for group in range(len(layout.rows)) for column in columns):
        return True
    if size > parquet.SMALL:
        return False
    data = memoryview(bytearray(size))
    files.read_into(name, size, [(0, data)])
    if zlib.crc32(data) != parquet.checksums(name)[0]:
        raise parquet.Unreadable("its bytes are not those that were written")
    layout.learn_pages(data, columns)
    return True
