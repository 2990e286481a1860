"""The header and the records of one DBN file, decoded some at a time.

Databento's library reads the header. Records of bars are 56 bytes each, and are read as columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gb_pipeline.errors import FormatRefused
from gb_pipeline.market.resolution import Resolution

RECORD = np.dtype(
    [
        ("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8"),
        ("open", "<i8"), ("high", "<i8"), ("low", "<i8"), ("close", "<i8"), ("volume", "<u8"),
    ]
)  # fmt: skip
# `rtype` of each length of bars.
RTYPES = {32: Resolution.SECOND, 33: Resolution.MINUTE, 34: Resolution.HOUR, 35: Resolution.DAY}
SCHEMAS = {f"ohlcv-{resolution.value}": resolution for resolution in RTYPES.values()}
UNDEFINED_PRICE, UNDEFINED_TIME = 2**63 - 1, 2**64 - 1
PRICE_DECIMALS = 9
_PREFIX, _LONGEST_HEADER = 8, 1 << 28
_RECORDS = 1 << 17


def read_header(file: Path) -> Any:
    """What a file says about itself, as `databento_dbn.Metadata`.

    Raises:
        FormatRefused: it is no DBN file, or breaks off.
    """
    with _open(file) as stream:
        return _decode_header(file, stream)


def read_records(
    file: Path, record: np.dtype[Any] = RECORD, rtypes: Collection[int] = frozenset(RTYPES), kind: str = "bar"
) -> Iterator[npt.NDArray[Any]]:
    """The records of a file in its order, arrays of `record`; by default its bars.

    Args:
        file: of one kind of records.
        record: what a record is.
        rtypes: of such records.
        kind: what they are called, for messages.

    Raises:
        FormatRefused: a record of another kind or a part of one; the message says behind how many bytes.
    """
    with _open(file) as stream:
        _decode_header(file, stream)
        at = stream.at
        while body := stream.read(_RECORDS * record.itemsize):
            whole = len(body) // record.itemsize
            records = np.frombuffer(body, dtype=record, count=whole)
            strange = (records["length"].astype("u2") * 4 != record.itemsize) | ~np.isin(records["rtype"], list(rtypes))
            number = int(strange.argmax()) if strange.any() else whole
            if number:
                yield records[:number]
            if number < whole:
                found = records["rtype"][number]
                raise _damaged(file, at + number * record.itemsize, f"a record of kind {found}, no {kind}")
            if len(body) % record.itemsize:
                raise _damaged(file, at + whole * record.itemsize, "it breaks off within a record")
            at += len(body)


def _decode_header(file: Path, stream: _Stream) -> Any:
    from databento_dbn import DBNError, Metadata

    prefix = stream.read(_PREFIX)
    length = int.from_bytes(prefix[4:8], "little")
    if len(prefix) < _PREFIX or prefix[:3] != b"DBN" or length > _LONGEST_HEADER:
        raise _damaged(file, 0, "it does not begin as a DBN file does")
    body = stream.read(length)
    if len(body) < length:
        raise _damaged(file, _PREFIX + len(body), f"it breaks off in its header, which has {length:,} bytes")
    try:
        return Metadata.decode(prefix + body)
    except (DBNError, ValueError, OverflowError) as error:
        raise _damaged(file, _PREFIX, str(error)) from None


class _Stream:
    """Bytes of a file as they are unpacked, and behind how many of them it stands."""

    def __init__(self, file: Path, unpacked: Any) -> None:
        self._file, self._unpacked, self.at = file, unpacked, 0

    def read(self, size: int) -> bytes:
        """So many bytes, or all that are left: a decompressing stream may give fewer at once."""
        parts = []
        while size:
            try:
                part = self._unpacked.read(size)
            except (OSError, pa.ArrowException) as error:
                raise _damaged(self._file, self.at, str(error)) from None
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self.at += len(part)
        return b"".join(parts)


@contextmanager
def _open(file: Path) -> Iterator[_Stream]:
    """The bytes of a file, unpacked if they are packed by Zstandard."""
    with file.open("rb") as raw:
        packed = raw.read(4) == b"\x28\xb5\x2f\xfd"
    with pa.input_stream(str(file), compression="zstd" if packed else None) as unpacked:
        yield _Stream(file, unpacked)


def _damaged(file: Path, at: int, why: str) -> FormatRefused:
    return FormatRefused(f"{file}, byte {at:,} of what it unpacks to: {why}", fix="download it from Databento again")
