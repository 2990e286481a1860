"""This module knows where a lake is stored, and where this machine keeps its own state for it.

Everything above asks `Storage` for addresses and files and never joins paths itself. State (locks, rate limits of vendors, a copy
of the catalog) is always local and has a folder of its own, so that a lake may be stored elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gb_pipeline.config.bucket import Address, Bucket, is_bucket
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.storage.bucket_files import BucketFiles
from gb_pipeline.storage.files import Files, LocalFiles
from gb_pipeline.storage.lake_format import MARK, encode_mark, require_format
from gb_pipeline.storage.table_names import TableNames

# Marks a place that copies fill.
COPY_MARK = "copy.json"
# What the mark says while a lake is restored, and after a restore that was cut off.
RESTORING = b'{"restoring": true}\n'
_REACH = "correct the bucket, its endpoint and credentials (`lake` and `s3` in gb.yaml, or AWS_* variables), or try again later"


@dataclass(frozen=True)
class Storage:
    """The root of a lake.

    Attributes:
        root: a local folder, absolute, or a place in an object store.
        state: a local folder for locks and rate limits.
    """

    root: Address
    state: Path

    @classmethod
    def at(cls, root: Address | str, *, state: Path | str | None = None) -> Storage:
        """The storage under a local folder or in an object store; neither need hold anything yet.

        Args:
            root: a folder, `s3://bucket/prefix`, or a `Bucket` where the environment does not say how it is reached.
            state: by default `<folder>/state`, or `Bucket.default_state`.

        Raises:
            ConfigError: the root is a file, or an address that cannot be used.
        """
        local = None if state is None else Path(state).expanduser().resolve()
        if not isinstance(root, Bucket) and is_bucket(root):
            root = Bucket.parse(str(root))
        if isinstance(root, Bucket):
            return cls(root, local or root.default_state)
        if "://" in str(root):
            raise ConfigError(
                f"a lake cannot lie at {str(root).split('://', 1)[0]}://",
                fix="name a local folder, or a bucket as s3://bucket/prefix",
            )
        path = Path(root).expanduser().resolve()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file, not the folder of a lake", fix="name a folder")
        return cls(path, local or path / "state")

    @cached_property
    def files(self) -> Files:
        """Reading and writing under the root, by names relative to it."""
        return BucketFiles(self.root) if isinstance(self.root, Bucket) else LocalFiles(self.root)

    @property
    def in_bucket(self) -> bool:
        """Whether it is in an object store, where looking for names costs a request each, and listing them several."""
        return isinstance(self.root, Bucket)

    @property
    def exists(self) -> bool:
        """Whether there is a folder of it, or something of a lake was ever written to its place in an object store.

        Raises:
            LakeError: the object store cannot be asked.
        """
        if isinstance(self.root, Path):
            return self.root.is_dir()
        try:
            # Reading it instead of asking for its size: only then a store says what is wrong.
            self.files.read(MARK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise LakeError(str(error.strerror or error), fix=_REACH) from None
        return True

    @cached_property
    def _names(self) -> TableNames:
        return TableNames(self.files)

    def has_table(self, name: str) -> bool:
        """Whether there is a folder of a table, or of its mirrors; in an object store, whether it was announced."""
        if self.in_bucket:
            return self._names.knows(name)
        folders = (self.table_name(name), f"log/{name}")
        return any(self.files.size(folder) is not None for folder in folders)

    def announce_table(self, name: str) -> None:
        """Let everybody know of a table that is about to be made, and of the lake's format."""
        if self.in_bucket:
            self._names.add(name)
        elif self.files.size(MARK) is None:
            self.files.put_if_absent(MARK, encode_mark())

    @cached_property
    def is_readable(self) -> bool:
        """True: the lake has the format of this release, or there is none yet; looked at once.

        Raises:
            LakeError: it has another one, or that cannot be read.
        """
        try:
            require_format(self.files, str(self.root))
        except OSError as error:
            raise LakeError(
                f"the format of the lake at {self.root} cannot be read ({MARK}): {error.strerror or error}",
                fix=_REACH
                if self.in_bucket
                else "check permissions, the disk and the limits of this process (`gb doctor`)",
            ) from error
        return True

    def refuse_other_format(self) -> None:
        """Let a lake pass that this release works on.

        Raises:
            LakeError: it has another format, or that cannot be read.
        """
        _ = self.is_readable

    def possible_tables(self, names: Iterable[str]) -> list[str]:
        """Of some tables those that may exist, in their order; for a folder all, as looking there costs nothing."""
        if not self.in_bucket:
            return list(names)
        known = self._names.newest()
        return [name for name in names if name in known]

    @cached_property
    def is_writable(self) -> bool:
        """True: the place was not filled by `gb backup` or `gb sync`, and nothing is being restored to it; looked at once.

        Raises:
            LakeError: it was, or something is.
            OSError: that cannot be looked at.
        """
        try:
            mark = self.files.read(COPY_MARK)
        except FileNotFoundError:
            return True
        if mark == RESTORING:
            raise LakeError(
                f"a restore to {self.root} was begun and is not done, and what is written now would be ahead of it",
                fix="run the same `gb restore` again: it goes on where it was cut off",
            )
        raise LakeError(
            f"{self.root} is a copy of a lake, which only `gb backup` and `gb sync` write to",
            fix="restore it to another place and write there (`gb restore`); `gb backup --verify` mends a damaged copy",
        )

    def table(self, name: str) -> str:
        """The address of a Delta table."""
        return f"{self.root}/{self.table_name(name)}"

    def delta_options(self) -> dict[str, str]:
        """What delta-rs has to know to reach the tables; nothing for a local folder."""
        return self.files.delta_options() if isinstance(self.files, BucketFiles) else {}

    @staticmethod
    def table_name(name: str) -> str:
        """A table's folder, relative to the root."""
        return f"lake/{name}"

    @property
    def catalog(self) -> Path:
        """The DuckDB catalog's file on this machine; of a lake in an object store it is a copy of the one there."""
        return (self.state if isinstance(self.root, Bucket) else self.root) / "catalog.duckdb"
