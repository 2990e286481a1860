"""This module decodes columns of many files, or of stretches of their rows, in one go.

The chunks of their columns, or the pages that hold the rows, are put behind each other in memory, with a footer made for them: to
Arrow they are one Parquet file. A file by itself costs more than what is in it where it is small. Every byte that is decoded is
verified: of a file that is read as a whole the checksum of all bytes, of others that of each page.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.storage import footers, parquet
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline.storage.layouts import Chunk, Layout, Page, layout_of, learn_pages
from gb_pipeline.storage.workers import THREADS, leaf_pool

Stretch = tuple[int, int]
# At most so many bytes are decoded in one go; from so many on, reading and decoding is shared between threads.
_AT_ONCE, _WORTH_THREADS = 64 << 20, 1 << 20
# Of a file of which more than this share is wanted, all is read.
_MOST = 0.5
# What tells that files are not as ours are, or not as they should be: then each is decoded by itself.
_REFUSALS = (OSError, EOFError, ValueError, IndexError, KeyError, parquet.Unreadable, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Assembled:
    """Columns of some files.

    Attributes:
        table: the rows of all of them, each column in one piece where it is of numbers.
        slices: of each file, the first row in the table and how many there are.
    """

    table: pa.Table
    slices: list[tuple[int, int]]


@dataclass(slots=True)
class _File:
    """What is read of one file: ranges of it and where they go, headers to be put back, and row groups of what is there then."""

    name: str
    size: int
    ranges: list[tuple[int, int, int]] = field(default_factory=list)
    headers: list[tuple[int, bytes]] = field(default_factory=list)
    groups: list[tuple[int, list[bytes]]] = field(default_factory=list)
    whole: bool = False
    # Where the footer goes that has to be the one that was verified, and that.
    footer: tuple[int, bytes] | None = None
    # Rows in front of those that are wanted.
    skipped: int = 0
    rows: int = 0
    end: int = 0


def assemble(
    files: object,
    folder: str,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    stretches: Sequence[Stretch | None],
    *,
    integers: bool,
) -> list[Assembled] | None:
    """Columns of some files, in their order.

    Args:
        files: of the storage.
        folder: of the table.
        rows: of `Snapshot.files`.
        names: stored columns, at least one.
        stretches: of each file the first row that is wanted and the one after the last; None for all.
        integers: decimals of up to 18 digits as the integers that they are stored as.

    Returns:
        None where that cannot be done with these files: they lie far away, differ in their schema, or something is wrong with one.
    """
    if not isinstance(files, LocalFiles):
        # Where each range is a request, a file is fetched as a whole.
        return None
    try:
        return [
            _decode(files, batch, begin)
            for begin, batch in _batches(files, folder, rows, list(names), stretches, integers=integers)
        ]
    except _REFUSALS:
        return None


def _batches(
    files: LocalFiles,
    folder: str,
    rows: Sequence[Mapping[str, Any]],
    names: list[str],
    stretches: Sequence[Stretch | None],
    *,
    integers: bool,
) -> Iterator[tuple[bytes, list[_File]]]:
    """Files that are decoded together, and the beginning of a footer for them."""
    batch, begin, filled = list[_File](), b"", 0
    for row, stretch in zip(rows, stretches, strict=True):
        name = f"{folder}/{row['path']}"
        layout = layout_of(files, name, row["size"])
        if sum(layout.rows) != row["rows"]:
            raise parquet.Unreadable("its rows are not those that the log counts")
        own = layout.schema.projected(names, integers=integers)
        if batch and (own != begin or filled > _AT_ONCE):
            yield begin, batch
            batch, filled = [], 0
        begin = own
        file = _plan(files, name, row["size"], layout, names, stretch, filled)
        filled = file.end
        batch.append(file)
    if batch:
        yield begin, batch


def _plan(
    files: LocalFiles, name: str, size: int, layout: Layout, names: list[str], stretch: Stretch | None, place: int
) -> _File:
    """What is to be read of a file, and where it goes: from a place on."""
    columns = layout.chunks(names)
    file = _File(name, size)
    wanted = sum(chunk.size for chunks in columns for chunk in chunks)
    if stretch is not None and stretch != (0, sum(layout.rows)) and learn_pages(files, name, size, layout, names):
        _cut(file, layout, names, columns, stretch, place)
        return file
    file.whole = size <= parquet.SMALL and wanted > _MOST * size
    if file.whole:
        file.ranges.append((0, size, place))
    else:
        # Pages of another file that lies in its place could be whole as well.
        file.ranges.append((size - len(layout.footer) - parquet.TAIL, len(layout.footer), place))
        file.footer = place, layout.footer
        place += len(layout.footer)
    for group, rows in enumerate(layout.rows):
        written = []
        for chunks in columns:
            chunk, begin = chunks[group], place
            if file.whole:
                begin += chunk.start
            else:
                file.ranges.append((chunk.start, chunk.size, place))
                place += chunk.size
            written.append(_written(chunk, rows, chunk.size, begin, begin + chunk.data))
        file.groups.append((rows, written))
    file.end = place + size if file.whole else place
    file.skipped, last = stretch or (0, sum(layout.rows))
    file.rows = last - file.skipped
    return file


def _written(chunk: Chunk, rows: int, size: int, begin: int, data: int) -> bytes:
    return footers.chunk_at(chunk.head, rows, size, begin if chunk.data else None, data)


def _cut(
    file: _File, layout: Layout, names: list[str], columns: list[list[Chunk]], stretch: Stretch, place: int
) -> None:
    """Take the pages that hold some rows."""
    before, skipped = 0, None
    for group, rows in enumerate(layout.rows):
        first, end = max(stretch[0] - before, 0), min(stretch[1] - before, rows)
        if first < end:
            pages = [found for name in names if (found := layout.pages(group, name)) is not None]
            first_page, end_page = first, end
            # Pages of different columns need not begin at the same rows.
            while True:
                around = [item.around(first_page, end_page) for item in pages]
                widest = min(low for low, _ in around), max(rows if high < 0 else high for _, high in around)
                if widest == (first_page, end_page):
                    break
                first_page, end_page = widest
            written = []
            for item, chunks in zip(pages, columns, strict=True):
                begin = place
                if item.dictionary is not None:
                    place = _take(file, item.dictionary, place)
                data = place
                for page, row in zip(item.data, item.begins, strict=True):
                    if first_page <= row < end_page:
                        place = _take(file, page, place)
                written.append(_written(chunks[group], end_page - first_page, place - begin, begin, data))
            file.groups.append((end_page - first_page, written))
            if skipped is None:
                skipped = first - first_page
        before += rows
    file.skipped, file.rows, file.end = skipped or 0, stretch[1] - stretch[0], place


def _take(file: _File, page: Page, place: int) -> int:
    """Note that a page goes to a place; pages that lie behind each other are read at once."""
    if file.ranges and sum(file.ranges[-1][:2]) == page.place and file.ranges[-1][2] + file.ranges[-1][1] == place:
        start, length, to = file.ranges.pop()
        file.ranges.append((start, length + page.size, to))
    else:
        file.ranges.append((page.place, page.size, place))
    # Only its header says what a page has to be, so the verified one counts.
    file.headers.append((place, page.header))
    return place + page.size


def _decode(files: LocalFiles, batch: list[_File], begin: bytes) -> Assembled:
    """Read what was planned, and let Arrow decode it."""
    footer = footers.footer_with_groups(begin, [group for file in batch for group in file.groups])
    end = batch[-1].end
    buffer = pa.allocate_buffer(end + len(footer))
    memory = memoryview(buffer).cast("B")

    def fill(some: list[_File]) -> None:
        for file in some:
            files.read_into(file.name, file.size, [(start, memory[to : to + size]) for start, size, to in file.ranges])
            for place, header in file.headers:
                memory[place : place + len(header)] = header
            if file.footer is not None:
                to, expected = file.footer
                if memory[to : to + len(expected)] != expected:
                    raise parquet.Unreadable("its footer is damaged")
            if file.whole:
                _, size, to = file.ranges[0]
                if zlib.crc32(memory[to : to + size]) != parquet.checksums(file.name)[0]:
                    raise parquet.Unreadable("its bytes are not those that were written")

    many = end >= _WORTH_THREADS
    if many and len(batch) > 1:
        length = -(-len(batch) // THREADS)
        for _ in leaf_pool().map(fill, [batch[start : start + length] for start in range(0, len(batch), length)]):
            pass
    else:
        fill(batch)
    memory[end:] = footer
    verify = not all(file.whole for file in batch)
    source = pq.ParquetFile(pa.BufferReader(buffer), page_checksum_verification=verify)
    table = source.read(use_threads=many)
    slices, before = [], 0
    for file in batch:
        slices.append((before + file.skipped, file.rows))
        before += sum(rows for rows, _ in file.groups)
    if table.num_rows != before:
        raise parquet.Unreadable(f"it holds {table.num_rows:,} rows where the log counts {before:,}")
    return Assembled(table, slices)
