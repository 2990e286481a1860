"""A folder that appears whole: files are written beside it, and renamed when all of them are there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.writing.partial import partial_folder


class StagedFolder:
    """Files of an export on their way into their folder.

    Attributes:
        root: where they are written.
        series: names of the series that stand in each file, by the file's name.
        removed: folders that killed exports into the same one had left, and that are gone.
    """

    def __init__(self, root: Path, removed: Sequence[Path] = ()) -> None:
        """Use `staged`."""
        self.root, self.removed = root, tuple(removed)
        self.series: dict[str, set[str]] = {}

    def path(self, name: str, series: str | None = None) -> Path:
        """Where a file of this name is written; the folders above it are made.

        Args:
            name: relative, with `/`.
            series: that stands in it; None for a file of all of them.
        """
        path = self.root / name
        if name not in self.series:
            path.parent.mkdir(parents=True, exist_ok=True)
        known = self.series.setdefault(name, set())
        if series is not None:
            known.add(series)
        return path

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {name: (self.root / name).stat().st_size for name in self.series}


@contextmanager
def staged(target: Path, *, force: bool, alone: bool, dry_run: bool) -> Iterator[StagedFolder]:
    """A folder to write into, whose files are in `target` when the block ends, and nowhere when it fails.

    Args:
        target: a folder; nothing but an empty one may be there.
        force: or one with files, which stay, except for those that are written.
        alone: of a format whose files belong together: `force` cannot be.
        dry_run: the files are written among the machine's temporary ones, and removed.

    Raises:
        ConfigError: something is in the way, or the folder cannot be written.
    """
    refuse_full(target, force=force, alone=alone)
    # Beside the target, so that renaming it is one step.
    parent = Path(tempfile.gettempdir()) if dry_run else target.absolute().parent
    prefix = "gb-export-" if dry_run else f".{target.name[:100]}."
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(parent, prefix) as (root, removed):
            folder = StagedFolder(root, removed)
            yield folder
            if not dry_run:
                _publish(folder, target, force=force, alone=alone)
    except OSError as error:
        raise _cannot_write(target, error) from None


def refuse_full(target: Path, *, force: bool, alone: bool) -> None:
    """Let only a target pass that files may be written into.

    Raises:
        ConfigError: it is a file, or there are files in it that nobody said could be replaced.
    """
    if "://" in str(target) or str(target).startswith("s3:/"):
        raise ConfigError(
            f"{target} is an address, not a folder", fix="name a folder of this machine, and copy it there"
        )
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file, and the format is a folder", fix="name a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if alone:
        raise ConfigError(
            f"{target} is not empty, and files of this format belong together",
            fix="name a new folder, or empty this one",
        )
    if not force:
        raise ConfigError(
            f"{target} is not empty", fix="name a new folder, or say --force to replace files of the same names"
        )


def _publish(folder: StagedFolder, target: Path, *, force: bool, alone: bool) -> None:
    refuse_full(target, force=force, alone=alone)
    for name in folder.series:
        _flush(folder.root / name)
    # Private by default is right for a temporary folder, and wrong for the one that the user asked for.
    folder.root.chmod(0o777 & ~_umask())
    if not target.is_dir() or not any(target.iterdir()):
        folder.root.replace(target)
    else:
        for name in sorted(folder.series):
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            (folder.root / name).replace(place)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror or error}", fix="name another folder, or make room")
