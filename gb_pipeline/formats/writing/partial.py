"""Files and folders on their way to their name: hidden beside it, and held by a lock that the kernel lets go of with its process.

What a killed process left is removed by whoever writes to the same name next. Where a file system has no locks, nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".partial"
# What `tempfile` puts between prefix and suffix.
_RANDOM = "[a-z0-9_]{8}"


@contextmanager
def partial_folder(parent: Path, prefix: str) -> Iterator[tuple[Path, list[Path]]]:
    """A folder to write into, and those of the same prefix that dead processes had left, which are gone now.

    It is removed when the block ends, unless it was renamed.

    Raises:
        OSError: it cannot be made.
    """
    removed = remove_abandoned(parent, prefix)
    path, handle = _claim(lambda: Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=parent)))
    try:
        yield path, removed
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


@contextmanager
def partial_file(parent: Path, prefix: str) -> Iterator[tuple[Path, list[Path]]]:
    """A file to write into; see `partial_folder`.

    Raises:
        OSError: it cannot be made.
    """
    removed = remove_abandoned(parent, prefix)
    path, handle = _claim(lambda: _new_file(parent, prefix))
    try:
        yield path, removed
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def remove_abandoned(parent: Path, prefix: str) -> list[Path]:
    """Remove what no living process holds, and say what that was."""
    pattern = re.compile(re.escape(prefix) + _RANDOM + re.escape(_SUFFIX))
    removed = []
    with suppress(OSError):
        for path in sorted(parent.iterdir()):
            if pattern.fullmatch(path.name) and _remove_if_abandoned(path):
                removed.append(path)
    return removed


def _new_file(parent: Path, prefix: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=_SUFFIX, dir=parent)
    os.close(handle)
    return Path(name)


def _claim(make: Callable[[], Path]) -> tuple[Path, int]:
    """A new path, and the handle that holds its lock."""
    while True:
        path = make()
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Somebody took it for abandoned before it was locked.
            continue
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(path, handle):
            return path, handle
        os.close(handle)


def _remove_if_abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Held by a living process, another user's, or on a file system without locks: it stays.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or not _is_at(path, handle):
            return False
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _is_at(path: Path, handle: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    return False
