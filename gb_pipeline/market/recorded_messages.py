"""This module reads what others recorded of exchanges' streams: the raw files of cryptofeed and of hftbacktest's collector.

It cuts lines into messages with their receive time, and takes no message apart: venues' decoders do that. Files are opened for
reading, nothing is written.

    cryptofeed    wss://HOST <-> SECONDS          a connection stands
                  wss://HOST <- SECONDS: TEXT     sent
                  SECONDS: TEXT                   received
                  https://HOST/... -> SECONDS: TEXT   answered by REST
                  configuration: TEXT
    hftbacktest   NANOSECONDS TEXT                received, snapshots by REST among them
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from gb_pipeline.errors import FormatRefused

_GZIP = b"\x1f\x8b"
_CRYPTOFEED = re.compile(
    rb"(?:(?P<place>\S+) (?P<arrow><->|<-|->) )?(?P<seconds>[0-9]{1,10}(?:\.[0-9]{1,9})?)(?P<colon>: |$)"
)
_HFTBACKTEST = re.compile(rb"(?P<nanoseconds>[0-9]{19}) ")
_CONFIGURATION = b"configuration: "
# hftbacktest writes the whole books that it asked for between the messages of the stream.
_WHOLE_BOOK = b'{"lastUpdateId"'
_SHOWN = 60


class Direction(StrEnum):
    """Who said it."""

    CONNECTED = "connected"  # nobody: a connection was opened
    SENT = "sent"
    RECEIVED = "received"
    ANSWERED = "answered"  # by REST
    CONFIGURATION = "configuration"  # what the recorder was told to hear


class RecordedMessage(NamedTuple):
    """One message of a recording.

    Attributes:
        receive_time: ns since 1970 UTC by the recorder's clock; of a configuration, that of the line before, or 0.
        connection: address of the websocket, or of the REST request; of hftbacktest, the name that the caller gave.
        direction: who said it.
        data: the text as it was recorded, empty where a connection was opened.
    """

    receive_time: int
    connection: str
    direction: Direction
    data: bytes


def read_recording(path: Path) -> Iterator[RecordedMessage]:
    """The messages of a file of cryptofeed or hftbacktest, compressed with gzip or not; told apart by the first line.

    Raises:
        FormatRefused: a line is of neither kind, or the file is damaged.
        FileNotFoundError: there is no such file.

    Example:
        >>> for message in read_recording(Path("KRAKEN.ws.50.0")):  # doctest: +SKIP
        ...     print(message.receive_time, message.data[:40])
    """
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    with gzip.open(path) if compressed else path.open("rb") as lines:
        try:
            first = lines.readline()
            if _HFTBACKTEST.match(first):
                yield from parse_hftbacktest(_chain(first, lines), path.name.removesuffix(".gz"), place=str(path))
            else:
                yield from parse_cryptofeed(_chain(first, lines), place=str(path))
        except (EOFError, gzip.BadGzipFile) as error:
            raise FormatRefused(f"{path} is damaged: {error}", fix="take it from its source once more") from error


def parse_cryptofeed(lines: Iterable[bytes], *, place: str = "the recording") -> Iterator[RecordedMessage]:
    """The messages of lines that cryptofeed's `raw_data_collection` wrote; empty lines between them are passed over.

    Args:
        lines: with or without their ends.
        place: names the file in errors.

    Raises:
        FormatRefused: a line is of no kind that cryptofeed writes, or a message was received before a connection stood.
    """
    connection, last = "", 0
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if not line:
            continue
        if line.startswith(_CONFIGURATION):
            yield RecordedMessage(last, connection, Direction.CONFIGURATION, line[len(_CONFIGURATION) :])
            continue
        found = _CRYPTOFEED.match(line)
        if found is None or (found["colon"] == b"") != (found["arrow"] == b"<->"):
            raise _refused(place, number, line, "a line of cryptofeed")
        last, data = to_nanoseconds(found["seconds"].decode()), line[found.end() :]
        if found["arrow"] is None:
            if not connection:
                raise _refused(place, number, line, "a message of a connection, for none was opened before")
            yield RecordedMessage(last, connection, Direction.RECEIVED, data)
            continue
        where = found["place"].decode("utf-8", errors="replace")
        if found["arrow"] == b"->":
            yield RecordedMessage(last, where, Direction.ANSWERED, data)
            continue
        connection = where
        direction = Direction.SENT if found["arrow"] == b"<-" else Direction.CONNECTED
        yield RecordedMessage(last, connection, direction, data)


def parse_hftbacktest(
    lines: Iterable[bytes], connection: str, *, place: str = "the recording"
) -> Iterator[RecordedMessage]:
    """The messages of lines that hftbacktest's collector wrote; whole books by REST are `answered`.

    Args:
        lines: with or without their ends.
        connection: name for all of them, since the file has none.
        place: names the file in errors.

    Raises:
        FormatRefused: a line does not begin with 19 digits and a space.
    """
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if not line:
            continue
        found = _HFTBACKTEST.match(line)
        if found is None:
            raise _refused(place, number, line, "a line of hftbacktest's collector")
        data = line[found.end() :]
        direction = Direction.ANSWERED if data.startswith(_WHOLE_BOOK) else Direction.RECEIVED
        yield RecordedMessage(int(found["nanoseconds"]), connection, direction, data)


def to_nanoseconds(seconds: str) -> int:
    """Seconds since 1970 as decimal text in nanoseconds, digit by digit.

    Example:
        >>> to_nanoseconds("1618678132.8253062")
        1618678132825306200
    """
    whole, _, fraction = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refused(place: str, number: int, line: bytes, wanted: str) -> FormatRefused:
    shown = line[:_SHOWN].decode("utf-8", errors="replace")
    return FormatRefused(
        f"line {number:,} of {place} is not {wanted}: {shown!r}", fix="cut the line off, or take the file anew"
    )
