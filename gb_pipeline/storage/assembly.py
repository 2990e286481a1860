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
# Row groups of at most so many rows are put together to one.
_SMALL_GROUP = 16_384
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


@dataclass(frozen=True, slots=True)
class _Part:
    """One column of some rows of a file.

    Attributes:
        head: see `footers.chunk_head`.
        pieces: where its bytes lie, each from its first one on.
        data: how many of them lie in front of the first page of data: the dictionary, or 0.
        headers: verified ones that take the place of those that are read, by their place in all of the pieces.
    """

    head: bytes
    pieces: tuple[tuple[int, int], ...]
    data: int
    headers: tuple[tuple[int, bytes], ...] = ()


@dataclass(slots=True)
class _File:
    """What is read of one file.

    Attributes:
        groups: rows, and their columns.
        footer: that it has to have; None where its bytes are verified in another way.
        whole: all of it is read, and its checksum compared.
        skipped, rows: of the rows of its groups, those in front of the wanted ones, and the wanted ones.
        base: where it goes as it lies.
        moves: where parts of it go: place and size in the file, and the place.
        headers: that are put into places.
    """

    name: str
    size: int
    groups: list[tuple[int, list[_Part]]]
    footer: bytes | None = None
    whole: bool = False
    skipped: int = 0
    rows: int = 0
    base: int | None = None
    moves: list[tuple[int, int, int]] = field(default_factory=list)
    headers: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """How many bytes are read of it."""
        if self.whole:
            return self.size
        return sum(size for _, parts in self.groups for part in parts for _, size in part.pieces)


def assemble(
    files: object,
    folder: str,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    stretches: Sequence[Stretch | None],
    *,
    integers: bool,
    texts: Sequence[str] = (),
) -> list[Assembled] | None:
    """Columns of some files, in their order.

    Args:
        files: of the storage.
        folder: of the table.
        rows: of `Snapshot.files`.
        names: stored columns, at least one.
        stretches: of each file the first row that is wanted and the one after the last; None for all.
        integers: decimals of up to 18 digits as the integers that they are stored as.
        texts: columns of which few values differ: they come as the dictionaries that they are stored as.

    Returns:
        None where that cannot be done with these files: they lie far away, differ in their schema, or something is wrong with one.
    """
    if not isinstance(files, LocalFiles):
        # Where each range is a request, a file is fetched as a whole.
        return None
    try:
        return [
            _decode(files, batch, begin, [name for name in texts if name in names])
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
        file = _choose(files, name, row["size"], layout, names, stretch)
        begin, filled = own, filled + file.weight
        batch.append(file)
    if batch:
        yield begin, batch


def _choose(
    files: LocalFiles, name: str, size: int, layout: Layout, names: list[str], stretch: Stretch | None
) -> _File:
    """What is to be read of a file: the pages that hold some rows, some of its columns, or all of it."""
    columns = layout.chunks(names)
    if stretch is not None and stretch != (0, sum(layout.rows)) and learn_pages(files, name, size, layout, names):
        return _cut(_File(name, size, []), layout, names, columns, stretch)
    groups = [
        (rows, [_Part(chunk.head, ((chunk.start, chunk.size),), chunk.data) for chunk in chunks])
        for rows, *chunks in zip(layout.rows, *columns, strict=True)
    ]
    file = _File(name, size, groups)
    file.whole = size <= parquet.SMALL and file.weight > _MOST * size
    if not file.whole:
        # Pages of another file that lies in its place could be whole as well.
        file.footer = layout.footer
    file.skipped, last = stretch or (0, sum(layout.rows))
    file.rows = last - file.skipped
    return file


def _cut(file: _File, layout: Layout, names: list[str], columns: list[list[Chunk]], stretch: Stretch) -> _File:
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
            parts = [
                _part_of(chunks[group].head, item.dictionary, item.holding(first_page, end_page))
                for item, chunks in zip(pages, columns, strict=True)
            ]
            file.groups.append((end_page - first_page, parts))
            if skipped is None:
                skipped = first - first_page
        before += rows
    file.skipped, file.rows = skipped or 0, stretch[1] - stretch[0]
    return file


def _part_of(head: bytes, dictionary: Page | None, pages: Sequence[Page]) -> _Part:
    """Some pages, which lie behind each other, and the dictionary that they need."""
    start, end, data = pages[0].place, pages[-1].place + pages[-1].size, 0
    pieces, headers = [(start, end - start)], list[tuple[int, bytes]]()
    if dictionary is not None:
        data = dictionary.size
        pieces.insert(0, (dictionary.place, data))
        headers.append((0, dictionary.header))
    # Only its header says what a page has to be, so the verified one counts.
    headers += [(data + page.place - start, page.header) for page in pages]
    return _Part(head, tuple(pieces), data, tuple(headers))


def _runs(batch: Sequence[_File]) -> Iterator[list[tuple[_File, int, list[_Part]]]]:
    """Row groups of files, those that become one together: small ones that follow each other and have no dictionaries."""
    run, last = list[tuple[_File, int, list[_Part]]](), None
    for file in batch:
        for rows, parts in file.groups:
            heads = tuple(part.head for part in parts)
            mergeable = rows <= _SMALL_GROUP and not any(part.data for part in parts)
            if run and not (mergeable and heads == last):
                yield run
                run = []
            run.append((file, rows, parts))
            last = heads if mergeable else None
    if run:
        yield run


def _place(batch: Sequence[_File]) -> tuple[list[tuple[int, list[bytes]]], int]:
    """Decide where everything goes; row groups for a footer, and where they end."""
    runs = list(_runs(batch))
    merged = {id(file) for run in runs if len(run) > 1 for file, _, _ in run}
    # To Arrow a dictionary at the very beginning is none.
    groups, place = list[tuple[int, list[bytes]]](), len(footers.MAGIC)
    for run in runs:
        file, _, parts = run[0]
        lies = file.whole and id(file) not in merged
        if lies and file.base is None:
            file.base, place = place, place + file.size
        written = []
        for column, part in enumerate(parts):
            if lies and file.base is not None:
                begin, size = file.base + part.pieces[0][0], part.pieces[0][1]
            else:
                begin = place
                for owner, _, others in run:
                    place = _move(owner, others[column], place)
                size = place - begin
            dictionary = begin if part.data else None
            total = sum(rows for _, rows, _ in run)
            written.append(footers.chunk_at(part.head, total, size, dictionary, begin + part.data))
        groups.append((sum(rows for _, rows, _ in run), written))
    return groups, place


def _move(file: _File, part: _Part, place: int) -> int:
    """Let a part go to a place; where it ends."""
    file.headers += [(place + offset, header) for offset, header in part.headers]
    for start, size in part.pieces:
        file.moves.append((start, size, place))
        place += size
    return place


def _fill(files: LocalFiles, some: Sequence[_File], memory: memoryview) -> None:
    """Read files into their places, and verify those that are read as a whole.

    Raises:
        Unreadable: one is not what was written.
    """
    scratch = memoryview(bytearray(max([0, *(file.size for file in some if file.whole and file.base is None)])))
    for file in some:
        if file.whole:
            bytes_of_it = scratch[: file.size] if file.base is None else memory[file.base : file.base + file.size]
            files.read_into(file.name, file.size, [(0, bytes_of_it)])
            if zlib.crc32(bytes_of_it) != parquet.checksums(file.name)[0]:
                raise parquet.Unreadable("its bytes are not those that were written")
            for start, size, place in file.moves:
                memory[place : place + size] = bytes_of_it[start : start + size]
            continue
        ranges = [(start, memory[place : place + size]) for start, size, place in file.moves]
        if file.footer is not None:
            footer = memoryview(bytearray(len(file.footer)))
            ranges.append((file.size - parquet.TAIL - len(footer), footer))
        files.read_into(file.name, file.size, ranges)
        if file.footer is not None and footer != file.footer:
            raise parquet.Unreadable("its footer is damaged")
        for place, header in file.headers:
            memory[place : place + len(header)] = header


def _decode(files: LocalFiles, batch: list[_File], begin: bytes, texts: list[str]) -> Assembled:
    """Read what was chosen, and let Arrow decode it."""
    groups, end = _place(batch)
    footer = footers.footer_with_groups(begin, groups)
    buffer = pa.allocate_buffer(end + len(footer))
    memory = memoryview(buffer).cast("B")
    many = end >= _WORTH_THREADS
    if many and len(batch) > 1:
        length = -(-len(batch) // THREADS)
        shares = [batch[start : start + length] for start in range(0, len(batch), length)]
        for _ in leaf_pool().map(lambda some: _fill(files, some, memory), shares):
            pass
    else:
        _fill(files, batch, memory)
    memory[end:] = footer
    verify = not all(file.whole for file in batch)
    source = pq.ParquetFile(pa.BufferReader(buffer), read_dictionary=texts, page_checksum_verification=verify)
    table = source.read(use_threads=many)
    slices, before = [], 0
    for file in batch:
        slices.append((before + file.skipped, file.rows))
        before += sum(rows for rows, _ in file.groups)
    if table.num_rows != before:
        raise parquet.Unreadable(f"it holds {table.num_rows:,} rows where the log counts {before:,}")
    return Assembled(table, slices)
