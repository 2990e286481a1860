"""This module opens the footer of a Parquet file so that decimals of 64 bits are read as the integers that they are.

PyArrow makes 128 bits of each such decimal and has no option for the smaller type. The footer that it is given here is the file's
own, verified one, whose schema leaves out what makes a decimal of an integer. Nothing else is changed, and no file is.
"""

from __future__ import annotations

from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

_MAGIC = b"PAR1"
# Thrift's compact protocol: the types of fields that occur, and how a list and a struct are laid out.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_VERSION_HEADER, _SCHEMA_HEADER = 1 << 4 | _I32, 1 << 4 | _LIST
# Fields of a schema's element, and the values that a decimal in 64 bits has there.
_PHYSICAL, _CONVERTED, _LOGICAL = 1, 6, 10
_OF_DECIMALS = {_CONVERTED, 7, 8, _LOGICAL}
_INT64, _DECIMAL = b"\x04", b"\x0a"
# What schemas begin a footer with, and what is put in its place; files of one table share it, so it is worked out once.
_known: dict[bytes, bytes] = {}
_MOST_KNOWN = 32
_guard = Lock()


def integers_for_decimals(footer: bytes) -> pq.FileMetaData | None:
    """The metadata of a file whose decimals of up to 18 digits are plain integers: of the value 1.5 with scale 8, 150000000.

    Args:
        footer: the file's own, without the length and the letters behind it.

    Returns:
        None where the footer is laid out in another way than ours are.
    """
    for schema, plain in list(_known.items()):
        if footer.startswith(schema):
            return _parse(plain + footer[len(schema) :])
    try:
        schema, plain = _without_decimals(footer)
    except (IndexError, ValueError):
        return None
    with _guard:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[schema] = plain
    return _parse(plain + footer[len(schema) :])


def _parse(footer: bytes) -> pq.FileMetaData:
    return pq.read_metadata(pa.BufferReader(b"".join([_MAGIC, footer, len(footer).to_bytes(4, "little"), _MAGIC])))


def _without_decimals(footer: bytes) -> tuple[bytes, bytes]:
    """What a footer begins with, up to the end of its schema, as it is and without the marks of decimals."""
    if footer[0] != _VERSION_HEADER:
        raise ValueError("no version in front")
    _, place = _integer(footer, 1)
    if footer[place] != _SCHEMA_HEADER:
        raise ValueError("no schema behind the version")
    count, kind, place = _list_header(footer, place + 1)
    if kind != _STRUCT:
        raise ValueError("no elements in the schema")
    plain = bytearray(footer[:place])
    for _ in range(count):
        fields, place = _fields(footer, place)
        of_decimal = fields.get(_CONVERTED, (0, b""))[1] == _DECIMAL and fields.get(_PHYSICAL, (0, b""))[1] == _INT64
        before = 0
        for number, (kind, value) in fields.items():
            if not (of_decimal and number in _OF_DECIMALS):
                plain.append((number - before) << 4 | kind)
                plain += value
                before = number
        plain.append(0)
    return footer[:place], bytes(plain)


def _fields(data: bytes, place: int) -> tuple[dict[int, tuple[int, bytes]], int]:
    """The fields of a struct: number to type and bytes; and where it ends."""
    fields: dict[int, tuple[int, bytes]] = {}
    number = 0
    while data[place]:
        header, place = data[place], place + 1
        if not header >> 4:
            raise ValueError("fields that lie far apart")
        number += header >> 4
        end = _end(data, place, header & 15)
        fields[number] = header & 15, data[place:end]
        place = end
    return fields, place + 1


def _end(data: bytes, place: int, kind: int) -> int:
    """Where a value of some type ends."""
    if kind in {_TRUE, _FALSE}:
        return place
    if kind in {_I16, _I32, _I64}:
        return _integer(data, place)[1]
    if kind in {_BYTE, _DOUBLE}:
        return place + (1 if kind == _BYTE else 8)
    if kind == _BINARY:
        length, place = _integer(data, place)
        return place + length
    if kind in {_LIST, _SET}:
        count, item, place = _list_header(data, place)
        for _ in range(count):
            place = place + 1 if item in {_TRUE, _FALSE} else _end(data, place, item)
        return place
    if kind == _STRUCT:
        return _fields(data, place)[1]
    raise ValueError(f"a value of type {kind}")


def _list_header(data: bytes, place: int) -> tuple[int, int, int]:
    """How many items, of which type, and where they begin."""
    header, place = data[place], place + 1
    if header >> 4 == 15:
        count, place = _integer(data, place)
        return count, header & 15, place
    return header >> 4, header & 15, place


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits per byte, as it is written, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
