"""A backfill while the disk under Dagster's home is full: `python -m gb_pipeline_tests.faults.full_instance HOME PROJECT`.

The home is a file system of its own. In the middle of the backfill all of it is taken away, and given back once the run at work
has failed for want of it. Prints what became of the backfill, and the statuses of the runs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml

from gb_pipeline.dagster_runtime.client import DagsterUnreachable
from gb_pipeline.dagster_runtime.home import read_template
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline_tests.faults.little_space import fill
from gb_pipeline_tests.processes import WORKER, find_processes

_SYMBOLS = ("LTC-USD", "BCH-USD")
_DAYS = [f"2024-01-{day:02d}" for day in range(1, 9)]
# A run has something to write at its end at the latest.
_MOST_SECONDS = 120.0
_RUNS = "{ runsOrError(limit: 100) { ... on Runs { results { runId status jobName } } } }"


def main() -> None:
    """Launch, fill the disk once a run is at work, make room, and wait for the end."""
    home, project = Path(sys.argv[1]), Path(sys.argv[2])
    events: list[str] = []
    # What was being launched is given up after five minutes: too long for a test, and on a busy machine it takes a while.
    settings = yaml.safe_load(read_template())
    settings["run_monitoring"] |= {"start_timeout_seconds": 45, "poll_interval_seconds": 3}
    config = project / "impatient.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    stack = Stack(project, home / "dagster", config=config, on_event=events.append)
    stack.start(daemon=False)
    try:
        assets = [["sim", "bars_1m", symbol] for symbol in _SYMBOLS]
        backfill = stack.client.launch_backfill(assets, _DAYS)
        stack.start_daemon()
        stack.client.wait(lambda: statuses(stack), lambda seen: "STARTED" in seen, "a run", 240, alive=stack.check)
        starve(stack, home / "ballast")
        done = stack.wait_backfill(backfill, timeout=300)
        left = stack.client.wait(
            lambda: statuses(stack), lambda seen: set(seen) <= {"SUCCESS", "FAILURE"}, "all runs", alive=stack.check
        )
        print({"backfill": done.status, "materialized": done.materialized, "runs": sorted(left), "events": events})
    finally:
        stack.stop()


def starve(stack: Stack, ballast: Path) -> None:
    """Keep the disk full until no process of a run that was at work is left, and then make room."""
    fill(ballast, 0)
    workers, until = find_processes(stack.home, WORKER).keys(), time.monotonic() + _MOST_SECONDS
    assert workers, "no run was at work any more"
    while workers & find_processes(stack.home, WORKER).keys():
        assert time.monotonic() < until, "a run goes on although the disk is full"
        stack.check()
        time.sleep(0.5)
        # What somebody deletes is gone again.
        fill(ballast, 0)
    ballast.unlink()


def statuses(stack: Stack) -> list[str]:
    """Of all runs; none while the page cannot read them."""
    try:
        runs = stack.graphql(_RUNS)["runsOrError"]["results"]
    except (DagsterUnreachable, KeyError):
        return ["UNKNOWN"]
    return [run["status"] for run in runs if run["jobName"] == "__ASSET_JOB"]


if __name__ == "__main__":
    main()
