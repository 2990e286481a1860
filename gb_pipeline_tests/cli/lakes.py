"""Lakes that tests of maintenance harm, and what lies in them."""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.compaction import find_candidates


def data(lake: Path, table: str, *parts: str) -> list[Path]:
    """The data files of a table whose names hold some parts."""
    root = lake / "lake" / table
    return sorted(
        path
        for path in root.rglob("*.parquet")
        if "_delta_log" not in path.parts and all(part in str(path) for part in parts)
    )


def entries(lake: Path, table: str) -> list[Path]:
    """The entries of a table's log, in order."""
    return sorted((lake / "lake" / table / "_delta_log").glob("*.json"))


def flip(path: Path, at: float = 0.3) -> None:
    """Change one bit, at a fraction of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def files(lake: Path) -> dict[str, int]:
    """How many files each partition of each table has."""
    return {str(item): item.files for item in find_candidates(LakeStore.at(lake).tables, min_files=1)}
