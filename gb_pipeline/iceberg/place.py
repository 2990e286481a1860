"""This module knows where the Iceberg table over a lake's table lies, and lets pyiceberg read and write there through `Files`.

So a bucket is reached as the lake is, by the same client and credentials, and none of them is in a property of a table. Data files
are named here and never opened.
"""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from pyiceberg.io import FileIO, InputFile, OutputFile

from gb_pipeline.config.bucket import Address, Bucket
from gb_pipeline.errors import ConfigError
from gb_pipeline.iceberg.exported import FOLDER
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.files import Files


def root_uri(root: Address) -> str:
    """The address of a lake as Iceberg's files have it: absolute, and with nothing in it escaped.

    Raises:
        ConfigError: readers would take a part of the path for something else.
    """
    if isinstance(root, Bucket):
        return str(root)
    if strange := sorted({"?", "#"} & set(str(root))):
        raise ConfigError(
            f"the path of the lake has a {strange[0]}, and readers of Iceberg end it there: {root}",
            fix="move the lake to a folder without one",
        )
    return f"file://{root}"


@dataclass(frozen=True)
class Place:
    """The folder of the Iceberg table over one table.

    Attributes:
        storage: of the lake.
        table: the name of the lake's table.
    """

    storage: Storage
    table: str

    @property
    def folder(self) -> str:
        """Relative to the root of the lake."""
        return f"{FOLDER}/{self.table}"

    @property
    def location(self) -> str:
        """What Iceberg calls the location of the table."""
        return self.uri(self.folder)

    def uri(self, name: str) -> str:
        """The address of a file by its name relative to the root of the lake."""
        return f"{root_uri(self.storage.root)}/{name}"

    def data_uri(self, path: str) -> str:
        """The address of one of the table's own data files, which stays where it is."""
        return self.uri(f"{self.storage.table_name(self.table)}/{path}")

    def name(self, uri: str) -> str:
        """The name of a file, relative to the root of the lake, by its address."""
        return uri.removeprefix(f"{root_uri(self.storage.root)}/")


class LakeFileIO(FileIO):
    """Files of one Iceberg table. What one attempt has written is remembered: it is made durable, or removed again."""

    def __init__(self, place: Place) -> None:
        """Nothing is opened."""
        super().__init__({})
        self.place = place
        self.written: list[str] = []

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        return _Input(location, self.place.storage.files, self.place.name(location))

    def new_output(self, location: str) -> OutputFile:
        """A file to write."""
        return _Output(location, self)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file if it is there."""
        uri = location if isinstance(location, str) else location.location
        self.place.storage.files.delete(self.place.name(uri))

    def write(self, uri: str, data: bytes) -> None:
        """Write a new file; it is durable after `flush`."""
        name = self.place.name(uri)
        self.written.append(name)
        self.place.storage.files.write(name, data)

    def flush(self) -> None:
        """Make what was written durable."""
        self.place.storage.files.flush(self.written)

    def hand_over(self) -> list[str]:
        """Forget what was written, which may be committed from now on; its names."""
        written, self.written = self.written, []
        return written

    def discard(self) -> None:
        """Remove what was written; what cannot be removed now is left to a vacuum."""
        with suppress(OSError):
            for name in self.hand_over():
                self.place.storage.files.delete(name)


class _Input(InputFile):
    def __init__(self, location: str, files: Files, name: str) -> None:
        super().__init__(location)
        self._files, self._name = files, name

    def __len__(self) -> int:
        return self._files.size(self._name) or 0

    def exists(self) -> bool:
        return self._files.size(self._name) is not None

    def open(self, seekable: bool = True) -> io.BytesIO:  # noqa: ARG002
        try:
            return io.BytesIO(self._files.read(self._name))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._name) from error


@dataclass
class _Stream:
    """Bytes that become a file when the stream is closed without an error."""

    owner: LakeFileIO
    location: str
    buffer: io.BytesIO = field(default_factory=io.BytesIO)

    def write(self, b: bytes) -> int:
        return self.buffer.write(b)

    def tell(self) -> int:
        return self.buffer.tell()

    def close(self) -> None:
        self.owner.write(self.location, self.buffer.getvalue())

    def __enter__(self) -> _Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


class _Output(OutputFile):
    def __init__(self, location: str, owner: LakeFileIO) -> None:
        super().__init__(location)
        self._stream = _Stream(owner, location)

    def __len__(self) -> int:
        return self._stream.buffer.getbuffer().nbytes

    def exists(self) -> bool:
        return self.to_input_file().exists()

    def to_input_file(self) -> InputFile:
        return self._stream.owner.new_input(self.location)

    def create(self, overwrite: bool = False) -> _Stream:  # noqa: ARG002
        return self._stream
