"""This module tells a lake's folder from any other, and says which folder was probably meant. It opens nothing."""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.errors import ConfigError


def refuse_no_lake(root: Path) -> None:
    """Let the root of a lake pass, and a folder in which there is nothing yet.

    Raises:
        ConfigError: there is no such folder, or it is not a lake.
    """
    if not root.is_dir():
        raise ConfigError(f"there is no lake at {root}", fix="fetch some data first, or open it with create=True")
    if (root / "lake").is_dir() or not any(entry for entry in root.iterdir() if not entry.name.startswith(".")):
        return
    fix = "name the folder that holds `lake/`"
    if root.name == "lake" and (any(root.glob("*/_delta_log"))):
        fix = f"name its parent: {root.parent}"
    elif (root / "gb.yaml").is_file():
        fix = "name the folder that `lake:` in its gb.yaml says"
    elif {entry.name for entry in root.iterdir()} <= {"state", "log", "catalog.duckdb"}:
        return
    raise ConfigError(f"{root} is not a lake", fix=fix)
