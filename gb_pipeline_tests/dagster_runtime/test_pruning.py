"""Pruning: no page says anything else afterwards, on either database; what is removed is what nobody asks for."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.private import (
    EVENTS,
    AssetMaterializationPlannedData,
    AssetObservationData,
    StepMaterializationData,
)
from gb_pipeline.dagster_runtime.pruning import prune as module
from gb_pipeline.dagster_runtime.pruning.prune import prune
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm
from gb_pipeline.orchestration.maintenance.history import build_prune_events_asset
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline_tests.dagster_runtime import runs_at_once
from gb_pipeline_tests.dagster_runtime.page import Page, open_page

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05", exclusions=[datetime(2024, 1, 3, tzinfo=UTC)])
KEYS = DAYS.get_partition_keys()
SERIES = dg.AssetKey(["a", "series"])
TABLE = dg.AssetKey(["a", "table"])
ENDS = ["success", "failure", "canceled", "under way"]


@dg.asset(key=SERIES, partitions_def=DAYS)
def series() -> None: ...


@dg.asset(key=TABLE)
def table() -> None: ...


@dg.asset_check(asset=TABLE, name="sound")
def sound() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DEFINITIONS = dg.Definitions(assets=[series, table], asset_checks=[sound])


class History:
    """Runs as they come and go, event by event."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.moments, self.number = instance, [datetime.now(UTC)], 0

    def run(self, meant: set[str], stored: set[str], seen: set[str], end: str) -> str:
        """A run that means to store some days, stores some, observes some, looks whether the table is sound, and ends."""
        run = self.instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.STARTED))
        for day in sorted(meant):
            self.log(run, "ASSET_MATERIALIZATION_PLANNED", AssetMaterializationPlannedData(SERIES, day))
        for day in sorted(stored):
            self.log(run, "ASSET_MATERIALIZATION", StepMaterializationData(self.made(SERIES, day)))
        for day in sorted(seen):
            event = dg.AssetObservation(SERIES, partition=day, metadata={"number": self.count()})
            self.log(run, "ASSET_OBSERVATION", AssetObservationData(event))
        self.log(run, "ASSET_MATERIALIZATION", StepMaterializationData(self.made(TABLE, None)))
        check = dg.AssetCheckEvaluation(TABLE, "sound", passed=self.number % 2 == 0, metadata={})
        self.log(run, "ASSET_CHECK_EVALUATION", check)
        if end == "failure":
            self.instance.report_run_failed(run)
        elif end == "canceled":
            self.instance.report_run_canceled(run)
        elif end == "success":
            self.log(run, "PIPELINE_SUCCESS", None)
        self.moments.append(datetime.now(UTC))
        return run.run_id

    def count(self) -> int:
        self.number += 1
        return self.number

    def made(self, key: dg.AssetKey, day: str | None) -> dg.AssetMaterialization:
        tags = {"dagster/data_version": str(self.count())}
        return dg.AssetMaterialization(key, partition=day, metadata={"number": self.number}, tags=tags)

    def log(self, run: dg.DagsterRun, kind: str, data: object) -> None:
        event = dg.DagsterEvent(dg.DagsterEventType(kind).value, "job", event_specific_data=data)
        self.instance.report_dagster_event(event, run.run_id)


@pytest.fixture
def page(instance: dg.DagsterInstance) -> Iterator[Page]:
    with open_page(instance, __file__, "DEFINITIONS") as made:
        yield made


def forget(instance: dg.DagsterInstance) -> None:
    """As a new holiday, or an upgrade, does it: the pages compute what they show from all events."""
    instance.wipe_asset_cached_status([SERIES])


def statuses(instance: dg.DagsterInstance) -> dict[str, str]:
    found = instance.get_status_by_partition(SERIES, KEYS, DAYS) or {}
    return {key: status.value for key, status in found.items() if status is not None}


def count_events(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id))


a_run = st.tuples(
    st.sets(st.sampled_from(KEYS)),
    st.sets(st.sampled_from(KEYS)),
    st.sets(st.sampled_from(KEYS)),
    st.sampled_from(ENDS),
)


# One instance has the histories of all examples, one behind the other, so a smaller one would say nothing.
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, phases=[Phase.generate], database=None
)
@given(runs=st.lists(a_run, min_size=1, max_size=5), at=st.integers(0, 5), warm=st.integers(0, 5), dry=st.booleans())
def test_pages_say_the_same_before_and_after(
    instance: dg.DagsterInstance, page: Page, runs: list, at: int, warm: int, dry: bool
) -> None:
    history = History(instance)
    for number, (meant, stored, seen, end) in enumerate(runs):
        history.run(meant, stored, seen, end)
        if number == warm:
            keep_status_warm(instance, [SERIES], DAYS)
    before = history.moments[min(at, len(runs))]
    # From all events, before and after: what Dagster has cached of runs that were under way may be older than they are.
    forget(instance)
    said = [page.everything(key, KEYS if key == SERIES else []) for key in (SERIES, TABLE)]
    shown = statuses(instance)

    pruned = prune(instance, before, dry_run=True)
    if not dry:
        assert prune(instance, before).events == pruned.events
        assert prune(instance, before).events == 0

    forget(instance)
    assert [page.everything(key, KEYS if key == SERIES else []) for key in (SERIES, TABLE)] == said
    assert statuses(instance) == shown


def test_what_nobody_asks_for_goes(instance: dg.DagsterInstance, page: Page) -> None:
    history = History(instance)
    every = set(KEYS)
    old = [history.run(every, every, every, "success") for _ in range(5)]
    red = history.run(every, every - {KEYS[1]}, {KEYS[1]}, "failure")
    at_work = history.run({KEYS[2]}, set(), set(), "under way")
    moment = datetime.now(UTC)
    new = history.run({KEYS[0]}, {KEYS[0]}, set(), "success")
    logs = {run: count_events(instance, run) for run in (*old, red, at_work, new)}

    counted = prune(instance, moment, dry_run=True)
    assert {run: count_events(instance, run) for run in logs} == logs
    pruned = prune(instance, moment)

    assert (counted.events, counted.checks, counted.run_logs) == (pruned.events, pruned.checks, pruned.run_logs)
    assert pruned.checks == 5
    assert pruned.events > 50
    assert pruned.protected == 3
    assert statuses(instance) == {KEYS[0]: "MATERIALIZED", KEYS[1]: "FAILED", KEYS[2]: "IN_PROGRESS"}
    assert {run: count_events(instance, run) for run in (red, at_work, new)} == {
        run: logs[run] for run in (red, at_work, new)
    }
    assert sum(count_events(instance, run) for run in old[:-1]) == 0
    # Runs stay: a partition is red by the state of its run.
    assert {run.run_id for run in instance.get_runs()} == set(logs)


def test_the_asset_prunes_the_instance_on_which_it_runs(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    history = History(instance)
    for _ in range(3):
        history.run(set(KEYS), set(KEYS), set(), "success")
    gb_yaml = tmp_path / "gb.yaml"
    gb_yaml.write_text("sources: {}\nhistory_days: 7\n", encoding="utf-8")
    with instance.event_log_storage.index_transaction() as connection:
        connection.execute(EVENTS.update().values(timestamp=datetime(2024, 1, 1)))
    with instance.run_storage.connect() as connection:
        connection.exec_driver_sql("update runs set update_timestamp = '2024-01-01 00:00:00'")

    loaded = Settings.load(gb_yaml)
    lake = {"lake": LakeResource.of(loaded)}
    assert dg.materialize([build_prune_events_asset(loaded)], instance=instance, resources=lake).success

    record = instance.fetch_materializations(dg.AssetKey("prune_events"), limit=1).records[0]
    told = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert told["events"] > 2 * 2 * len(KEYS)
    assert told["protected"] >= 1
    assert statuses(instance) == dict.fromkeys(KEYS, "MATERIALIZED")


def test_numbers_of_events_are_given_once(instance: dg.DagsterInstance) -> None:
    """Sensors remember the newest number: an event under one that was used before would be missed."""
    history = History(instance)
    for _ in range(3):
        history.run(set(KEYS), set(KEYS), set(), "success")
    newest = instance.event_log_storage.get_maximum_record_id()
    prune(instance, datetime.now(UTC))
    assert instance.event_log_storage.get_maximum_record_id() == newest
    history.run(set(), {KEYS[0]}, set(), "success")
    assert (
        instance.event_log_storage.get_latest_storage_id_by_partition(
            SERIES, dg.DagsterEventType.ASSET_MATERIALIZATION
        )[KEYS[0]]
        > newest
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_runs_that_write_meanwhile_lose_nothing(prepare: Callable[[str], Path], kind: str) -> None:
    home = prepare(kind)
    program = [sys.executable, "-m", runs_at_once.__name__, str(home)]
    said, rounds = home.parent / "said", 0
    with said.open("wb") as output, open_home(home) as instance:
        process = subprocess.Popen(program, stderr=output)
        until = time.monotonic() + 120
        while process.poll() is None:
            assert time.monotonic() < until, "the runs come to no end"
            # Everything that is not under way is old.
            prune(instance, datetime.now(UTC))
            rounds += 1
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        assert process.returncode == 0, said.read_text(encoding="utf-8")[-3000:]
        assert rounds > 1
        prune(instance, datetime.now(UTC))
        days = runs_at_once.DAYS.get_partition_keys()
        for key in runs_at_once.KEYS:
            found = instance.get_status_by_partition(key, days, runs_at_once.DAYS) or {}
            assert [status and status.value for status in found.values()] == ["MATERIALIZED"] * len(days)
            assert len(instance.fetch_materializations(key, limit=1000).records) == len(days)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_the_latest_tick_of_a_schedule_stays(instance: dg.DagsterInstance) -> None:
    """From it the schedule goes on, however seldom it fires."""
    target = LoadableTargetOrigin(python_file=__file__, attribute="DEFINITIONS")
    place = InProcessCodeLocationOrigin(loadable_target_origin=target, location_name="here")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "repository"), "monthly")
    who = (origin.get_id(), origin.get_selector().get_id())
    kind, data = InstigatorType.SCHEDULE, ScheduleInstigatorData("0 0 1 * *")
    instance.add_instigator_state(InstigatorState(origin, kind, InstigatorStatus.RUNNING, data))
    moments = [datetime(2024, month, 1, tzinfo=UTC).timestamp() for month in range(1, 6)]
    for moment in moments:
        instance.create_tick(TickData(who[0], "monthly", kind, TickStatus.SKIPPED, moment, selector_id=who[1]))

    assert prune(instance, datetime(2024, 3, 15, tzinfo=UTC)).ticks == 3
    assert prune(instance, datetime(2025, 1, 1, tzinfo=UTC), dry_run=True).ticks == 1
    assert prune(instance, datetime(2025, 1, 1, tzinfo=UTC)).ticks == 1
    assert [tick.timestamp for tick in instance.get_ticks(*who)] == moments[-1:]


def test_a_run_that_begins_meanwhile_keeps_its_log(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, begun, look = History(instance), [], module.find_protected_runs

    def find(*arguments: Any) -> set[str]:
        protected = look(*arguments)
        begun.append(history.run({KEYS[0]}, set(), set(), "under way"))
        return protected

    monkeypatch.setattr(module, "find_protected_runs", find)
    history.run({KEYS[1]}, {KEYS[1]}, set(), "success")
    prune(instance, datetime.now(UTC))

    [run] = begun
    assert count_events(instance, run) > 0
    assert statuses(instance) == {KEYS[0]: "IN_PROGRESS", KEYS[1]: "MATERIALIZED"}
