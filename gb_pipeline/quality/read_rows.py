"""This module counts the rows that were read for an answer, and those of them that lie outside of what was asked for.

A file holds years, and one day of it may be asked for: what lies outside is no error, and is told all the same. What became of the
rows inside is counted in `lake.row_counts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gb_pipeline.errors import LakeError


@dataclass(frozen=True, slots=True)
class FileRows:
    """How many rows of one file were read, and how many of them lie outside of the windows that were asked for.

    Attributes:
        file: its path below the source's `root`.
        read: rows of the symbol in it.
        outside: those of them that no window holds.
    """

    file: str
    read: int
    outside: int

    @property
    def sentence(self) -> str:
        """`AAA.csv: 366 rows read, 365 outside of what was asked for`."""
        return f"{self.file}: {_rows(self.read)} read, {self.outside:,} outside of what was asked for"


@dataclass(frozen=True, slots=True)
class ReadRows:
    """The rows that were read for answers; `read == received + outside`.

    Attributes:
        read: all of them.
        received: rows of the answers.
        outside: rows that belong to no answer, as they lie outside of what was asked for.
        files: of what was read from files, the files; those that hold one day and nothing else may be left out.

    Raises:
        LakeError: the rows do not add up, which is a bug.

    Example:
        >>> ReadRows(read=366, received=1, outside=365).sentence
        '366 rows read: 1 received, 365 outside of what was asked for'
    """

    read: int = 0
    received: int = 0
    outside: int = 0
    files: tuple[FileRows, ...] = ()

    def __post_init__(self) -> None:
        """Hold the law that no row is lost."""
        of_files = sum(item.outside for item in self.files) if self.files else self.outside
        if (
            self.read != self.received + self.outside
            or self.outside != of_files
            or min(self.received, self.outside) < 0
        ):
            raise LakeError(
                f"{self.sentence}, of files {of_files:,}",
                fix="this is a bug of gb_pipeline: please report it with these numbers",
            )

    def __add__(self, other: ReadRows) -> ReadRows:
        """The rows of both, of windows that do not overlap: a file that was read for both has its rows once."""
        received = self.received + other.received
        if not self.files and not other.files:
            return ReadRows(self.read + other.read, received, self.outside + other.outside)
        files = _unite([*self.files, *other.files])
        outside = sum(item.outside for item in files)
        return ReadRows(received + outside, received, outside, files)

    @property
    def outside_files(self) -> list[FileRows]:
        """Files that hold rows outside, most of them first."""
        return sorted((item for item in self.files if item.outside), key=lambda item: (-item.outside, item.file))

    @property
    def sentence(self) -> str:
        """As in the example."""
        return f"{_rows(self.read)} read: {self.received:,} received, {self.outside:,} outside of what was asked for"


def _unite(files: Iterable[FileRows]) -> tuple[FileRows, ...]:
    """Each file once. Of one that grew in between, what was read of it last is not known to be more than what was inside."""
    read: dict[str, int] = {}
    inside: dict[str, int] = {}
    for item in files:
        read[item.file] = max(read.get(item.file, 0), item.read)
        inside[item.file] = inside.get(item.file, 0) + item.read - item.outside
    return tuple(FileRows(name, max(read[name], inside[name]), max(0, read[name] - inside[name])) for name in read)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
