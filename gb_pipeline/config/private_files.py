"""Files and folders that only their owner can read, whatever the umask is.

They hold what is nobody else's business: vendors' responses, and the state of a machine.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner enters, or close one that is there to all others.

    Folders above it are made as usual; a folder of another owner stays as it is.

    Raises:
        OSError: it cannot be made.

    Example:
        >>> private_folder(Path("data/state"))
        PosixPath('data/state')
    """
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    _close(folder, FOLDER_MODE)
    return folder


def private_file(path: Path) -> Path:
    """Make an empty file that only its owner reads, or close one that is there; whoever opens it then keeps that.

    Raises:
        OSError: it cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE))
    _close(path, FILE_MODE)
    return path


def readable_by_others(path: Path) -> bool:
    """Whether the group or everybody may read a file; never where a system has no such permissions."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)


def _close(path: Path, mode: int) -> None:
    # A umask takes bits from the owner as well, and an older release left them to everybody.
    if os.name == "posix" and path.stat().st_mode & 0o777 != mode:
        with suppress(OSError):
            path.chmod(mode)
