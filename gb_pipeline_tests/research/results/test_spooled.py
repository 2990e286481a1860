"""Small runs through the spool: what was acknowledged is there, once, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import LakeError, RunRefused
from gb_pipeline.research.results import Results
from gb_pipeline_tests.research.results.killed import make
from gb_pipeline_tests.research.results.runs import little, make_run

# Every point at which a run is written on its way, and how often these runs reach it at least.
POINTS = {
    "spool_written": 10, "spool_synced": 10, "segment_sealed": 3, "artifacts_kept": 3, "before_files": 9, "file_written": 9,
    "files_synced": 9, "entry_written": 9, "committed": 9, "part_committed": 6, "rows_committed": 3, "segment_deleted": 3,
}  # fmt: skip


def check(results: Results, acknowledged: set[int]) -> None:
    """Every acknowledged run is there as a whole, and no run is there twice."""
    found = results.query_metadata(limit=1_000)
    names = found["run_id"].to_list()
    assert len(set(names)) == len(names)
    assert acknowledged <= set(map(int, names))
    for strategy, run_id in found.select("strategy", "run_id").iter_rows():
        run = results.load_backtest_data(f"{strategy}/1/{run_id}")
        assert run.metrics == {"number": int(run_id)}
        assert run.equity is not None and run.equity["equity"].to_list() == [int(run_id)]


def killed_at(folder: Path, point: str, first: int = 0) -> set[int]:
    """What a program that is killed at a point had acknowledged."""
    ended = subprocess.run(
        [sys.executable, "-m", "gb_pipeline_tests.research.results.killed", str(folder), str(first), "10"],
        env={**os.environ, "GB_FAULT_POINT": point}, cwd=Path(__file__).parents[3], check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == -9, ended.stderr.decode()
    return {int(line) for line in ended.stdout.split()}


def test_a_kill_loses_nothing_that_was_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    acknowledged = killed_at(tmp_path, "rows_committed:2")
    assert acknowledged == set(range(8))
    results = Results.open(tmp_path)
    with results.spooled("killed"):
        check(results, acknowledged)


@pytest.mark.long
@pytest.mark.parametrize("point", [f"{name}:{number}" for name, most in POINTS.items() for number in (1, most)])
def test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    acknowledged = killed_at(tmp_path, point)
    results = Results.open(tmp_path, create=True)
    # Another writer takes up what a dead one left.
    with results.spooled():
        check(results, acknowledged)


def test_many_runs_are_a_commit_per_table(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    with results.spooled(seconds=3600) as writer:
        for number in range(30):
            writer.save(make(number))
        assert results.count() == 0
        assert writer.save(make(3)) == results.prepare(make(3)).digest, "the same again is acknowledged"
        with pytest.raises(RunRefused, match="s0/1/3"):
            writer.save(little("s0", "1", "3", metrics={"number": 4}))
    assert {results.lake.store.tables.newest(name).version for name in ("runs", "metrics", "equity")} == {0}
    check(results, set(range(30)))
    assert not list((tmp_path / "state" / "results" / "spools").iterdir())


def test_a_flush_comes_by_itself(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    with results.spooled(runs=2, seconds=3600) as writer:
        writer.save(make(0))
        writer.save(make(1))
        reports: list[object] = []
        while not reports:
            reports = list(writer.take_reports())
        assert results.count() == len(reports) == 2


def test_what_was_refused_at_last_is_kept_under_another_name(tmp_path: Path) -> None:
    results, other = Results.open(tmp_path, create=True), Results.open(tmp_path)
    with results.spooled(seconds=3600) as writer:
        writer.save(little("s", "1", "a", metrics={"x": 1.0}))
        other.save_backtest_data(little("s", "1", "a", metrics={"x": 2.0}))
        [report] = writer.flush()
    assert report.outcome == "refused"
    found = results.query_metadata(strategy="s", order_by="metrics.x", descending=False)
    assert found["metrics.x"].to_list() == [1.0, 2.0]
    assert found["run_id"][0].startswith("a~")


def test_every_part_of_a_run_goes_through_the_spool(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    with results.spooled(seconds=3600) as writer:
        writer.save(make_run())
    assert results.save_backtest_data(make_run()).outcome == "unchanged"
    loaded = results.load_backtest_data("momentum/1.0/a")
    for part in ("equity", "fills", "positions"):
        assert getattr(loaded, part).equals(getattr(make_run(), part))
    assert (loaded.parameters, loaded.metrics) == (make_run().parameters, make_run().metrics)
    assert results.load_artifact("momentum/1.0/a", "report.html") == b"<p>fine</p>"


def test_a_journal_that_the_disk_damaged_is_told_and_the_rest_is_saved(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    writer = results.spooled("one", seconds=3600)
    for number in range(3):
        writer.save(make(number))
    [journal] = (tmp_path / "state" / "results" / "spools" / "one").glob("*.journal")
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    with pytest.raises(LakeError, match="damaged in its midst: 2 whole ones were committed"):
        writer.close()
    assert results.count() == 2
    assert list(journal.parent.glob("*.damaged"))


def test_a_spool_has_one_writer(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    with results.spooled("one"), pytest.raises(LakeError, match="another process writes the spool"):
        results.spooled("one")
    with pytest.raises(LakeError, match="closed"):
        writer = results.spooled()
        writer.close()
        writer.save(make(1))


def test_runs_of_before_are_no_rows_of_a_spool(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    results.save_backtest_data(make(1))
    with results.spooled() as writer:
        writer.save(make(1))
    assert results.query_metadata().select(pl.len()).item() == 1
