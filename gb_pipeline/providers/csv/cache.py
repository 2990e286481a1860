"""This module parses files once and remembers them, within bounds, as long as they do not change.

Which files answer a request is decided by `provider`; they are read by `files` and parsed by `rows`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv.files import CsvFile, read
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.rows import parse, schema
from gb_pipeline.providers.csv.unpacked import Bounds


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """A file's rows.

    Attributes:
        frame: columns of `rows.schema` and `anchor` (Datetime us UTC): the row's timestamp, or that of the readable
            row before it in the same text, or else after it, or else the midnight of the date in the file's name.
        has_member: whether the archive has the member that was asked for.
        members: what it has.
        digest: SHA-256 of the file.
        bytes: its size.
    """

    frame: pl.DataFrame
    has_member: bool
    members: tuple[str, ...]
    digest: bytes
    bytes: int


class ParsedFiles:
    """The least recently used are forgotten when all together outgrow `limit` bytes."""

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        """Start with nothing."""
        self._limit = limit
        self._files: OrderedDict[tuple[object, ...], ParsedFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: CsvFile, member: str | None, options: CsvOptions, resolution: Resolution) -> ParsedFile:
        """The file's rows; it is read again when its time, size or inode changed.

        Raises:
            VendorError: as `files.read` and `rows.parse`; not one stamp of an undated text is readable.
        """
        # One file at a time: parsing is parallel in itself, and nobody parses what another is just parsing.
        with self._lock:
            try:
                facts = file.path.stat()
            except OSError as error:
                raise PermanentVendorError(f"{file.path} cannot be read: {error.strerror}") from error
            key = (file.path, facts.st_mtime_ns, facts.st_size, facts.st_ino, member, resolution)
            if key not in self._files:
                self._files[key] = _parse(file, member, options, resolution)
                while len(self._files) > 1 and self._size() > self._limit:
                    self._files.popitem(last=False)
            self._files.move_to_end(key)
            return self._files[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._files.clear()

    def _size(self) -> int:
        return sum(int(parsed.frame.estimated_size()) for parsed in self._files.values())


def empty_rows(options: CsvOptions) -> pl.DataFrame:
    """No rows, with all columns."""
    return pl.DataFrame(schema={**schema(options), "anchor": INSTANT})


def _parse(file: CsvFile, member: str | None, options: CsvOptions, resolution: Resolution) -> ParsedFile:
    content = read(file, member, options.encoding, Bounds(options.max_megabytes, options.max_ratio))
    frames = [
        _add_anchor(parse(text, where, file.day, options, resolution), where, file.day, options)
        for where, text in content.texts
    ]
    rows = pl.concat([empty_rows(options), *frames])
    return ParsedFile(rows, bool(frames), content.members, content.digest, content.bytes)


def _shape(line: str) -> str:
    """A line without what it says: `2024-01-02 09:30,1.5` as `9999-99-99 99:99,9.9`."""
    kinds = (
        "9" if c.isdigit() else "a" if c.isalpha() else c if c.isascii() and c.isprintable() else "?" for c in line[:60]
    )
    return repr("".join(kinds))


def _add_anchor(frame: pl.DataFrame, where: str, day: date | None, options: CsvOptions) -> pl.DataFrame:
    midnight: datetime | None = None
    if frame.height and frame["timestamp"].null_count() == frame.height:
        if day is None:
            raise PermanentVendorError(
                f"no stamp of {where} can be read as {options.timestamp_format}, zone {options.timezone}; "
                f"its first of {frame.height} lines looks like {_shape(frame['received'][0])}",
                fix="check the options `timestamp_format`, `timezone`, `columns` and `delimiter`",
            )
        midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(options.timezone or "UTC")).astimezone(UTC)
    anchor = pl.col("timestamp").forward_fill().backward_fill().fill_null(pl.lit(midnight, INSTANT))
    return frame.with_columns(anchor=anchor)
