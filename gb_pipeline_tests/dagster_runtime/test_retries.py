"""A failed run that is to be started again is, as soon as that is possible, once; its backfill goes on, and ends as it should."""

# No postponed annotations: Dagster looks at that of `context`.
import logging
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.asset_backfill import execute_asset_backfill_iteration
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._serdes import serialize_value

from gb_pipeline.dagster_runtime import daemon, private_daemon
from gb_pipeline.dagster_runtime.home import prepare_home
from gb_pipeline.dagster_runtime.private import WILL_RETRY_TAG
from gb_pipeline.dagster_runtime.private_daemon import AUTO_RETRY_RUN_ID_TAG, RETRY_NUMBER_TAG
from gb_pipeline.dagster_runtime.retries import Retries
from gb_pipeline.dagster_runtime.runs import LEFT_OUT_TAG

# Dagster's daemon warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Error loading repository location")

DEFINITIONS = """
import dagster as dg

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["one", "two"]))
def days(): ...

defs = dg.Definitions(assets=[days])
"""
FILE = "days_of_retries.py"


@dataclass
class Bench:
    """A home with a backfill, its code location, and what the daemon does with both, step by step."""

    context: WorkspaceProcessContext
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    now: float = 0.0
    retries: Retries = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    def restart(self) -> None:
        """A new daemon, which knows nothing."""
        self.retries = Retries(clock=lambda: self.now)

    def look(self, after: float = 0.0) -> None:
        self.now += after
        list(self.retries.look(self.context))

    def look_at_backfill(self) -> BulkActionStatus:
        list(execute_backfill_iteration(self.context, logging.getLogger("test")))
        return self.backfill.status

    @property
    def backfill(self) -> PartitionBackfill:
        backfill = self.instance.get_backfill(self.name)
        assert backfill is not None
        return backfill

    def write_definitions(self, text: str) -> None:
        (Path(self.instance.root_directory).parent / FILE).write_text(text, encoding="utf-8")
        # As in a code server that is started anew.
        sys.modules.pop(Path(FILE).stem, None)
        self.context.refresh_workspace()

    def break_definitions(self) -> None:
        self.write_definitions("this is no Python")
        assert self.context.create_request_context().code_location_errors()

    def repair_definitions(self) -> None:
        self.write_definitions(DEFINITIONS)

    def fail(self, run: dg.DagsterRun) -> None:
        self.instance.report_run_failed(run, "Its process is gone.")

    def runs(self) -> list[dg.DagsterRun]:
        """All runs of the backfill, the oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": self.name}), ascending=True)
        return [record.dagster_run for record in records]

    def children(self, run: dg.DagsterRun) -> list[dg.DagsterRun]:
        return [each for each in self.runs() if each.parent_run_id == run.run_id]

    def tag(self, run: dg.DagsterRun, name: str) -> str | None:
        return next(each for each in self.runs() if each.run_id == run.run_id).tags.get(name)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceProcessContext]:
    folder = tmp_path_factory.mktemp("retries")
    prepare_home(folder / ".dagster")
    target = LoadableTargetOrigin(python_file=str(folder / FILE))
    (folder / FILE).write_text(DEFINITIONS, encoding="utf-8")
    with (
        dg.DagsterInstance.from_config(str(folder / ".dagster")) as instance,
        WorkspaceProcessContext(
            instance, InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target, location_name="here"))
        ) as made,
    ):
        yield made


@pytest.fixture
def bench(context: WorkspaceProcessContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(private_daemon.backfills, "execute_asset_backfill_iteration", execute_asset_backfill_iteration)
    monkeypatch.setattr(private_daemon.RetryDaemon, "run_iteration", private_daemon.RetryDaemon.run_iteration)
    daemon.correct_daemon()
    bench = Bench(context)
    bench.repair_definitions()
    backfill = PartitionBackfill.from_asset_partitions(
        bench.name, context.create_request_context().asset_graph, ["one"], [dg.AssetKey("days")], 1.0, {},
        context.instance, False, None, None, None,
    )  # fmt: skip
    context.instance.add_backfill(backfill)
    yield bench
    context.instance.update_backfill(bench.backfill.with_status(BulkActionStatus.CANCELED))


@pytest.fixture
def run(bench: Bench) -> dg.DagsterRun:
    """The backfill's run, whose process has died."""
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED
    [requested] = bench.runs()
    bench.fail(requested)
    return requested


def test_it_is_started_again_once_and_is_a_run_of_the_backfill(bench: Bench, run: dg.DagsterRun) -> None:
    for _ in range(3):
        bench.look()
        bench.restart()

    [child] = bench.children(run)
    assert (child.status, child.tags[RETRY_NUMBER_TAG]) == (dg.DagsterRunStatus.QUEUED, "1")
    assert child.tags["dagster/backfill"] == bench.name
    assert bench.tag(run, AUTO_RETRY_RUN_ID_TAG) == child.run_id
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED


def test_dagster_alone_gives_it_up_and_calls_the_backfill_failed(
    bench: Bench, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all of this is for; it may go when Dagster does better."""
    monkeypatch.undo()
    bench.break_definitions()
    failed = bench.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    list(consume_new_runs_for_automatic_reexecution(bench.context, failed, logging.getLogger("test")))

    assert bench.tag(run, WILL_RETRY_TAG) == "false"
    assert bench.look_at_backfill() is BulkActionStatus.FAILING


def test_while_definitions_do_not_load_it_waits_and_so_does_the_backfill(bench: Bench, run: dg.DagsterRun) -> None:
    bench.break_definitions()
    for _ in range(20):
        bench.look(after=3600)
        assert bench.look_at_backfill() is BulkActionStatus.REQUESTED
    assert bench.children(run) == []

    bench.repair_definitions()
    bench.restart()
    bench.look()

    assert len(bench.children(run)) == 1
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED


def test_attempts_become_rarer_until_there_is_one_a_minute(bench: Bench, run: dg.DagsterRun) -> None:
    bench.break_definitions()
    attempts = []
    for second in range(0, 300, 5):
        before = bench.retries.attempts(run.run_id)
        bench.look(after=5)
        if bench.retries.attempts(run.run_id) > before:
            attempts.append(second)

    assert [later - earlier for earlier, later in pairwise(attempts)] == [5, 10, 20, 40, 60, 60, 60]


def test_it_is_started_again_as_often_as_the_settings_say(bench: Bench, run: dg.DagsterRun) -> None:
    bench.look()
    [second] = bench.children(run)
    bench.fail(second)
    bench.look()
    [third] = bench.children(second)
    bench.fail(third)
    for _ in range(3):
        bench.look(after=60)

    assert bench.instance.run_retries_max_retries == 2
    assert len(bench.runs()) == 3
    assert bench.look_at_backfill() is BulkActionStatus.COMPLETED_FAILED


def test_a_failure_that_nobody_tagged_is_found_at_the_second_look(bench: Bench, run: dg.DagsterRun) -> None:
    """Its process was killed between saying that it failed and saying that it is started again."""
    untag(bench, run, WILL_RETRY_TAG)
    bench.look()
    assert bench.children(run) == []
    bench.look()

    assert len(bench.children(run)) == 1


def test_a_backfill_does_not_end_before_it_is_said_of_each_failure_whether_it_is_repeated(
    bench: Bench, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk is full: the run is known to have failed, and the tag could not be written."""
    untag(bench, run, WILL_RETRY_TAG)
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED
    assert bench.tag(run, WILL_RETRY_TAG) is None, "it has only just failed"
    monkeypatch.setattr(daemon, "_MOMENT", 0.0)
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED
    assert bench.tag(run, WILL_RETRY_TAG) == "true"
    bench.look()
    assert len(bench.children(run)) == 1


def test_a_failed_step_is_not_repeated(bench: Bench, run: dg.DagsterRun) -> None:
    bench.look()
    [child] = bench.children(run)
    reason = JobFailureData(error=None, failure_reason=RunFailureReason.STEP_FAILURE)
    bench.instance.report_run_failed(child, "a step failed", reason)
    untag(bench, child, WILL_RETRY_TAG)
    for _ in range(3):
        bench.look(after=60)

    assert bench.tag(child, WILL_RETRY_TAG) == "false"
    assert bench.children(child) == []


@pytest.mark.parametrize("tagged", [True, False])
def test_one_that_was_made_and_not_queued_is_queued_and_no_second_one_is_made(
    bench: Bench, run: dg.DagsterRun, tagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon was killed in between."""
    with monkeypatch.context() as killed:
        killed.setattr(type(bench.instance), "submit_run", stop)
        with pytest.raises(SystemExit):
            bench.look()
    [made] = bench.children(run)
    assert made.status is dg.DagsterRunStatus.NOT_STARTED
    if not tagged:
        untag(bench, run, AUTO_RETRY_RUN_ID_TAG)
    bench.restart()
    bench.look()

    [child] = bench.children(run)
    assert (child.run_id, child.status) == (made.run_id, dg.DagsterRunStatus.QUEUED)


def test_nothing_is_started_again_for_a_backfill_that_is_over(bench: Bench, run: dg.DagsterRun) -> None:
    bench.instance.update_backfill(bench.backfill.with_status(BulkActionStatus.CANCELED))
    bench.look()

    assert (bench.children(run), bench.tag(run, WILL_RETRY_TAG)) == ([], "false")


def test_one_whose_asset_is_gone_is_given_up_after_some_attempts_and_says_why(bench: Bench, run: dg.DagsterRun) -> None:
    bench.write_definitions(DEFINITIONS.replace("days", "weeks"))
    for _ in range(20):
        bench.look(after=60)

    assert (bench.children(run), bench.tag(run, WILL_RETRY_TAG)) == ([], "false")
    said = [entry.message for entry in bench.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)]
    assert [message for message in said if message.startswith("This run is not started again: ")] == said[-1:]


@pytest.fixture
def done(bench: Bench) -> dg.DagsterRun:
    """The backfill's run, which has made nothing of its partition and is about to end."""
    assert bench.look_at_backfill() is BulkActionStatus.REQUESTED
    [requested] = bench.runs()
    return requested


def end(bench: Bench, run: dg.DagsterRun) -> None:
    bench.instance.handle_run_event(run.run_id, dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name))


def test_a_backfill_of_which_a_run_left_out_what_cannot_be_had_yet_ends_well(bench: Bench, done: dg.DagsterRun) -> None:
    bench.instance.add_run_tags(done.run_id, {LEFT_OUT_TAG: "one: the session is not over before 21:00Z"})
    end(bench, done)
    while bench.look_at_backfill() is BulkActionStatus.REQUESTED:
        pass

    assert bench.backfill.status is BulkActionStatus.COMPLETED_SUCCESS
    graph = bench.context.create_request_context().asset_graph
    [shown] = bench.backfill.get_asset_backfill_data(graph).get_backfill_status_per_asset_key(graph)
    assert shown.num_targeted_partitions == 1
    assert set(shown.partitions_counts_by_status.values()) == {0}, "nothing of it is shown as failed"


def test_a_backfill_of_which_a_run_made_nothing_for_no_reason_fails(bench: Bench, done: dg.DagsterRun) -> None:
    end(bench, done)
    while bench.look_at_backfill() is BulkActionStatus.REQUESTED:
        pass
    assert bench.backfill.status is BulkActionStatus.COMPLETED_FAILED


def stop(*_: object, **__: object) -> None:
    raise SystemExit


def untag(bench: Bench, run: dg.DagsterRun, name: str) -> None:
    """Take a tag off, as if it had never been set."""
    now = bench.instance.get_run_by_id(run.run_id)
    assert now is not None
    with bench.instance.run_storage.connect() as connection:
        tags = RunTagsTable.c
        connection.execute(RunTagsTable.delete().where(tags.run_id == run.run_id, tags.key == name))
        body = serialize_value(now.with_tags({key: value for key, value in now.tags.items() if key != name}))
        connection.execute(RunsTable.update().where(RunsTable.c.run_id == run.run_id).values(run_body=body))
