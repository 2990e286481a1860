"""Results of backtests in a bucket: saved, found and loaded by any machine, and each kept once."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.errors import LakeError, RunRefused
from gb_pipeline.lake.result_rows import vacuum_artifacts
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import Results
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline_tests.research.results.killed import make
from gb_pipeline_tests.research.results.runs import little, make_run
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Request, Store

_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"


def open_results(machine: Machine, name: str) -> Results:
    """The results as one machine sees them."""
    return Results(Lake(machine(name)))


def test_what_one_machine_saves_another_finds_and_loads(machine: Machine) -> None:
    one, other = open_results(machine, "a"), open_results(machine, "b")
    assert other.query_metadata().is_empty()
    assert one.save_backtest_data(make_run()).outcome == "saved"
    assert other.query_metadata(metrics="sharpe > 1")["run_id"].to_list() == ["a"]
    loaded = other.load_backtest_data("momentum/1.0/a")
    for part in ("equity", "fills", "positions"):
        assert_frame_equal(getattr(loaded, part), getattr(make_run(), part), check_exact=True)
    assert (loaded.parameters, loaded.metrics) == (make_run().parameters, make_run().metrics)
    assert other.load_artifact("momentum/1.0/a", "report.html") == b"<p>fine</p>"
    assert other.save_backtest_data(make_run()).outcome == "unchanged"
    with pytest.raises(RunRefused, match="with other metrics"):
        other.save_backtest_data(make_run(metrics={"sharpe": 2.0}))
    other.manage_versions("momentum", "1.0", retire="looks ahead")
    assert one.query_metadata().is_empty() and one.query_metadata(retired=True).height == 1


def test_small_runs_are_few_commits_of_a_bucket(machine: Machine) -> None:
    results = open_results(machine, "a")
    with results.spooled(seconds=3600) as writer:
        for number in range(12):
            writer.save(make(number))
    assert {results.lake.store.tables.newest(name).version for name in ("runs", "metrics", "equity")} == {0}
    assert open_results(machine, "b").count() == 12


def test_of_two_machines_that_save_one_name_one_is_kept_as_a_whole(machine: Machine) -> None:
    outcomes: list[str] = []

    def save(name: str, value: float) -> None:
        mine = open_results(machine, name)
        for run_id in ("x", "y"):
            [report] = mine.save_many([little("s", "1", run_id, metrics={"machine": value})])
            outcomes.append(report.outcome.value)

    savers = [Thread(target=save, args=(name, value)) for name, value in (("a", 1.0), ("b", 2.0))]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    assert sorted(outcomes) == ["refused", "refused", "saved", "saved"]
    results = open_results(machine, "c")
    found = results.query_metadata()
    assert sorted(found["run_id"]) == ["x", "y"]
    for run_id, value in found.select("run_id", "metrics.machine").iter_rows():
        assert results.load_backtest_data(f"s/1/{run_id}").metrics == {"machine": value}


def test_what_is_acknowledged_while_the_bucket_refuses_is_committed_later(machine: Machine, server: Store) -> None:
    results = open_results(machine, "a")
    results.save_backtest_data(make(0))
    writer = results.spooled("one", seconds=3600)
    writer.save(make(1))
    refused: list[str] = []

    def refuse(request: Request) -> tuple[str, bytes, int] | None:
        if request.method != "PUT":
            return None
        refused.append(request.name)
        return "403 Forbidden", _DENIED, len(_DENIED)

    server.says = refuse
    with pytest.raises(LakeError, match="could not be written"):
        writer.close()
    assert refused
    server.heal()
    with results.spooled("one"):
        assert sorted(open_results(machine, "b").query_metadata()["run_id"]) == ["0", "1"]


def test_what_one_machine_purges_is_gone_for_all_and_its_artifact_is_freed(machine: Machine, server: Store) -> None:
    one, other = open_results(machine, "a"), open_results(machine, "b")
    one.save_many(
        [make_run("a"), make_run("b", artifacts={"other.html": b"<p>kept</p>"}), make_run("a", strategy="other")]
    )
    one.save_backtest_data(make_run("c", artifacts={"own.html": b"<p>of c alone</p>"}))
    assert other.count() == 4

    def refuse(request: Request) -> tuple[str, bytes, int] | None:
        if request.method == "PUT" and "/runs/_delta_log/" in request.name:
            return "403 Forbidden", _DENIED, len(_DENIED)
        return None

    server.says = refuse
    with pytest.raises(LakeError):
        one.purge("momentum", run_id=["a", "c"], reason="a licence ended")
    server.heal()
    # Cut off before the commit that counts, all of it is there; the same again removes it.
    assert open_results(machine, "c").count() == 4
    assert open_results(machine, "c").purge("momentum", run_id=["a", "c"], reason="a licence ended").runs == 2
    for results in (one, other, open_results(machine, "d")):
        assert results.query_metadata().select("strategy", "run_id").sort("strategy").rows() == [
            ("momentum", "b"),
            ("other", "a"),
        ]
        with pytest.raises(LakeError, match="no run"):
            results.load_backtest_data("momentum/1.0/c")
        assert_frame_equal(results.load_backtest_data("momentum/1.0/b").equity, make_run().equity)  # type: ignore[arg-type]
    later = wall_clock() + timedelta(days=8)
    freed = vacuum_artifacts(one.lake.store.tables, retention=timedelta(days=7), dry_run=False, now=later)
    assert sum(report.files for report in freed) == 1
    assert other.load_artifact("momentum/1.0/b", "other.html") == b"<p>kept</p>"
    assert other.load_artifact("other/1.0/a", "report.html") == b"<p>fine</p>"
