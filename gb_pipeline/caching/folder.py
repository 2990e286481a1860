"""`CacheFolder`, answers in files that any process of this machine maps into its memory, up to a size.

A file is written beside its place and renamed, so nobody sees a half one; one that is not what was written is removed. Whatever
goes wrong with the disk, an answer is made anew. What was used longest ago goes first.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import polars as pl
import pyarrow as pa

from gb_pipeline.caching.key import Key
from gb_pipeline.caching.sealed import seal, unseal
from gb_pipeline.config.private_files import FILE_MODE, private_folder
from gb_pipeline.storage.fault_points import reach

# A process looks at the folder again once it has written so much of its bound, and makes so much room.
_SHARE = 16
# What a killed writer left is of no use to anybody after so many seconds; times are those of the file system.
_ABANDONED = 3600
_FILE = re.compile(r"[0-9a-f]{32}\.arrow")
_HITS, _MISSES = "hits", "misses"


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    size: int
    used_at: float

    @property
    def is_temporary(self) -> bool:
        return self.path.endswith(".tmp")


class CacheFolder:
    """Files of one folder, those of each lake in one of its own. Safe for threads and processes.

    Args:
        folder: of all lakes that share the bound.
        megabytes: how much all files may take.
    """

    def __init__(self, folder: Path, megabytes: float) -> None:
        """Nothing is made before something is kept."""
        self.folder = folder
        self.bound = int(megabytes * 1e6)
        self._room: int | None = None
        self._lock = Lock()

    def get(self, key: Key) -> pl.DataFrame | None:
        """A frame that is kept; its file counts as used now."""
        path = self._path(key)
        try:
            with pa.memory_map(path) as file:
                data = file.read_buffer()
        except (OSError, pa.ArrowException):
            self._count(key.lake, _MISSES)
            return None
        frame = unseal(key, data)
        with suppress(OSError):
            # Somebody may have removed it meanwhile.
            if frame is None:
                os.unlink(path)  # noqa: PTH108
            else:
                os.utime(path)
        self._count(key.lake, _MISSES if frame is None else _HITS)
        return frame

    def put(self, key: Key, frame: pl.DataFrame) -> None:
        """Keep a frame, if there is a place for it."""
        pieces = seal(key, frame)
        size = sum(map(len, pieces))
        if 2 * size > self.bound:
            return
        with suppress(OSError), self._lock:
            self._make_room(size)
            self._write(self._path(key), pieces)

    def remove(self, key: Key) -> None:
        """Remove a frame if it is there."""
        _remove(self._path(key))

    def clear(self, lake: str) -> tuple[int, int]:
        """Remove the files of a lake, also those that are being written; how many files and bytes that were."""
        files = list(_files(f"{self.folder}/{lake}"))
        for entry in files:
            _remove(entry.path)
        for name in (_HITS, _MISSES):
            _remove(f"{self.folder}/{lake}/{name}")
        whole = [entry for entry in files if not entry.is_temporary]
        with self._lock:
            self._room = None
        return len(whole), sum(entry.size for entry in whole)

    def measure(self, lake: str) -> tuple[int, int]:
        """Files of a lake, and their bytes."""
        files = [entry for entry in _files(f"{self.folder}/{lake}") if not entry.is_temporary]
        return len(files), sum(entry.size for entry in files)

    def counts(self, lake: str) -> tuple[int, int]:
        """How often an answer of a lake was there, and how often not, for all processes since it was last cleared."""
        return self._size(lake, _HITS), self._size(lake, _MISSES)

    def read_mark(self, lake: str, name: str) -> str | None:
        """What was noted last under a name beside a lake's files; None where there is nothing."""
        try:
            return Path(f"{self.folder}/{lake}/{name}").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def write_mark(self, lake: str, name: str, text: str) -> None:
        """Note something beside a lake's files."""
        with suppress(OSError):
            self._write(f"{self.folder}/{lake}/{name}", [memoryview(text.encode())])

    def _path(self, key: Key) -> str:
        return f"{self.folder}/{key.lake}/{key.digest}.arrow"

    def _write(self, path: str, pieces: list[memoryview]) -> None:
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            handle = os.open(temporary, flags, FILE_MODE)
        except FileNotFoundError:
            private_folder(private_folder(self.folder) / folder.rpartition("/")[2])
            handle = os.open(temporary, flags, FILE_MODE)
        try:
            try:
                for piece in pieces:
                    # The first time it is empty, then without its end.
                    reach("cache_file_opened")
                    remaining = piece
                    while remaining:
                        remaining = remaining[os.write(handle, remaining) :]
            finally:
                os.close(handle)
            reach("cache_file_written")
            # Not flushed: after a power cut the checksum tells what is left of it.
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            _remove(temporary)
            raise

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago, where a process cannot know that there is room."""
        if self._room is not None and self._room >= size:
            self._room -= size
            return
        share = max(self.bound // _SHARE, size)
        entries = sorted(_all_files(self.folder), key=lambda entry: entry.used_at)
        newest = entries[-1].used_at if entries else 0.0
        total = sum(entry.size for entry in entries)
        for entry in entries:
            abandoned = entry.is_temporary and entry.used_at < newest - _ABANDONED
            if abandoned or (total + share > self.bound and not entry.is_temporary):
                _remove(entry.path)
                total -= entry.size
        # What others are writing may leave less than this.
        self._room = max(min(self.bound - total, share), size) - size

    def _count(self, lake: str, name: str) -> None:
        """One byte more: the only counter that processes share without waiting for each other."""
        with suppress(OSError):
            handle = os.open(f"{self.folder}/{lake}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
            try:
                os.write(handle, b".")
            finally:
                os.close(handle)

    def _size(self, lake: str, name: str) -> int:
        try:
            return os.stat(f"{self.folder}/{lake}/{name}").st_size  # noqa: PTH116
        except OSError:
            return 0


def _all_files(folder: Path) -> Iterator[_Entry]:
    try:
        with os.scandir(folder) as lakes:
            names = [lake.path for lake in lakes if lake.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        yield from _files(name)


def _files(folder: str) -> Iterator[_Entry]:
    """Answers in a folder, and what is being written; nothing else is ever removed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                temporary = name.startswith(".") and name.endswith(".tmp")
                if temporary or _FILE.fullmatch(name):
                    with suppress(OSError):
                        about = entry.stat(follow_symlinks=False)
                        yield _Entry(entry.path, about.st_size, about.st_mtime)
    except OSError:
        return


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108
