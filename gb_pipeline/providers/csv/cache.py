"""This module parses files once and remembers them, within bounds, as long as they do not change.

Which files answer a request is decided by `provider`; they are read by `files` and parsed by `rows`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.providers.csv.files import CsvFile, read
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.refusals import refuse_text
from gb_pipeline.providers.csv.rows import Reading, Rows, parse, row_schema
from gb_pipeline.providers.csv.unpacked import Bounds
from gb_pipeline.providers.csv.unreadable import Refusal


@dataclass(frozen=True)
class ParsedFile:
    """A file's rows.

    Attributes:
        frame: columns of `rows.row_schema` and `anchor` (Datetime us UTC): the row's timestamp, or that of the readable
            row of the same instrument before it in the same text, or else after it, or else the midnight of the date in the
            file's name.
        has_member: whether the archive has the member that was asked for.
        members: what it has.
        digest: SHA-256 of the file.
        bytes: its size.
        others: what it calls instruments that are not the source's, some of them.
        named: instruments that it names in a column that nobody mapped.
        owners: what it calls instruments of the source, where it holds several.
        refusal: what is wrong with it, if too few of its stamps can be read, or read as they are meant.
        dated: whether its name carries a date, so that it holds one day.
    """

    frame: pl.DataFrame
    has_member: bool
    members: tuple[str, ...]
    digest: bytes
    bytes: int
    others: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    refusal: Refusal | None = None
    dated: bool = False

    @cached_property
    def by_owner(self) -> dict[str | None, pl.DataFrame]:
        """The rows of each instrument, by what the file calls it; None where it does not say."""
        if self.frame["owner"].null_count() == self.frame.height:
            return {None: self.frame}
        parts = self.frame.partition_by("owner", as_dict=True, maintain_order=True)
        return {key[0]: part for key, part in parts.items()}


@dataclass
class ParsedFiles:
    """The least recently used are forgotten when all together outgrow `limit` bytes.

    Attributes:
        bad_fraction: a file with a larger share of unreadable stamps may be refused.
        limit: bytes.
    """

    bad_fraction: float = 0.01
    limit: int = 256 * 1024 * 1024
    _files: OrderedDict[tuple[object, ...], ParsedFile] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, file: CsvFile, member: str | None, reading: Reading, of: str | None = None) -> ParsedFile:
        """The file's rows; it is read again when its time, size or inode changed.

        Args:
            file: which.
            member: of an archive.
            reading: how.
            of: the one number that a file of a wide layout holds.

        Raises:
            VendorError: as `files.read` and `rows.parse`.
        """
        # One file at a time: parsing is parallel in itself, and nobody parses what another is just parsing.
        with self._lock:
            try:
                facts = file.path.stat()
            except OSError as error:
                raise PermanentVendorError(f"{file.path} cannot be read: {error.strerror}") from error
            key = (file.path, facts.st_mtime_ns, facts.st_size, facts.st_ino, member, reading.resolution, of)
            if key not in self._files:
                self._files[key] = self._parse(file, member, reading, of)
                while len(self._files) > 1 and self._size() > self.limit:
                    self._files.popitem(last=False)
            self._files.move_to_end(key)
            return self._files[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._files.clear()

    def _size(self) -> int:
        return sum(int(parsed.frame.estimated_size()) for parsed in self._files.values())

    def _parse(self, file: CsvFile, member: str | None, reading: Reading, of: str | None) -> ParsedFile:
        options = reading.options
        content = read(file, member, options.encoding, Bounds(options.max_megabytes, options.max_ratio))
        texts = [(where, parse(text, where, file.day, reading, of)) for where, text in content.texts]
        refusals = (refuse_text(rows, where, reading, self.bad_fraction) for where, rows in texts)
        return ParsedFile(
            frame=pl.concat([empty_rows(options), *(_add_anchor(rows, file.day, options) for _, rows in texts)]),
            has_member=bool(texts),
            members=content.members,
            digest=content.digest,
            bytes=content.bytes,
            others=tuple(name for _, rows in texts for name in rows.others),
            named=tuple(rows.named for _, rows in texts if rows.named is not None),
            owners=tuple(name for _, rows in texts for name in rows.owners),
            refusal=next((refusal for refusal in refusals if refusal is not None), None),
            dated=file.day is not None,
        )


def empty_rows(options: CsvOptions) -> pl.DataFrame:
    """No rows, with all columns."""
    return pl.DataFrame(schema={**row_schema(options), "anchor": INSTANT})


def _add_anchor(rows: Rows, day: date | None, options: CsvOptions) -> pl.DataFrame:
    frame, stamp = rows.frame, pl.col("timestamp")
    if not frame["timestamp"].null_count():
        return frame.with_columns(anchor=stamp)
    midnight: datetime | None = None
    if day is not None:
        midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(options.timezone or "UTC")).astimezone(UTC)
    anchor = stamp.forward_fill().backward_fill()
    if frame["owner"].null_count() < frame.height:
        anchor = anchor.over("owner")
    # Of an undated text without one readable stamp nothing can be placed; it is refused whole.
    return frame.with_columns(anchor=anchor.fill_null(pl.lit(midnight, INSTANT)))
