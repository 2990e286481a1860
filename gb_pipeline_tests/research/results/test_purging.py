"""A purge removes runs and all that belongs to them, survives a kill between any two steps, and takes nothing else."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.result_rows import find_orphans
from gb_pipeline.lake.verification import verify
from gb_pipeline.research.results import Results, writing
from gb_pipeline.storage import fault_points
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline_tests.research.results.runs import little, make_run

TABLES = ("runs", "metrics", "equity", "fills", "positions", "result_notes")


class Killed(BaseException):
    """The process is gone; what was written stays as it is."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """End whatever runs at the n-th point that it reaches; the points so far."""
    reached: list[str] = []

    def reach(point: str) -> None:
        reached.append(point)
        if len(reached) == number:
            raise Killed(point)

    for module in ("gb_pipeline.research.results.purging", "gb_pipeline.storage.commit"):
        monkeypatch.setattr(f"{module}.reach", reach)
    # A process that is gone tidies up nothing.
    monkeypatch.setattr("gb_pipeline.storage.commit.Draft.discard", lambda self: None)
    return reached


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two strategies with two runs each, with notes."""
    results = Results.open(tmp_path / "lake", create=True)
    results.save_many([make_run("a"), make_run("b"), make_run("a", strategy="other"), make_run("b", version="2")])
    results.manage_versions("momentum", "1.0", run_id="a", tag="paper")
    results.manage_versions("other", "1.0", tag="paper")
    results.save_metadata("momentum", "2", {"why": "rebalancing"})
    return results


def rows_of(results: Results) -> dict[str, set[str]]:
    """The strategies and runs that each table has rows of."""
    found = {}
    for table in TABLES:
        rows = results.lake.sql(f"select distinct strategy, version, run_id from {table}")
        found[table] = {"/".join(str(part) for part in row) for row in rows.rows()}
    return found


def test_a_purge_takes_a_run_and_all_that_belongs_to_it(results: Results) -> None:
    report = results.purge("momentum", "1.0", run_id="a", reason="a licence ended")
    assert report.runs == 1
    assert report.rows == {"metrics": 3, "equity": 12, "fills": 2, "positions": 1, "result_notes": 1}
    with pytest.raises(LakeError, match=r"no run momentum/1\.0/a"):
        results.load_backtest_data("momentum/1.0/a")
    left = {"momentum/1.0/b", "momentum/2/b", "other/1.0/a"}
    for opened in (results, Results.open(results.lake.store.storage.root)):
        assert set(opened.query_metadata().select("strategy", "version", "run_id").rows()) == {
            tuple(name.split("/")) for name in left
        }
        assert_frame_equal(opened.load_backtest_data("other/1.0/a").equity, make_run().equity)  # type: ignore[arg-type]
    found = rows_of(results)
    assert all(found[table] == left for table in TABLES[:5])
    # What stays of it is why it went.
    assert found["result_notes"] == {"momentum/1.0/a", "other/1.0/None", "momentum/2/None"}
    [reason] = results.lake.sql("select text from result_notes where kind = 'purge'")["text"]
    assert reason == '"a licence ended"'
    assert verify(results.lake.store).ok and not verify(results.lake.store).left_over
    assert results.save_backtest_data(make_run("a", metrics={"sharpe": 3.0})).outcome == "saved"
    assert results.load_backtest_data("momentum/1.0/a").metrics == {"sharpe": 3.0}
    assert results.manage_versions("momentum")["runs"].sum() == 3


def test_runs_are_chosen_as_a_query_does_and_retired_ones_go_as_well(results: Results) -> None:
    results.save_many([little("momentum", "3", str(number), metrics={"x": float(number)}) for number in range(4)])
    results.manage_versions("momentum", "3", retire="looks ahead")
    assert results.purge("momentum", metrics="x >= 2", reason="too many").runs == 2
    assert sorted(results.query_metadata(retired=True, version="3")["run_id"]) == ["0", "1"]
    assert results.purge("momentum", reason="all of it").runs == 5
    assert results.list_strategies()["strategy"].to_list() == ["other"]
    assert rows_of(results)["result_notes"] >= {"other/1.0/None"}
    with pytest.raises(LakeError, match="no strategy 'momentum'"):
        results.manage_versions("momentum")


def test_what_is_refused(results: Results) -> None:
    with pytest.raises(ConfigError, match="needs a reason"):
        results.purge("momentum", reason=" ")
    with pytest.raises(LakeError, match="no run of nobody is meant"):
        results.purge("nobody", reason="gone")
    with pytest.raises(ConfigError, match="has no limit"):
        results.purge("momentum", reason="gone", limit=1)
    with pytest.raises(ConfigError, match="a strategy cannot be ''"):
        results.purge("", reason="gone")
    assert results.count() == 4


def kill_purges(prepared: Path, folder: Path, *, each: bool) -> None:
    """Kill a purge at the points that it reaches, the first and the last of each name or each, and end it in two ways."""
    with pytest.MonkeyPatch.context() as patched:
        points = kill_at(patched, 0)
        shutil.copytree(prepared, folder / "whole")
        Results.open(folder / "whole").purge("momentum", "1.0", reason="a licence ended")
    assert set(fault_points.PURGE_POINTS) | {"file_written", "committed"} <= set(points)
    chosen = {points.index(point) for point in points} | {
        len(points) - 1 - points[::-1].index(point) for point in points
    }
    for number in range(len(points)) if each else sorted(chosen):
        root = folder / str(number)
        shutil.copytree(prepared, root)
        with pytest.MonkeyPatch.context() as patched:
            reached = kill_at(patched, number + 1)
            with pytest.raises(Killed):
                Results.open(root).purge("momentum", "1.0", reason="a licence ended")
        assert reached == points[: number + 1]
        # Whatever the moment, a run is there as a whole or not at all.
        opened = Results.open(root)
        names = ["/".join(name) for name in opened.query_metadata().select("strategy", "version", "run_id").iter_rows()]
        for name in names:
            assert_frame_equal(opened.load_backtest_data(name).equity, make_run().equity)  # type: ignore[arg-type]
        if len(names) == 2 or number % 2:
            with suppress(LakeError):
                opened.purge("momentum", "1.0", reason="a licence ended")
        else:
            opened.sweep()
        found = rows_of(opened)
        assert all(found[table] == {"other/1.0/b"} for table in TABLES[:5]), (number, reached[-1], found)
        assert not any(find_orphans(opened.lake.store.tables).values())
        assert found["result_notes"] <= {"momentum/1.0/a"}
        assert opened.load_backtest_data("other/1.0/b").metrics == make_run().metrics


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of which one is to go, and a note about it."""
    root = tmp_path_factory.mktemp("prepared")
    results = Results.open(root, create=True)
    results.save_many([make_run("a"), make_run("b", strategy="other")])
    results.manage_versions("momentum", "1.0", run_id="a", tag="paper")
    return root


def test_a_purge_that_is_killed_between_its_steps_can_be_ended(prepared: Path, tmp_path: Path) -> None:
    kill_purges(prepared, tmp_path, each=False)


@pytest.mark.long
def test_a_purge_that_is_killed_at_any_point_can_be_ended(prepared: Path, tmp_path: Path) -> None:
    kill_purges(prepared, tmp_path, each=True)


def test_a_save_during_a_purge_starts_anew_and_is_there_as_a_whole(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, swept = Results.open(results.lake.store.storage.root), list[str]()

    def sweep_meanwhile(point: str) -> None:
        if point == "part_committed" and len(swept) < 2:
            swept.append(point)
            other.sweep()

    monkeypatch.setattr(writing, "reach", sweep_meanwhile)
    assert results.save_backtest_data(make_run("new")).outcome == "saved"
    assert len(swept) == 2
    loaded = Results.open(results.lake.store.storage.root).load_backtest_data("momentum/1.0/new")
    assert_frame_equal(loaded.equity, make_run().equity)  # type: ignore[arg-type]
    assert loaded.metrics == make_run().metrics
    # What the first attempts had written is left over, and goes with the next sweep.
    assert sum(find_orphans(results.lake.store.tables).values())
    other.sweep()
    assert not any(find_orphans(results.lake.store.tables).values())
    assert results.load_backtest_data("momentum/1.0/new").metrics == make_run().metrics


def test_an_artifact_goes_with_a_vacuum_once_no_run_names_it(tmp_path: Path) -> None:
    results = Results.open(tmp_path, create=True)
    results.save_many(
        [make_run("a", artifacts={"x": b"shared", "y": b"own"}), make_run("b", artifacts={"x": b"shared"})]
    )
    store = results.lake.store
    files = {path.name: path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    results.purge("momentum", run_id="a", reason="gone")
    later = wall_clock() + timedelta(days=8)
    [soon] = [report for report in store.vacuum(dry_run=False) if report.table == "artifacts"]
    assert (soon.files, soon.waiting) == (0, 1)
    [then] = [report for report in store.vacuum(dry_run=False, now=later) if report.table == "artifacts"]
    assert (then.files, then.bytes) == (1, 3)
    assert results.load_artifact("momentum/1.0/b", "x") == b"shared"
    assert sum(path.exists() for path in files.values()) == 1
    assert verify(store).ok


def test_verify_names_artifacts_that_are_missing_or_damaged(results: Results) -> None:
    [digest] = results.list_artifacts("momentum/1.0/a")["sha256"]
    path = Path(str(results.lake.store.storage.root)) / "artifacts" / digest[:2] / digest
    path.write_bytes(b"<p>evil</p>")
    [damage] = verify(results.lake.store).damages
    assert damage.table == "artifacts" and digest in damage.problem and "not those" in damage.problem
    path.unlink()
    [damage] = verify(results.lake.store).damages
    assert "missing" in damage.problem
