"""This module knows whether Iceberg tables were asked for, and whether pyiceberg is there, without importing it."""

from __future__ import annotations

from importlib.util import find_spec

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.store import LakeStore

# Below the root of a lake.
FOLDER = "iceberg"


def hint_name(table: str) -> str:
    """The file from which readers of a table begin, relative to the root of the lake."""
    return f"{FOLDER}/{table}/metadata/version-hint.text"


def is_exported(store: LakeStore) -> bool:
    """Whether `gb export --iceberg` was ever run here."""
    names = (item.name for item in store.tables.possible() if parse_bar_table(item.name) is not None)
    return any(store.storage.files.size(hint_name(name)) is not None for name in names)


def require_pyiceberg() -> None:
    """Let pass where pyiceberg is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("pyiceberg") is None:
        raise ConfigError(
            "Iceberg tables need pyiceberg, which is not installed",
            fix="install the optional part: pip install 'gb_pipeline[iceberg]' (in a clone: uv sync --extra iceberg)",
        )
