"""This module makes footers of Parquet files: of what a verified one says, for some of its columns, with decimals as integers.

PyArrow makes 128 bits of each decimal of 64 bits and has no option for the smaller type. A footer that is made here leaves out of
the schema what makes a decimal of an integer. No file is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.storage import thrift
from gb_pipeline.storage.thrift import Fields

MAGIC = b"PAR1"
_VERSION_HEADER, _SCHEMA_HEADER = 1 << 4 | thrift.I32, 1 << 4 | thrift.LIST
# Fields of a schema's element, and the values that a decimal in 64 bits has there.
_PHYSICAL, _NAME, _CHILDREN, _CONVERTED, _LOGICAL = 1, 4, 5, 6, 10
_OF_DECIMALS = {_CONVERTED, 7, 8, _LOGICAL}
_INT64, _DECIMAL = b"\x04", b"\x0a"
_MOST_KNOWN = 32


@dataclass(frozen=True)
class FileSchema:
    """What a footer begins with: a version and the elements of a schema.

    Attributes:
        begin: as it is in the file.
        version: the bytes in front of the elements' number.
        root: the first element.
        elements: of each column, in order.
    """

    begin: bytes
    version: bytes
    root: Fields
    elements: dict[str, Fields]
    _projections: dict[tuple[tuple[str, ...], bool], bytes] = field(default_factory=dict, compare=False, repr=False)

    def projected(self, names: Sequence[str], *, integers: bool) -> bytes:
        """The beginning of a footer with some of the columns, in this order.

        Raises:
            KeyError: there is no such column.
        """
        key = tuple(names), integers
        found = self._projections.get(key)
        if found is not None:
            return found
        chosen = [self.elements[name] for name in names]
        root = self.root | {_CHILDREN: (thrift.I32, thrift.write_count(len(names)))}
        written = [thrift.write_fields(_plain(fields) if integers else fields) for fields in (root, *chosen)]
        made = b"".join([self.version, thrift.write_list_header(len(written), thrift.STRUCT), *written])
        if len(self._projections) < _MOST_KNOWN:
            self._projections[key] = made
        return made

    def physical(self, name: str) -> bytes:
        """The number of a column's type."""
        return self.elements[name][_PHYSICAL][1]


# Files of one table share a schema, so it is taken apart once.
_known: dict[bytes, FileSchema] = {}
_guard = Lock()


def schema_of(footer: bytes) -> FileSchema:
    """What a file's footer begins with.

    Raises:
        ValueError, IndexError: it is laid out in another way than ours are.
    """
    for begin, known in list(_known.items()):
        if footer.startswith(begin):
            return known
    found = _take_apart(footer)
    with _guard:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        return _known.setdefault(found.begin, found)


def integers_for_decimals(footer: bytes) -> pq.FileMetaData | None:
    """The metadata of a file whose decimals of up to 18 digits are plain integers: of the value 1.5 with scale 8, 150000000.

    Args:
        footer: the file's own, without the length and the letters behind it.

    Returns:
        None where the footer is laid out in another way than ours are.
    """
    try:
        schema = schema_of(footer)
    except (IndexError, ValueError):
        return None
    return parse(schema.projected(list(schema.elements), integers=True) + footer[len(schema.begin) :])


def parse(footer: bytes) -> pq.FileMetaData:
    """A footer as PyArrow has it."""
    return pq.read_metadata(pa.BufferReader(MAGIC + complete(footer)))


def complete(footer: bytes) -> bytes:
    """A footer and what follows it in a file."""
    return b"".join([footer, len(footer).to_bytes(4, "little"), MAGIC])


def footer_with_groups(begin: bytes, groups: Iterable[tuple[int, Sequence[bytes]]]) -> bytes:
    """The end of a file of row groups, each its number of rows and its columns' chunks; `begin` is of `FileSchema.projected`."""
    written, total, count = [], 0, 0
    for rows, chunks in groups:
        header = thrift.write_list_header(len(chunks), thrift.STRUCT)
        # Nobody who reads asks for the size of a row group.
        written += [b"\x19", header, *chunks, b"\x16\x00\x16", thrift.write_count(rows), thrift.STOP]
        total, count = total + rows, count + 1
    told = [b"\x16", thrift.write_count(total), b"\x19", thrift.write_list_header(count, thrift.STRUCT)]
    return complete(b"".join([begin, *told, *written, thrift.STOP]))


def chunk_head(schema: FileSchema, name: str, codec: int) -> bytes:
    """What a chunk of a column says of itself, wherever it lies: file offset, type, encodings, path and compression."""
    path = name.encode()
    return b"".join(
        [b"\x26\x00\x1c\x15", schema.physical(name), b"\x19\x15\x00\x19\x18", thrift.write_integer(len(path)), path, b"\x15",
         thrift.write_count(codec)]
    )  # fmt: skip


def chunk_at(head: bytes, values: int, size: int, dictionary: int | None, data: int) -> bytes:
    """A chunk whose first page of data, and whose dictionary if it has one, lie at some places."""
    counted = thrift.write_count(size)
    places = b"\x26" + thrift.write_count(data)
    if dictionary is not None:
        places += b"\x26" + thrift.write_count(dictionary)
    return b"".join(
        [head, b"\x16", thrift.write_count(values), b"\x16", counted, b"\x16", counted, places, b"\x00\x00"]
    )


def _take_apart(footer: bytes) -> FileSchema:
    if footer[0] != _VERSION_HEADER:
        raise ValueError("no version in front")
    _, place = thrift.read_integer(footer, 1)
    if footer[place] != _SCHEMA_HEADER:
        raise ValueError("no schema behind the version")
    version = footer[: place + 1]
    count, kind, place = thrift.read_list_header(footer, place + 1)
    if kind != thrift.STRUCT:
        raise ValueError("no elements in the schema")
    elements = []
    for _ in range(count):
        fields, place = thrift.read_fields(footer, place)
        elements.append(fields)
    if any(_CHILDREN in fields for fields in elements[1:]) or not elements:
        raise ValueError("columns within columns")
    return FileSchema(footer[:place], version, elements[0], {_name(fields): fields for fields in elements[1:]})


def _name(element: Fields) -> str:
    text = element[_NAME][1]
    length, place = thrift.read_integer(text, 0)
    return text[place : place + length].decode()


def _plain(element: Fields) -> Fields:
    """An element without the marks of a decimal of 64 bits."""
    if element.get(_CONVERTED, (0, b""))[1] != _DECIMAL or element.get(_PHYSICAL, (0, b""))[1] != _INT64:
        return element
    return {number: field for number, field in element.items() if number not in _OF_DECIMALS}
