"""This module has locks between processes of one machine. The kernel holds them, so a process that dies lets go of them.

They only save repeated work: a commit is decided by who makes the next entry of a log, whatever the locks say.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gb_pipeline.config.private_files import private_folder
from gb_pipeline.errors import LakeError


@contextlib.contextmanager
def locked(folder: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock while the block runs; whether it is held (False only where `wait` is False and somebody else has it).

    Raises:
        LakeError: the folder cannot be written.

    Example:
        >>> with locked(storage.state, "bars_1m"):
        ...     commit()
    """
    handle = _open_lock(folder / "locks", f"{name}.lock")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _open_lock(lock_folder: Path, name: str) -> int:
    try:
        if not lock_folder.is_dir():
            private_folder(private_folder(lock_folder.parent) / lock_folder.name)
        return os.open(lock_folder / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LakeError(
            f"{lock_folder} could not be written: {error.strerror or error}",
            fix="nothing was changed; check free space and permissions (`gb doctor`), then run it again",
        ) from error
