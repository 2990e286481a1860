"""This module finds what no run names, rows of saves and purges that were cut off and artifacts, and looks at artifacts that are.

Runs are saved and removed in `gb_pipeline.research.results`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.lake.datasets import EQUITY, FILLS, METRICS, POSITIONS, RUNS
from gb_pipeline.storage import reading
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.vacuum import VacuumReport

# Tables whose rows count once `runs` names their save.
PARTS = (METRICS, EQUITY, FILLS, POSITIONS)
ARTIFACTS = "artifacts"
_NAMED = r'"sha256":"([0-9a-f]{64})"'


def live_ids(tables: Tables, files: pl.DataFrame) -> npt.NDArray[np.int64]:
    """The ids of the saves that count, sorted: those of some files of `runs`."""
    return np.sort(reading.read(tables.storage, RUNS, files, ["save_id"])["save_id"].to_numpy())


def orphan_files(
    tables: Tables, part: Snapshot, live: npt.NDArray[np.int64], files: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, int]]:
    """Those of some files that hold rows which no run names, each with their number; one file is read after the other."""
    for place in range(files.height):
        file = files[place : place + 1]
        ids = reading.read(tables.storage, part.dataset, file, ["save_id"])["save_id"].to_numpy()
        if count := int((~np.isin(ids, live)).sum()):
            yield file, count


def find_orphans(tables: Tables) -> dict[str, int]:
    """Rows that no run names, by table: of saves and purges that were cut off, and of saves that are under way.

    Example:
        >>> find_orphans(LakeStore.at("data").tables)
        {'metrics': 0, 'equity': 0, 'fills': 0, 'positions': 0}
    """
    # Parts first: a save that ends meanwhile has its row in `runs` by then.
    parts = [tables.newest(dataset.name) for dataset in PARTS]
    live = live_ids(tables, tables.newest(RUNS.name).files)
    return {
        part.dataset.name: sum(count for _, count in orphan_files(tables, part, live, part.files)) for part in parts
    }


def named_artifacts(tables: Tables) -> set[str]:
    """The SHA-256 of every artifact that a run names."""
    texts = reading.read(tables.storage, RUNS, tables.newest(RUNS.name).files, ["artifacts"])["artifacts"].unique()
    return set(texts.filter(texts != "{}").str.extract_all(_NAMED).explode().str.slice(10, 64).drop_nulls())


def damaged_artifacts(tables: Tables) -> Iterator[tuple[str, str]]:
    """Artifacts that a run names and that are missing or not what was kept: name of the file, and what is wrong with it."""
    for digest in sorted(named_artifacts(tables)):
        name = artifact_name(digest)
        try:
            data = tables.storage.files.read(name)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            yield name, "it is missing" if missing else f"it cannot be read: {error.strerror or error}"
            continue
        if hashlib.sha256(data).hexdigest() != digest:
            yield name, "its bytes are not those it is named after"


def artifact_name(digest: str) -> str:
    """Where an artifact lies, relative to the lake's root."""
    return f"{ARTIFACTS}/{digest[:2]}/{digest}"


def vacuum_artifacts(tables: Tables, *, retention: timedelta, dry_run: bool, now: datetime) -> Sequence[VacuumReport]:
    """Remove artifacts that no run names, once they are older than the retention; a save that is under way just put its own.

    Returns:
        One report, or none where no run was ever saved.
    """
    if tables.newest(RUNS.name).version < 0:
        return ()
    files = tables.storage.files
    # Files first: what is put meanwhile is not among them, and what is named meanwhile is among the names.
    there = [(name, size, at) for name, size, at in files.list(ARTIFACTS)]
    named = {artifact_name(digest) for digest in named_artifacts(tables)}
    unnamed = [(name, size, at) for name, size, at in there if name not in named]
    old = [(name, size) for name, size, at in unnamed if at < (now - retention).timestamp()]
    if not dry_run:
        for name, _ in old:
            reach("vacuum_deleting")
            files.delete(name)
    return (
        VacuumReport(
            ARTIFACTS, tuple(name for name, _ in old), sum(size for _, size in old), deleted=not dry_run,
            waiting=len(unnamed) - len(old),
            waiting_bytes=sum(size for _, size, _ in unnamed) - sum(size for _, size in old),
        ),
    )  # fmt: skip
