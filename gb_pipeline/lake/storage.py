"""Where a lake lies.

Belongs here: the root and how an object store is reached. A lake on S3 is the same lake under another root: everything
above asks this class for addresses and options, and never joins paths of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gb_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Storage:
    """The root of a lake.

    Attributes:
        root: a local folder, absolute.
        options: storage options of the object store; empty for a local folder.
    """

    root: Path
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path | str) -> Storage:
        """The storage under a local folder, which need not exist yet.

        Raises:
            ConfigError: the root is a file, or a kind of address that is not supported.
        """
        if "://" in str(root):
            raise ConfigError(f"a lake cannot lie at {str(root).split('://', 1)[0]}:// yet", fix="name a local folder")
        path = Path(root).expanduser().resolve()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file, not the folder of a lake", fix="name a folder")
        return cls(path)

    def table(self, name: str) -> str:
        """Address of a Delta table."""
        return str(self.root / "lake" / name)

    @property
    def raw(self) -> Path:
        """The folder of kept responses; there only where a source keeps them."""
        return self.root / "raw"

    @property
    def catalog(self) -> Path:
        """The DuckDB catalog's file; always local, it is a projection."""
        return self.root / "catalog.duckdb"

    @property
    def state(self) -> Path:
        """A local folder for locks and rate limits of this lake."""
        return self.root / "state"
