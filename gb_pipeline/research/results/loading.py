"""This module reads one run again, exactly as it was saved: only the pages that hold its rows are decoded, and all are verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import EQUITY, FILLS, METRICS, POSITIONS, RUNS
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.research.results import parts
from gb_pipeline.research.results.artifacts import Artifacts
from gb_pipeline.research.results.canonical import from_json
from gb_pipeline.research.results.index import RunIndex
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState, shard_of
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.table import Tables

FRAMES = ("equity", "fills", "positions")
_DATASETS = {"equity": EQUITY, "fills": FILLS, "positions": POSITIONS, "metrics": METRICS}


def find_run(index: RunIndex, name: RunName) -> dict[str, Any]:
    """What the index has of a run.

    Raises:
        LakeError: there is no such run; the message names near ones.
    """
    found = index.find([name])
    if name not in found:
        near: list[str] = []
        for segment in index.segments():
            mine = segment.runs[segment.postings["strategy"].rows(name.strategy)]
            near += [
                f"{name.strategy}/{version}/{run}"
                for version, run in mine.select("version", "run_id").tail(2_000).iter_rows()
            ]
        if not near:
            strategies = sorted(
                {item for segment in index.segments() for item in segment.postings["strategy"].names["name"].to_list()}
            )
            raise LakeError(
                f"there is no strategy {name.strategy!r} in these results",
                fix=did_you_mean(near_names(name.strategy, strategies[:20_000]), "see `gb results list`"),
            )
        raise LakeError(
            f"there is no run {name}", fix=did_you_mean(near_names(str(name), near), "see `gb results list`")
        )
    return dict(found[name])


def load(tables: Tables, index: RunIndex, name: RunName, wanted: Sequence[str] = FRAMES) -> BacktestRun:
    """A run with the named frames, metrics and everything of its row; artifacts are read one by one.

    Raises:
        LakeError: there is no such run.
        DamagedFile: a file is missing or not what was written.
    """
    known = find_run(index, name)
    row = read_row(tables, name, int(known["save_id"]))
    contents = json.loads(row["contents"])
    frames: dict[str, pl.DataFrame] = {}
    for what in FRAMES:
        if what in contents and what in wanted:
            rows = read_rows(tables, _DATASETS[what], name, row)
            restore = parts.restore_equity if what == "equity" else parts.restore_events
            frames[what] = restore(rows, contents[what])
    metrics: dict[str, Any] = {}
    if "metrics" in contents:
        metrics = parts.restore_metrics(read_rows(tables, METRICS, name, row), contents["metrics"])
    return BacktestRun(
        strategy=name.strategy,
        version=name.version,
        run_id=name.run_id,
        parameters=from_json(row["parameters"]),
        metrics=metrics,
        data=[PinnedData(**pin) for pin in from_json(row["data"])],
        markets=row["markets"],
        seeds=from_json(row["seeds"]),
        environment=from_json(row["environment"]),
        timings=from_json(row["timings"]),
        tags=row["tags"],
        state=RunState(row["state"]),
        error=row["error"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        **frames,  # type: ignore[arg-type]
    )


def read_row(tables: Tables, name: RunName, save_id: int) -> dict[str, Any]:
    """The row of `runs` of a run that is there.

    Raises:
        LakeError: it is not: the index is of another table.
    """
    rows = _rows_of(tables, RUNS, name, {}, save_id)
    if rows.height != 1:
        raise LakeError(f"the row of {name} is not there", fix="check the lake: `gb verify`")
    return rows.row(0, named=True)


def read_rows(tables: Tables, dataset: Dataset, name: RunName, row: dict[str, Any]) -> pl.DataFrame:
    """The rows of a run in another table.

    Raises:
        LakeError: they are fewer or more than its contents say.
    """
    found = _rows_of(tables, dataset, name, {"period": row["period"]}, int(row["save_id"]))
    contents = json.loads(row["contents"])[dataset.name]
    expected = contents["rows"] * (len(contents["columns"]) - 1 if dataset is EQUITY else 1)
    if found.height != expected:
        raise LakeError(
            f"{dataset.name} of {name} has {found.height:,} rows where its contents say {expected:,}",
            fix="check the lake: `gb verify`",
        )
    return found


def artifact(store: Artifacts, row: dict[str, Any], name: RunName, artifact_name: str) -> bytes:
    """The bytes of an artifact, proved.

    Raises:
        LakeError: the run has none of that name, or it is missing or damaged.
    """
    listed = json.loads(row["artifacts"])
    if artifact_name not in listed:
        raise LakeError(
            f"{name} has no artifact {artifact_name!r:.60}",
            fix=did_you_mean(near_names(artifact_name, listed), f"it has {', '.join(listed) or 'none'}"),
        )
    return store.get(listed[artifact_name]["sha256"])


def _rows_of(
    tables: Tables, dataset: Dataset, name: RunName, partitions: dict[str, object], save_id: int
) -> pl.DataFrame:
    snapshot = tables.newest(dataset.name)
    key = name.key
    files = snapshot.select(
        {"shard": shard_of(name.strategy), **partitions},
        between={"run_key": (key, key + 1)},
        holding={"strategy": [name.strategy]},
    )
    stretches, kept = [], []
    for place in range(files.height):
        # Rows lie in the order of the keys; they are found before anything else is read.
        keys = reading.read(tables.storage, dataset, files[place], ["run_key"])["run_key"].to_numpy()
        first, end = (int(np.searchsorted(keys, key, side=side)) for side in ("left", "right"))
        if end > first:
            stretches.append((first, end))
            kept.append(place)
    chosen = files[kept] if kept else files.clear()
    rows = reading.read(tables.storage, dataset, chosen, stretches=stretches)
    return rows.filter(pl.col("save_id") == save_id)
