"""Eight writers, four readers, a compaction and a vacuum at once: nothing is lost or doubled, and history only grows."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import reading
from gb_pipeline_tests.faults.crowd import DAYS, ROWS, SHARED, SOURCE, SYMBOL, WRITERS, edition, noted

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.long)])
def test_everybody_at_once_loses_and_doubles_nothing(tmp_path: Path, seconds: int) -> None:
    command = [sys.executable, "-m", "gb_pipeline_tests.faults.crowd", str(tmp_path), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 0, done.stderr[-6000:]

    store = LakeStore.at(tmp_path / "lake")
    written = list(noted(tmp_path, "write"))
    expect_every_edition(store, written)
    expect_unbroken_history(store)
    report = verify(store)
    assert report.ok, report.damages
    assert sum(item["compacted"] for item in noted(tmp_path, "compact")) > 0
    assert sum(item["reads"] for item in noted(tmp_path, "read")) > 0
    commits = sum(item["version"] is not None for item in written)
    print(f"{commits / seconds:.1f} commits a second of one symbol by {WRITERS} writers in {seconds} s")
    if seconds >= 60:
        # Two cores that have nothing else to do make many more; this one tells only whether writers wait for each other in vain.
        assert commits / seconds >= 1


def test_threads_that_share_a_store_lose_and_double_nothing(tmp_path: Path) -> None:
    store, editions = LakeStore.at(tmp_path), range(1, 6)

    def act(who: int) -> None:
        for number in editions:
            window = Window.of(DAYS[who], DAYS[who] + timedelta(days=1))
            store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, window, edition(DAYS[who], number))
            mine = Lake(store).bars(SYMBOL, "1m", DAYS[who], DAYS[who] + timedelta(days=1))
            assert mine["volume"].to_list() == [number] * ROWS
            for partition in store.compaction_candidates(min_files=4):
                store.compact(partition)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(act, range(WRITERS)))
    for day in DAYS:
        for _, group in versions(store).filter(pl.col("timestamp").dt.date() == day).group_by("timestamp"):
            assert group["volume"].cast(pl.Int64).to_list() == list(editions)
    expect_unbroken_history(store)
    assert verify(LakeStore.at(tmp_path)).ok


def versions(store: LakeStore) -> pl.DataFrame:
    snapshot = store.tables.newest("bars_1m")
    rows = reading.read(store.storage, snapshot.dataset, snapshot.files)
    return rows.sort("timestamp", "known_at")


def expect_every_edition(store: LakeStore, written: list[dict[str, object]]) -> None:
    """What was acknowledged is in the history, once, in the order in which it was said."""
    rows = versions(store)
    for day in DAYS:
        said = [item["said"] for item in written if item["day"] == str(day)]
        assert said
        history = rows.filter(pl.col("timestamp").dt.date() == day).group_by("timestamp", maintain_order=True)
        editions = [group["volume"].cast(pl.Int64).to_list() for _, group in history]
        assert editions == [said] * ROWS
    shared = [item for item in written if item["day"] == str(SHARED)]
    newest = max((item for item in shared if item["version"] is not None), key=lambda item: str(item["asked"]))
    current = rows.filter((pl.col("timestamp").dt.date() == SHARED) & pl.col("superseded_at").is_null())
    assert current["volume"].cast(pl.Int64).to_list() == [newest["said"]] * ROWS
    asked = current["fetched_at"].unique().to_list()
    assert asked == [datetime.fromisoformat(str(newest["asked"])).astimezone(UTC)]
    late = sum(int(str(item["late"])) for item in shared)
    assert quarantine.read(store.tables).height == late
    kept = rows.filter(pl.col("timestamp").dt.date() == SHARED).height
    assert kept + late == len(shared) * ROWS


def expect_unbroken_history(store: LakeStore) -> None:
    """One version of a bar ends when the next begins."""
    rows = versions(store).with_columns(pl.col("known_at").shift(-1).over("timestamp").alias("after"))
    assert rows.filter(pl.col("superseded_at").ne_missing(pl.col("after"))).is_empty()
    assert rows.select(pl.struct("timestamp", "known_at").is_unique().all()).item()
