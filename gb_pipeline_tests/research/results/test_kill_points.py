"""A save that is cut off at any point at which it writes: the run is there as a whole or not at all, and saving it again does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.lake.result_rows import find_orphans
from gb_pipeline.research.results import Results
from gb_pipeline.storage.fault_points import RESULT_POINTS
from gb_pipeline_tests.research.results.runs import make_run

_WRITERS = (
    "gb_pipeline.research.results.writing", "gb_pipeline.research.results.spooled", "gb_pipeline.storage.commit",
    "gb_pipeline.collectors.spool",
)  # fmt: skip


class Killed(BaseException):
    """The process is gone."""


def cut_off(act: Callable[[], object], number: int) -> list[str]:
    """Let something write, and end it at the n-th point that it reaches, 0 for never; the points that it reached."""
    reached: list[str] = []

    def reach(point: str) -> None:
        reached.append(point)
        if len(reached) >= number > 0:
            raise Killed(point)

    with pytest.MonkeyPatch.context() as patched:
        for module in _WRITERS:
            patched.setattr(f"{module}.reach", reach)
        # A process that is gone tidies up nothing, and commits nothing at its end.
        patched.setattr("gb_pipeline.storage.commit.Draft.discard", lambda self: None)
        if number:
            with pytest.raises(Killed):
                act()
        else:
            act()
    return reached


def check(results: Results) -> None:
    """What was there before is there, and of the other run nothing or all."""
    assert "before" in results.query_metadata()["run_id"].to_list()
    for name in results.query_metadata()["run_id"]:
        loaded = results.load_backtest_data(f"momentum/1.0/{name}")
        assert loaded.metrics == make_run().metrics
        for part in ("equity", "fills", "positions"):
            assert_frame_equal(getattr(loaded, part), getattr(make_run(), part), check_exact=True)
        assert results.load_artifact(f"momentum/1.0/{name}", "report.html") == b"<p>fine</p>"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a run."""
    root = tmp_path_factory.mktemp("prepared")
    Results.open(root, create=True).save_backtest_data(make_run("before"))
    return root


@pytest.mark.parametrize("each", [False, pytest.param(True, marks=pytest.mark.long)], ids=["edges", "each"])
def test_a_save_that_is_cut_off_is_there_as_a_whole_or_not_at_all(
    prepared: Path, tmp_path: Path, *, each: bool
) -> None:
    def save(root: Path) -> None:
        Results.open(root).save_backtest_data(make_run("new"))

    shutil.copytree(prepared, tmp_path / "whole")
    points = cut_off(lambda: save(tmp_path / "whole"), 0)
    # Five tables, each with files, their flush and an entry, and what results add to that.
    assert set(RESULT_POINTS) <= set(points)
    assert points.count("committed") == 5
    edges = {points.index(point) + 1 for point in points} | {len(points)}
    for number in range(1, len(points) + 1) if each else sorted(edges):
        root = tmp_path / str(number)
        shutil.copytree(prepared, root)
        assert cut_off(lambda root=root: save(root), number) == points[:number]  # type: ignore[misc]
        results = Results.open(root)
        check(results)
        is_there = results.count() == 2
        # The last thing that is written is what makes it count.
        assert is_there == (number == len(points)), points[:number]
        assert results.save_backtest_data(make_run("new")).outcome == ("unchanged" if is_there else "saved")
        results.sweep()
        assert results.count() == 2
        assert not any(find_orphans(results.lake.store.tables).values())
        check(results)
