"""Every week the lake is read and the backup restored; what was found is on the page, and where `gb health` reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.lake.restore_test import read_restore
from gb_pipeline.lake.verify_record import read_verification
from gb_pipeline_tests.orchestration.conftest import Bench

BTC, ETH = "sim/bars_1h/BTC-USDT", "sim/bars_1h/ETH-USDT"


@pytest.fixture
def bench(build_bench: Callable[..., Bench]) -> Bench:
    bench = build_bench(resolutions=["1h"], settings={"backup": "copy"})
    assert bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02")).success
    return bench


def break_a_file(lake: Path) -> str:
    """Flip a byte of a file of bars; its name."""
    file = sorted((lake / "lake" / "bars_1h").rglob("*.parquet"))[0]
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(raw)
    return file.name


def failure_of(bench: Bench, result: dg.ExecuteInProcessResult, step: str) -> dg.Failure:
    assert not result.success
    failure = result.failure_data_for_node(step).user_failure_data
    assert failure is not None
    return failure


def test_a_sound_lake_is_verified_and_the_record_is_where_health_reads_it(bench):
    assert bench.run("verify").success
    shown = bench.metadata("verify")
    assert (shown["sessions"], shown["problems"]) == (4, 0)
    record = read_verification(bench.store.storage)
    assert record is not None
    assert (record.sessions, record.problems, record.files) == (4, 0, shown["files"])


def test_damage_fails_the_run_with_what_to_do_and_is_remembered(bench):
    name = break_a_file(bench.settings.lake)
    failure = failure_of(bench, bench.run("verify"), "verify")
    assert "`gb verify --repair`" in failure.description
    assert name in [Path(row.data["file"]).name for row in failure.metadata["damages"].records]
    assert read_verification(bench.store.storage).problems == failure.metadata["problems"].value > 0


def test_a_backup_is_copied_restored_verified_and_compared(bench):
    assert bench.run("backup").success
    assert bench.run("restore_test").success
    shown = bench.metadata("restore_test")
    assert shown["finding"] == "all of 2 series were restored, and every byte is as it was written"
    assert (shown["series"], shown["sessions"], shown["problems"]) == (2, 4, 0)
    assert shown["fingerprint"] == bench.metadata("backup")["fingerprint"] != ""
    assert shown["seconds"] >= 0
    record = read_restore(bench.store.storage)
    assert record is not None
    assert (record.of_series, record.place) == (2, str(bench.settings.path.parent / "copy"))
    assert record.newest <= record.at
    # Nothing of it is left.
    assert not list(bench.settings.state.glob("restore-test*"))


def test_a_large_backup_is_restored_in_part_and_what_is_left_out_is_not_missed(bench):
    assert bench.run("backup").success
    config = {"ops": {"restore_test": {"config": {"most_gb": 1e-9}}}}
    assert bench.run("restore_test", config=config).success
    shown = bench.metadata("restore_test")
    assert shown["finding"].startswith("1 of 2 series were restored, and every byte")
    assert (shown["series"], shown["sessions"]) == (1, 2)


def test_a_damaged_backup_fails_the_test_and_harms_nobody(bench):
    assert bench.run("backup").success
    break_a_file(bench.settings.path.parent / "copy")
    failure = failure_of(bench, bench.run("restore_test"), "restore_test")
    assert "`gb backup --verify`" in failure.description
    assert read_restore(bench.store.storage).problems > 0
    assert bench.run("verify").success


def test_what_a_killed_test_left_behind_is_removed_first(bench):
    assert bench.run("backup").success
    left = bench.settings.state / "restore-test" / "data"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    assert bench.run("restore_test").success


def test_without_a_backup_it_says_so_and_is_not_scheduled(build_bench):
    bench = build_bench(resolutions=["1h"])
    for name in ("backup", "restore_test"):
        assert bench.run(name).success
        assert "no backup is configured" in bench.metadata(name)["finding"]
    states = {name: bench.definitions.resolve_schedule_def(name).default_status for name in SCHEDULES}
    assert states == {
        "verify_weekly": dg.DefaultScheduleStatus.RUNNING,
        "backup_nightly": dg.DefaultScheduleStatus.STOPPED,
        "restore_test_weekly": dg.DefaultScheduleStatus.STOPPED,
    }


SCHEDULES = ("verify_weekly", "backup_nightly", "restore_test_weekly")


def test_a_backup_that_is_not_there_yet_is_an_error_that_says_what_to_do(bench):
    result = bench.run("restore_test")
    assert not result.success
    assert "there is no backup at" in str(result.failure_data_for_node("restore_test").error)
