"""This module reads and writes the parts of Thrift's compact protocol that footers and page headers of Parquet files are made of.

What they mean is known to `footers` and `layouts`.
"""

from __future__ import annotations

BOOLEANS, BYTE, I16, I32, I64, DOUBLE, BINARY, LISTS, STRUCT = (1, 2), 3, 4, 5, 6, 7, 8, (9, 10), 12
LIST, STOP = 9, b"\x00"
# A struct's fields by number: the type and the bytes of each.
Fields = dict[int, tuple[int, bytes]]


def read_fields(data: bytes, place: int) -> tuple[Fields, int]:
    """The fields of a struct, in order, and where it ends.

    Raises:
        ValueError: it is laid out in a way that no writer of ours uses.
        IndexError: it is cut short.
    """
    fields: Fields = {}
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


def write_fields(fields: Fields) -> bytes:
    """The inverse of `read_fields`."""
    written, before = bytearray(), 0
    for number, (kind, value) in fields.items():
        written.append((number - before) << 4 | kind)
        written += value
        before = number
    return bytes(written) + STOP


def read_list_header(data: bytes, place: int) -> tuple[int, int, int]:
    """How many items, of which type, and where they begin."""
    header, place = data[place], place + 1
    if header >> 4 == 15:
        count, place = read_integer(data, place)
        return count, header & 15, place
    return header >> 4, header & 15, place


def write_list_header(count: int, kind: int) -> bytes:
    """The inverse of `read_list_header`."""
    return bytes([count << 4 | kind]) if count < 15 else bytes([15 << 4 | kind]) + write_integer(count)


def read_integer(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits per byte, as it is written, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def write_integer(value: int) -> bytes:
    """The inverse of `read_integer`."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def count_of(field: tuple[int, bytes]) -> int:
    """The number, not negative, that a field of a signed type holds."""
    value, _ = read_integer(field[1], 0)
    if value & 1:
        raise ValueError("a count below zero")
    return value >> 1


def write_count(value: int) -> bytes:
    """A number that is not negative, as a field of a signed type."""
    return write_integer(value << 1)


def _end(data: bytes, place: int, kind: int) -> int:
    """Where a value of some type ends."""
    if kind in BOOLEANS:
        return place
    if kind in {I16, I32, I64}:
        return read_integer(data, place)[1]
    if kind in {BYTE, DOUBLE}:
        return place + (1 if kind == BYTE else 8)
    if kind == BINARY:
        length, place = read_integer(data, place)
        return place + length
    if kind in LISTS:
        count, item, place = read_list_header(data, place)
        for _ in range(count):
            place = place + 1 if item in BOOLEANS else _end(data, place, item)
        return place
    if kind == STRUCT:
        return read_fields(data, place)[1]
    raise ValueError(f"a value of type {kind}")
