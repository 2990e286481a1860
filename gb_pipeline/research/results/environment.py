"""This module finds out where a backtest runs: Python, packages as locked, the commit of its code and whether that was changed."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LOCK_FILES = ("uv.lock", "poetry.lock", "requirements.txt")
_SECONDS = 10


def capture_environment(folder: Path | str | None = None) -> dict[str, Any]:
    """Where this process runs; found once per folder, as code that is loaded does not change with its files.

    Args:
        folder: of the strategy's code; the working directory by default.

    Returns:
        `python`, `platform`, `gb_pipeline`, and where there is one `lock_file` and `lock_sha256` of the nearest lock file at or
        above the folder, `git_commit` and `git_dirty`. No variable of the environment is in it, as these may hold credentials.

    Example:
        >>> sorted(capture_environment("/"))
        ['gb_pipeline', 'platform', 'python']
    """
    # The working directory is told without links in it.
    return dict(_capture(Path.cwd() if folder is None else Path(folder).resolve()))


@cache
def _capture(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    try:
        found["gb_pipeline"] = version("gb_pipeline")
    except PackageNotFoundError:
        found["gb_pipeline"] = "unknown"
    lock = next(
        (place / name for place in (folder, *folder.parents) for name in _LOCK_FILES if (place / name).is_file()), None
    )
    if lock is not None:
        found |= {"lock_file": lock.name, "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest()}
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        changes = _git(folder, "status", "--porcelain")
        found |= {"git_commit": commit, "git_dirty": changes is None or bool(changes)}
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it is not installed or there is no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=_SECONDS, check=False, encoding="utf-8",
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
