"""This module knows where a lake is stored, and where this machine keeps its own state for it.

Everything above asks `Storage` for addresses and options and never joins paths itself. State (locks, rate limits of vendors)
is always local and has a folder of its own, so that a lake may be stored elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gb_pipeline.errors import ConfigError
from gb_pipeline.storage.files import Files, LocalFiles


@dataclass(frozen=True)
class Storage:
    """The root of a lake.

    Attributes:
        root: a local folder, absolute.
        state: a local folder for locks and rate limits.
        options: of an object store; empty for a local folder.
    """

    root: Path
    state: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path | str, *, state: Path | str | None = None) -> Storage:
        """The storage under a local folder, which need not exist yet.

        Raises:
            ConfigError: the root is a file, or a kind of address that is not supported.
        """
        if "://" in str(root):
            raise ConfigError(f"a lake cannot lie at {str(root).split('://', 1)[0]}:// yet", fix="name a local folder")
        path = Path(root).expanduser().resolve()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file, not the folder of a lake", fix="name a folder")
        return cls(path, path / "state" if state is None else Path(state).expanduser().resolve())

    @cached_property
    def files(self) -> Files:
        """Reading and writing under the root, by names relative to it."""
        return LocalFiles(self.root)

    def table(self, name: str) -> str:
        """The address of a Delta table."""
        return str(self.root / self.table_name(name))

    @staticmethod
    def table_name(name: str) -> str:
        """A table's folder, relative to the root."""
        return f"lake/{name}"

    @property
    def raw(self) -> Path:
        """The folder of kept responses; there only where a source keeps them."""
        return self.root / "raw"

    @property
    def catalog(self) -> Path:
        """The DuckDB catalog's file; always local, it is a projection."""
        return self.root / "catalog.duckdb"
