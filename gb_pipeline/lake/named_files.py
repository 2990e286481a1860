"""This module has what pins and bundles share: files of a lake that a user names, beside its tables, and their errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.storage.address import Storage

RESTORE = "restore the file from a backup, or from your own repository"


def check_name(name: str, what: str, longest: int = 80) -> str:
    """The name, if something can be called so.

    Args:
        name: as a user wrote it.
        what: that is named, for the message: `a pin`.
        longest: characters that it may have.

    Raises:
        ConfigError: it cannot.
    """
    pattern = rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{longest - 2}}}[A-Za-z0-9])?"
    if not isinstance(name, str) or not re.fullmatch(pattern, name, re.ASCII) or ".." in name:
        raise ConfigError(
            f"{str(name)[:80]!r} is no name of {what}",
            fix=f"use up to {longest} letters, digits and . - _, beginning and ending with a letter or digit",
        )
    return name


def list_names(storage: Storage, folder: str) -> list[str]:
    """The names of the JSON files of a folder, sorted."""
    with explained(f"the {folder} could not be listed"):
        files = [Path(name) for name, _, _ in storage.files.list(folder)]
    return sorted(
        file.stem
        for file in files
        if file.parent.name == folder and file.suffix == ".json" and not file.name.startswith(".")
    )


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of the disk or the network as errors of the lake; that there is no such file means something else."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LakeError(f"{what}: {error.strerror or error}", fix="see `gb doctor`") from error
