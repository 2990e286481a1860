"""This module has the few operations on files that a lake needs of wherever it is stored.

A local folder offers them durably: what `put` and `put_if_absent` have returned from is on disk under its name. An object
store offers the same by its own means, so nothing above this module knows which it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from gb_pipeline.config.private_files import FILE_MODE, private_folder
from gb_pipeline.storage.workers import leaf_pool

# With more files than this, one flush of the file system is cheaper than one of each file.
_FLUSH_TOGETHER = 8


class Files(Protocol):
    """Names are relative to one root, with `/` between folders."""

    def read(self, name: str) -> bytes:
        """All bytes; raises FileNotFoundError."""
        ...

    @property
    def is_near(self) -> bool:
        """Whether a piece of a file is read as quickly as so much of the whole; else each piece is a request."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """A file to be read in pieces; raises FileNotFoundError."""
        ...

    def read_buffer(self, name: str) -> pa.Buffer:
        """All bytes, in memory that Arrow has at hand; raises FileNotFoundError."""
        ...

    def size(self, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        ...

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a new file; it need not be durable before `flush`."""
        ...

    def flush(self, names: Iterable[str]) -> None:
        """Make written files durable, with the folders that hold them."""
        ...

    def put(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Replace a file as a whole, durably; a private one, with its folder, is for its owner only where permissions exist."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole; after a power cut it may be the old one, or damaged."""
        ...

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make a file as a whole and durably unless the name is taken; whether it was made."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        ...

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        """Name, size and time of change (seconds since 1970) of every file below a folder."""
        ...


class LocalFiles:
    """Files below a local folder."""

    is_near = True

    def __init__(self, root: Path) -> None:
        """Nothing is made before the first write."""
        self.root = root
        # Folders whose own entry in the folder above is known to be durable.
        self._durable: set[str] = set()

    def path(self, name: str) -> str:
        """The path of a file."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        """All bytes; raises FileNotFoundError."""
        with open(self.path(name), "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()

    def read_buffer(self, name: str) -> pa.Buffer:
        """All bytes, in memory that Arrow has at hand, which takes a third of what new memory does; raises FileNotFoundError."""
        with pa.OSFile(self.path(name)) as file:
            return file.read_buffer()

    def open(self, name: str) -> pa.NativeFile:
        """A file to be read in pieces; raises FileNotFoundError."""
        return pa.OSFile(self.path(name))

    def read_into(self, name: str, size: int, ranges: Iterable[tuple[int, memoryview]]) -> None:
        """Fill memory with what lies from some places on.

        Raises:
            FileNotFoundError: there is no such file.
            EOFError: it has another size.
        """
        handle = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(handle).st_size != size:
                raise EOFError
            for place, memory in ranges:
                if os.preadv(handle, [memory], place) != len(memory):
                    raise EOFError
        finally:
            os.close(handle)

    def size(self, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        try:
            return os.stat(self.path(name)).st_size  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a new file; it is durable after `flush`."""
        path = self.path(name)
        try:
            file = open(path, "xb", buffering=0)  # noqa: PTH123, SIM115
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "xb", buffering=0)  # noqa: PTH123, SIM115
        with file:
            _write_all(file.fileno(), data)

    def flush(self, names: Iterable[str]) -> None:
        """Make written files durable, with the folders that hold them."""
        paths = [self.path(name) for name in names]
        if len(paths) > _FLUSH_TOGETHER and _flush_file_system(str(self.root)):
            return
        folders: dict[str, None] = {}
        _sync_all(paths)
        for path in paths:
            folder = os.path.dirname(path)  # noqa: PTH120
            folders[folder] = None
            # A new folder is an entry of the one above it.
            while folder not in self._durable and len(folder) > len(str(self.root)):
                self._durable.add(folder)
                folder = os.path.dirname(folder)  # noqa: PTH120
                folders[folder] = None
        _sync_all(list(folders))

    def put(self, name: str, data: bytes, *, private: bool = False) -> None:
        """Replace a file as a whole, durably; a private one, with its folder, is for its owner only."""
        if private:
            folder = Path(self.path(name)).parent
            private_folder(private_folder(folder.parent) / folder.name)
        temporary = self._write_temporary(name, data, mode=FILE_MODE if private else 0o644)
        try:
            os.replace(temporary, self.path(name))  # noqa: PTH105
        except BaseException:
            _remove(temporary)
            raise
        sync(os.path.dirname(self.path(name)))  # noqa: PTH120

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole; after a power cut it may be the old one, or damaged."""
        temporary = self._write_temporary(name, data, durable=False)
        try:
            os.replace(temporary, self.path(name))  # noqa: PTH105
        except BaseException:
            _remove(temporary)
            raise

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make a file as a whole and durably unless the name is taken; whether it was made."""
        temporary = self._write_temporary(name, data)
        try:
            # A hard link fails where the name is taken, on every POSIX file system.
            os.link(temporary, self.path(name))
        except FileExistsError:
            return False
        finally:
            _remove(temporary)
        sync(os.path.dirname(self.path(name)))  # noqa: PTH120
        return True

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        _remove(self.path(name))

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        """Name, size and time of change of every file below a folder."""
        for parent, _, names in os.walk(self.path(folder)):
            for name in names:
                path = f"{parent}/{name}"
                with contextlib.suppress(FileNotFoundError):
                    entry = os.lstat(path)
                    yield path[len(str(self.root)) + 1 :], entry.st_size, entry.st_mtime

    def _write_temporary(self, name: str, data: bytes, *, durable: bool = True, mode: int = 0o644) -> str:
        """Write the data to a file with a name of its own in the same folder; its path."""
        folder, _, file_name = self.path(name).rpartition("/")
        temporary = f"{folder}/.{file_name}.{secrets.token_hex(6)}.tmp"
        try:
            try:
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            except FileNotFoundError:
                Path(folder).mkdir(parents=True, exist_ok=True)
                handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                if mode == FILE_MODE:
                    # The umask does not decide who reads it.
                    os.fchmod(handle, mode)
                _write_all(handle, data)
                if durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
        except BaseException:
            _remove(temporary)
            raise
        return temporary


def _write_all(handle: int, data: bytes | memoryview) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(handle, remaining) :]


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


def _sync_all(paths: list[str]) -> None:
    """Flush several at once: a journal writes them together."""
    if len(paths) == 1:
        sync(paths[0])
    else:
        list(leaf_pool().map(sync, paths))


def sync(path: str | os.PathLike[str]) -> None:
    """Make a file, or the entries of a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_file_system(path: str) -> bool:
    """Linux' `syncfs`: everything that was written to the file system of a path; False where there is no such call."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        if syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(handle)
    return True
