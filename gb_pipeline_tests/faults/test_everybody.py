"""Eight writers, four readers and a caretaker on one lake at once."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline import Lake, LakeStore, Resolution, Window
from gb_pipeline.lake.verification import verify
from gb_pipeline_tests.faults.everybody import BARS, DAYS, SYMBOL, edition

REPOSITORY = Path(__file__).resolve().parents[2]


def start(role: str, root: Path, seconds: float, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gb_pipeline_tests.faults.everybody", role, str(root), str(seconds), str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def everybody(root: Path, seconds: float, writers: int, readers: int) -> list[dict[str, Any]]:
    """Let all begin together, and what each of them did."""
    roles = [("write", number) for number in range(writers)] + [("read", number) for number in range(readers)]
    processes = [start(role, root, seconds, number) for role, number in [*roles, ("care", 0)]]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        lines = []
        for process in processes:
            assert process.stdout is not None
            lines.append(process.stdout.readline())
            assert process.wait() == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("seconds", "writers", "readers"), [(6, 3, 2), pytest.param(60, 8, 4, marks=pytest.mark.long)])
def test_readers_meet_whole_writes_only(tmp_path: Path, seconds: float, writers: int, readers: int) -> None:
    store = LakeStore.at(tmp_path)
    for day in DAYS:
        store.write_bars("sim", SYMBOL, Resolution("5m"), Window.of(day, day + timedelta(days=1)), edition(day, 1))
    told = everybody(tmp_path, seconds, writers, readers)
    commits = sum(item.get("commits", 0) for item in told)
    print(f"{commits / seconds:.1f} commits/s by {writers} writers of one symbol; {told}")
    assert commits > writers
    assert all(item["looks"] for item in told if item["role"] == "read")
    # Nothing is lost or doubled, and every version of every bar is there: as many as there were commits that changed it.
    lake = Lake(LakeStore.at(tmp_path))
    bars = lake.bars(SYMBOL, "5m")
    assert bars.height == BARS * len(DAYS) and bars["timestamp"].is_unique().all()
    every = pl.scan_delta(store.storage.table("bars_5m")).collect()
    versions = every.group_by("timestamp").agg(pl.len(), pl.col("is_current").sum())
    assert versions["is_current"].unique().to_list() == [1]
    assert every.height == BARS * (len(DAYS) + commits)
    chain = every.sort("timestamp", "known_at")
    following = pl.col("known_at").shift(-1).over("timestamp")
    assert chain.filter(pl.col("superseded_at").ne_missing(following)).is_empty()
    assert verify(store).damages == ()
