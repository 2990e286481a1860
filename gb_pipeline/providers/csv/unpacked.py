"""This module unpacks the bytes of a file, plain, gzip or zip, as long as they can be a file of bars.

The bounds of size, packing and line length are watched while pieces are read: a bomb is let go of when it has shown what it is, not
when it has filled the memory. Which file it is was decided by `files`; what the bytes say is read by `rows`.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO

from gb_pipeline.errors import PermanentVendorError

MOST_LINE = 64 * 2**10
# What is this small is nobody's bomb, however well it packs.
HARMLESS_BYTES = 16 * 2**20
# The directory of an archive: some hundred thousand members.
_MOST_DIRECTORY = 8 * 2**20
_PIECE = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file may be.

    Attributes:
        megabytes: most of all its text together, unpacked.
        ratio: most times that it may grow when it is unpacked.
    """

    megabytes: int = 1024
    ratio: int = 100

    @property
    def bytes(self) -> int:
        """The same in bytes."""
        return self.megabytes * 2**20


def unpack(path: Path, member: str | None, bounds: Bounds) -> tuple[list[tuple[str, bytes]], tuple[str, ...], bytes]:
    """The texts in a file, as bytes; its kind is known by its first bytes and not by its name.

    Args:
        path: the file.
        member: glob of the members of a zip, against their names or their last parts.
        bounds: of what it may be.

    Returns:
        Names and bytes of the texts, names of all members, and the file as it is.

    Raises:
        PermanentVendorError: a damaged archive, several members and none chosen, or more than the bounds.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > bounds.bytes:
        raise _too_large(str(path), bounds)
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:2] != b"\x1f\x8b" and start not in {b"PK\x03\x04", b"PK\x05\x06"}:
            body = _read_all(str(path), lambda: file.read(_PIECE), bounds)
            return [(str(path), body)], (), body
        body = file.read(bounds.bytes + 1)
    packed = io.BytesIO(body)
    try:
        if start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=packed) as text:
                return [(str(path), _read_all(str(path), lambda: text.read(_PIECE), bounds, packed.tell))], (), body
        with archive(packed, path) as opened:
            chosen, names = _choose_members(opened, path, member)
            return list(_read_members(opened, packed, path, chosen, bounds)), names, body
    except _BROKEN as error:
        raise PermanentVendorError(
            f"{path} is a damaged or protected archive: {printable(str(error))}",
            fix="get the file from the vendor again",
        ) from error


def archive(file: IO[bytes], path: Path) -> zipfile.ZipFile:
    """A zip, of which only a directory of a bearable size is read.

    Raises:
        PermanentVendorError: it names more members than any archive of bars.
        zipfile.BadZipFile: it is none.
    """
    # What `ZipFile` itself goes by: a reading of our own might see another end than it does.
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end is not None and end[zipfile._ECD_SIZE] > _MOST_DIRECTORY:  # type: ignore[attr-defined]
        raise PermanentVendorError(
            f"{path} names more files than any archive of bars", fix="unpack what you need of it"
        )
    file.seek(0)
    return zipfile.ZipFile(file)


def members(opened: zipfile.ZipFile) -> list[str]:
    """Names of the files in a zip, sorted, without folders and what a Mac leaves behind."""
    return sorted(n for n in opened.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/"))


def matching(names: list[str], wanted: str | None) -> list[str]:
    """Those of the names that a glob means; all where it is None."""
    glob = wanted or "*"
    return [n for n in names if fnmatchcase(n, glob) or fnmatchcase(n.rpartition("/")[2], glob)]


def printable(text: str) -> str:
    """A name out of a file, as it may stand in a message: short, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])


def _choose_members(opened: zipfile.ZipFile, path: Path, member: str | None) -> tuple[list[str], tuple[str, ...]]:
    names = members(opened)
    if member is None and len(names) != 1:
        raise PermanentVendorError(
            f"{path} holds {len(names)} files: {', '.join(map(printable, names[:5]))}",
            fix="choose with the option `member`, such as *_{expiry}.csv",
        )
    return matching(names, member), tuple(names)


def _read_members(
    opened: zipfile.ZipFile, packed: io.BytesIO, path: Path, names: list[str], bounds: Bounds
) -> Iterator[tuple[str, bytes]]:
    left = bounds.bytes
    for name in names:
        where = f"{path}::{printable(name)}"
        start = opened.getinfo(name).header_offset
        with opened.open(name) as file:
            read, taken = partial(file.read, _PIECE), partial(_packed_bytes_read, packed, start)
            text = _read_all(where, read, bounds, taken, left)
        left -= len(text)
        yield where, text


def _packed_bytes_read(packed: io.BytesIO, start: int) -> int:
    return packed.tell() - start


def _read_all(
    where: str,
    piece: Callable[[], bytes],
    bounds: Bounds,
    taken: Callable[[], int] | None = None,
    most: int | None = None,
) -> bytes:
    """All pieces together, unless they are too many, too well packed, or one line without an end.

    Args:
        where: whose they are.
        piece: reads the next.
        bounds: of what they may be.
        taken: how many packed bytes were read for the pieces so far; None where nothing is packed.
        most: bytes; those of the bounds by default.
    """
    limit = bounds.bytes if most is None else most
    pieces: list[bytes] = []
    size, open_line = 0, 0
    while part := piece():
        size += len(part)
        if size > limit:
            raise _too_large(where, bounds)
        if taken is not None and size > max(HARMLESS_BYTES, taken() * bounds.ratio):
            raise PermanentVendorError(
                f"{where} grows to more than {bounds.ratio} times its size when it is unpacked: no file of bars does",
                fix="look at it; raise the option `max_ratio` of the source if it is what it should be",
            )
        open_line = _open_line(where, part, open_line)
        pieces.append(part)
    return b"".join(pieces)


def _open_line(where: str, part: bytes, before: int) -> int:
    """How long the line is that a piece ends in; `before` is how long the one is that it begins in."""
    at = -before
    while at + MOST_LINE < len(part):
        first = max(at, 0)
        newest = max(part.rfind(b"\n", first, at + MOST_LINE + 1), part.rfind(b"\r", first, at + MOST_LINE + 1))
        if newest < 0:
            raise PermanentVendorError(
                f"{where} has a line of more than {MOST_LINE:,} bytes: no bar is that long",
                fix="get the file from the vendor again, and check that it is text",
            )
        at = newest + 1
    newest = max(part.rfind(b"\n", max(at, 0)), part.rfind(b"\r", max(at, 0)))
    return len(part) - (newest + 1 if newest >= 0 else at)


def _too_large(where: str, bounds: Bounds) -> PermanentVendorError:
    return PermanentVendorError(
        f"{where} holds more than {bounds.megabytes} MB",
        fix="cut it into files of a day or a year, or raise the option `max_megabytes` of the source; "
        "it takes some five times as much memory",
    )
