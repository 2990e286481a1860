"""This module looks at the runs of an instance from outside: what is new, why one failed, and which ones lost their process.

It reads the instance itself and needs no webserver.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG, WILL_RETRY_TAG

# Runs that have not ended.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# On a run that succeeded without some of its partitions: which, and until when. They come by themselves.
LEFT_OUT_TAG = "gb/left_out"
_UNDER_WAY = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PARTITION_TAG = "dagster/partition"
_MOST = 200
_LONGEST_REASON = 500
# Databases round moments, and several processes write them.
_OVERLAP_SECONDS = 5.0
# The instance may be locked for a while, or its disk full: the next look finds the same.
_LATER = (SQLAlchemyError, OSError, dg.DagsterError)


@dataclass(frozen=True, slots=True)
class RunNews:
    """What happened to a run.

    Attributes:
        run_id: of the run.
        status: `STARTED`, `SUCCESS`, `FAILURE` or `CANCELED`.
        what: the assets or the job, and the partitions.
        seconds: how long it took; None while it goes on.
        reason: why it failed, in one line.
        retried: whether Dagster starts it again.
    """

    run_id: str
    status: str
    what: str
    seconds: float | None = None
    reason: str = ""
    retried: bool = False


class RunWatch:
    """Looks at the runs of one home again and again.

    Args:
        home: the instance's folder.
        since: earlier runs are no news; seconds since 1970.
    """

    def __init__(self, home: Path, since: float) -> None:
        """The instance is opened with the first look."""
        self._home, self._since, self._begin = home, since, since
        self._instance: dg.DagsterInstance | None = None
        self._told: dict[str, dg.DagsterRunStatus] = {}
        self._suspects: set[str] = set()

    def news(self) -> list[RunNews]:
        """Runs that began or ended since the last look, oldest first; nothing while the instance cannot be read."""
        try:
            return list(self._find_news())
        except _LATER:
            return []

    def fail_lost(self, is_ours: Callable[[int], bool]) -> list[str]:
        """Call runs failed whose process is gone, so that Dagster starts them again, and return their ids.

        The code server does that for its own runs; those of a code server that died have nobody else. A run is called failed when
        two looks in a row find no process, as the code server may be about to do so.

        Args:
            is_ours: whether a process, by its id, is alive and one of this stack.
        """
        try:
            instance = self._open()
            if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
                return []
            under_way = instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY))
            without = {
                run.run_id: run
                for run in under_way
                if (process := find_process(instance, run)) is not None and not is_ours(process)
            }
            lost = self._suspects & without.keys()
            self._suspects = without.keys() - lost
            for run_id in lost:
                fail_run(instance, without[run_id], "Its process is gone.")
            return sorted(lost)
        except _LATER:
            return []

    def close(self) -> None:
        """Close the instance."""
        if self._instance is not None:
            with suppress(*_LATER):
                self._instance.dispose()
            self._instance = None

    def _open(self) -> dg.DagsterInstance:
        if self._instance is None:
            self._instance = dg.DagsterInstance.from_config(str(self._home))
        return self._instance

    def _find_news(self) -> Iterator[RunNews]:
        # The clock may have been set back meanwhile.
        if (now := time.time()) < self._since:
            self._since, self._begin = now, min(self._begin, now - _OVERLAP_SECONDS)
        after = datetime.fromtimestamp(max(self._since - _OVERLAP_SECONDS, self._begin), UTC)
        wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, *_ENDED], updated_after=after)
        instance = self._open()
        records = instance.get_run_records(wanted, limit=_MOST, order_by="update_timestamp", ascending=True)
        told, self._told = self._told, {record.dagster_run.run_id: record.dagster_run.status for record in records}
        for record in records:
            run = record.dagster_run
            self._since = max(self._since, record.update_timestamp.timestamp())
            if told.get(run.run_id) is run.status:
                continue
            ended = run.status in _ENDED
            seconds = record.end_time - record.start_time if ended and record.end_time and record.start_time else None
            failed = run.status is dg.DagsterRunStatus.FAILURE
            yield RunNews(
                run.run_id,
                run.status.value,
                describe_run(run),
                seconds,
                why_failed(instance, run) if failed else "",
                failed and run.tags.get(WILL_RETRY_TAG) == "true",
            )


def describe_run(run: dg.DagsterRun) -> str:
    """What a run is about, short: the assets, else the job, and its partitions.

    Example:
        >>> describe_run(run)
        'sim/bars_1m, 3 series, 2024-01-11..2024-01-20'
    """
    groups: dict[str, list[str]] = {}
    for key in sorted(run.asset_selection or (), key=lambda key: key.path):
        groups.setdefault("/".join(key.path[:2]), []).extend(key.path[2:])
    assets = [
        f"{group} {series[0]}" if len(series) == 1 else f"{group}, {len(series):,} series" if series else group
        for group, series in groups.items()
    ]
    parts = [", ".join(assets) if len(assets) <= 2 else f"{assets[0]} and {len(assets) - 1} more"] if assets else []
    if (partitions := find_partitions(run)) is not None:
        first, last = partitions
        parts.append(first if first == last else f"{first}..{last}")
    return ", ".join(parts or [run.job_name])


def find_partitions(run: dg.DagsterRun) -> tuple[str, str] | None:
    """The first and the last partition of a run, which may be the same one; None where it has none."""
    key = run.tags.get(_PARTITION_TAG)
    first, last = run.tags.get(RANGE_START_TAG, key), run.tags.get(RANGE_END_TAG, key)
    return (first, last) if first and last else None


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why a run failed, in one line: the last of a failed step's reasons, or what Dagster says of the run."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        failure = event.step_failure_data if event is not None else None
        if failure is not None and failure.error is not None:
            error = failure.error
            while error.cause is not None:
                error = error.cause
            return _one_line(error.message.partition(": ")[2] or error.message)
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        event = entry.dagster_event
        return _one_line(entry.user_message or (event and event.message) or "the run failed")
    return "the run failed"


def find_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The id of the process that executes a run, once it has said so; of the last one, where a launch was repeated."""
    for entry in reversed(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        event = entry.dagster_event
        if (
            event is not None
            and event.step_key is None
            and (value := event.engine_event_data.metadata.get("pid")) is not None
        ):
            with suppress(TypeError, ValueError):
                return int(str(value.value))
    return None


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Call a run failed whose process is gone; Dagster may start it again."""
    instance.report_run_failed(run, why)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def group_of(process: int) -> int | None:
    """The process group of a process; None if there is no such process."""
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(process)
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]
