"""The event log of an instance: what belongs together is one transaction, and Dagster reads it as its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event

from gb_pipeline.dagster_runtime.event_log import BATCH_ENVIRONMENT, KeptEventLog
from gb_pipeline.dagster_runtime.home import prepare_home

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
SERIES = [f"S{number:02d}" for number in range(20)]


@dg.multi_asset(specs=[dg.AssetSpec(name, partitions_def=DAYS, skippable=True) for name in SERIES], can_subset=True)
def many() -> Iterator[dg.MaterializeResult]:
    yield from ()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    prepare_home(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def announce(instance: dg.DagsterInstance) -> tuple[dg.DagsterRun, int]:
    """A run over five days, made as the daemon makes it, and how many transactions of the index that took."""
    log = instance.event_log_storage
    assert isinstance(log, KeptEventLog)
    with log.index_connection() as connection:
        engine = connection.engine
    commits: list[object] = []
    count = commits.append
    event.listen(engine, "commit", count)
    tags = {
        "dagster/asset_partition_range_start": "2024-01-03",
        "dagster/asset_partition_range_end": "2024-01-07",
    }
    job = dg.Definitions(assets=[many]).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags=tags, asset_selection=frozenset(map(dg.AssetKey, SERIES)))
    event.remove(engine, "commit", count)
    return run, len(commits)


def test_what_a_run_announces_is_one_transaction(instance, monkeypatch: pytest.MonkeyPatch) -> None:
    run, one_by_one = announce(instance)
    for name, value in BATCH_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    batched, together = announce(instance)
    assert one_by_one >= 5 * len(SERIES)
    assert together < 5
    for one in (run, batched):
        planned = instance.all_logs(one.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        assert len(planned) == 5 * len(SERIES)
