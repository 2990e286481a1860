"""This module starts failed runs again that are to be started again, until each of them has been.

Dagster's own daemon looks at a failure once: where it finds no code server at that moment it gives the retry up, and the backfill
of the run ends as failed. Here the wish is the tag that Dagster sets on a failed run, and it holds until there is another run in
its place. How often a run is started again, and how, stays Dagster's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.private import WILL_RETRY_TAG
from gb_pipeline.dagster_runtime.private_daemon import (
    AUTO_RETRY_RUN_ID_TAG,
    RETRY_NUMBER_TAG,
    LocationError,
    UnreachableError,
    Workspace,
    retry_run,
    should_retry,
)

# Between two attempts for one run, doubled each time.
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
# Of attempts that failed although the code server answered: ten minutes.
_MOST_FAILURES = 12
_LONGEST_REASON = 300
# A process that died between saying that its run failed and setting the tag: later than this the run is a thing of the past.
_UNTAGGED = timedelta(hours=1)


class Retries:
    """Starts failed runs again, with growing pauses.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet: what waits is asked of the instance, so nothing is lost when this process ends."""
        self._clock = clock
        self._started_again: set[str] = set()
        self._decided: set[str] = set()
        self._suspects: set[str] = set()
        self._due: dict[str, float] = {}
        self._attempts: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._log = logging.getLogger("dagster.daemon.Retries")

    def look(self, context: Workspace[Any]) -> Iterator[None]:
        """Start again what is due, one run after the other.

        Args:
            context: the daemon's instance and its code locations.
        """
        instance = context.instance
        for run in [*self._find_undecided(instance), *self._find_waiting(instance), *_find_unsubmitted(instance)]:
            if self._clock() >= self._due.get(run.run_id, 0.0):
                self._retry(run, context)
            yield

    def attempts(self, run_id: str) -> int:
        """How often a run could not be started again so far, since this process began."""
        return self._attempts.get(run_id, 0)

    def _find_waiting(self, instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
        """Runs with the tag. Those that have been started again keep it for ever, and are read once."""
        tagged = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "true"})
        runs = _get_runs(instance, set(instance.get_run_ids(tagged)) - self._started_again)
        self._started_again |= {run.run_id for run in runs if AUTO_RETRY_RUN_ID_TAG in run.tags}
        return [run for run in runs if run.run_id not in self._started_again]

    def _find_undecided(self, instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
        """Runs that failed lately without a word about being started again, at this look and at the one before.

        Who says that a run failed says why, and whether it is started again, a moment later.
        """
        lately = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.now(UTC) - _UNTAGGED)
        runs = _get_runs(instance, set(instance.get_run_ids(lately)) - self._decided)
        self._decided |= {run.run_id for run in runs if WILL_RETRY_TAG in run.tags}
        undecided = [run for run in runs if run.run_id not in self._decided]
        suspects, self._suspects = self._suspects, {run.run_id for run in undecided}
        return [run for run in undecided if run.run_id in suspects]

    def _retry(self, run: dg.DagsterRun, context: Workspace[Any]) -> None:
        instance = context.instance
        try:
            # False also where its backfill was cancelled, or is over.
            if not should_retry(run, instance):
                instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
                return
            retry_run(run, context)
            again = instance.get_run_by_id(run.run_id)
            if again is not None and AUTO_RETRY_RUN_ID_TAG not in again.tags:
                raise dg.DagsterInvariantViolationError("its job is in none of the code locations any more")
        except (UnreachableError, LocationError) as error:
            self._wait(run, error)
        except dg.DagsterInvalidSubsetError as error:
            # All steps were done, only the last word of the run was not said.
            self._give_up(run, instance, error)
        except Exception as error:
            self._failures[run.run_id] = self._failures.get(run.run_id, 0) + 1
            if self._failures[run.run_id] < _MOST_FAILURES:
                self._wait(run, error)
            else:
                self._give_up(run, instance, error)

    def _wait(self, run: dg.DagsterRun, error: Exception) -> None:
        attempts = self._attempts[run.run_id] = self.attempts(run.run_id) + 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempts - 1))
        self._due[run.run_id] = self._clock() + pause
        self._log.warning(f"Run {run.run_id} cannot be started again yet, and is in {pause:.0f} s: {_one_line(error)}")

    def _give_up(self, run: dg.DagsterRun, instance: dg.DagsterInstance, error: Exception) -> None:
        why = f"This run is not started again: {_one_line(error)}"
        self._log.error(f"{run.run_id}: {why}")
        instance.report_engine_event(why, run)
        instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})


def _get_runs(instance: dg.DagsterInstance, run_ids: set[str]) -> list[dg.DagsterRun]:
    # Without an id the filter would be none.
    return list(instance.get_runs(dg.RunsFilter(run_ids=sorted(run_ids)))) if run_ids else []


def _find_unsubmitted(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Failed runs in whose place a run was made, and then this process died before it was queued."""
    made = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED]))
    parents = {run.parent_run_id for run in made if RETRY_NUMBER_TAG in run.tags and run.parent_run_id}
    return _get_runs(instance, parents)


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_REASON]
