"""Processes that die are started again, later and later, and given up in the end; whoever watches them leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.guardian import is_alive
from gb_pipeline.dagster_runtime.home import prepare_home
from gb_pipeline.dagster_runtime.log_file import LogFile
from gb_pipeline.dagster_runtime.processes import Deaths, Patience
from gb_pipeline.dagster_runtime.runs import RunWatch
from gb_pipeline.dagster_runtime.supervision import Supervisor

IMPATIENT = Patience(first_delay=0.05, longest_delay=0.1, quick=30.0, settled=60.0, most_quick_deaths=3)
SLEEP = "import os, time; from pathlib import Path; Path(f'up-{os.getpid()}').touch(); time.sleep(600)"
# As a code server with a run: a child in the same group, which ignores the first request to end.
FAMILY = (
    "import subprocess, sys; child = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)';"
    "subprocess.Popen([sys.executable, '-c', child]);" + SLEEP
)
OBEDIENT = FAMILY.replace("SIG_IGN", "SIG_DFL")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    watching = Supervisor(tmp_path, LogFile(tmp_path / "log"), said.append, IMPATIENT)
    watching.start()
    yield watching
    watching.stop()


def launch(supervisor: Supervisor, folder: Path, program: str) -> None:
    supervisor.launch("daemon", [sys.executable, "-c", program], folder=folder, environment=os.environ)


def wait_for(done: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


def started(folder: Path) -> list[int]:
    """The processes that came up there, the newest last."""
    return [int(path.name[3:]) for path in sorted(folder.glob("up-*"), key=lambda path: path.stat().st_mtime_ns)]


def wait_for_another(folder: Path, supervisor: Supervisor | None = None) -> int:
    """Wait until one more process has come up, and return its id."""
    before = len(started(folder))
    wait_for(lambda: (supervisor and supervisor.check(), len(started(folder)) > before)[1])
    return started(folder)[-1]


def test_the_delay_doubles_up_to_a_limit_and_begins_anew_after_a_good_while() -> None:
    deaths = Deaths(Patience(first_delay=1, longest_delay=60, quick=10, settled=300, most_quick_deaths=6))

    assert [deaths.record(20) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert deaths.record(301) == 1
    assert [deaths.record(2) for _ in range(5)] == [2, 4, 8, 16, 32]
    assert deaths.record(2) is None


def test_who_lives_for_a_while_in_between_is_not_given_up() -> None:
    deaths = Deaths(Patience(most_quick_deaths=2))

    assert None not in [deaths.record(lived) for lived in (1, 20, 1, 20, 1)]


def test_one_that_is_killed_is_started_again_and_that_is_one_line(
    supervisor: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    launch(supervisor, tmp_path, SLEEP)
    first = wait_for_another(tmp_path)
    os.kill(first, signal.SIGKILL)
    second = wait_for_another(tmp_path, supervisor)

    assert first != second
    assert len(said) == 1
    assert re.fullmatch(
        r"daemon died after \d+ s \(SIGKILL: out of memory\?\); started again in 0 s, see the log", said[0]
    )
    assert f"gb: {said[0]}" in (tmp_path / "log").read_text(encoding="utf-8")


def test_one_that_dies_again_and_again_ends_in_an_error_with_its_last_lines(
    supervisor: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    launch(supervisor, tmp_path, "import sys; print('no module named nothing'); sys.exit(3)")

    with pytest.raises(DagsterError, match=r"daemon died after \d+ s \(exit code 3\): 3 times in a row") as caught:
        wait_for(supervisor.check)
    assert caught.value.__notes__[-1] == "no module named nothing"
    assert str(tmp_path / "log") in caught.value.fix
    assert len(said) == 2


def test_one_that_waits_to_be_started_again_is_not_started_after_the_stop(
    supervisor: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    launch(supervisor, tmp_path, SLEEP)
    os.kill(wait_for_another(tmp_path), signal.SIGKILL)
    wait_for(lambda: (supervisor.check(), said)[1])
    supervisor.stop()
    supervisor.check()

    assert not any(is_alive(process) for process in started(tmp_path))


def test_who_waits_by_the_clock_is_started_again_when_it_is_set_back_and_only_then(
    tmp_path: Path, said: list[str]
) -> None:
    """A clock that is set forward, and a machine that slept, look the same."""
    set_to = [0.0]
    watching = Supervisor(tmp_path, LogFile(tmp_path / "log"), said.append, IMPATIENT, lambda: time.time() + set_to[0])
    watching.start()
    try:
        command = [sys.executable, "-c", SLEEP]
        watching.launch("daemon", command, folder=tmp_path, environment=os.environ, follows_clock=True)
        first = wait_for_another(tmp_path)
        for seconds in (86_400.0, 86_395.0):
            set_to[0] = seconds
            watching.check()
        assert (said, is_alive(first)) == ([], True)

        set_to[0] -= 7200
        second = wait_for_another(tmp_path, watching)
        watching.check()
        assert said == ["the clock was set back by 2 h; daemon is started again"]
        assert (is_alive(first), is_alive(second), len(started(tmp_path))) == (False, True, 2)
    finally:
        watching.stop()


def test_runs_are_news_also_after_the_clock_was_set_back(tmp_path: Path) -> None:
    prepare_home(tmp_path)

    @dg.job
    def nothing() -> None: ...

    watch = RunWatch(tmp_path, time.time() + 7200)
    assert watch.news() == []
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    assert [news.run_id for news in watch.news()] == [run.run_id]
    watch.close()


def test_what_a_dead_process_left_at_work_goes_on_until_the_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    launch(supervisor, tmp_path, FAMILY)
    group = wait_for_another(tmp_path)
    os.kill(group, signal.SIGKILL)
    wait_for_another(tmp_path, supervisor)
    assert is_alive(group)

    supervisor.stop()
    wait_for(lambda: not is_alive(group))


def test_everything_ends_when_the_watching_process_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from gb_pipeline_tests.dagster_runtime.test_supervision import OBEDIENT, IMPATIENT, LogFile, Supervisor, launch\n"
        "folder = Path(sys.argv[1]); watching = Supervisor(folder, LogFile(folder / 'log'), None, IMPATIENT)\n"
        "watching.start(); launch(watching, folder, OBEDIENT); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
        try:
            group = wait_for_another(tmp_path)
        finally:
            process.kill()

    # Whoever comes next waits for that.
    following = Supervisor(tmp_path, LogFile(tmp_path / "log"), None, IMPATIENT)
    following.start()
    following.stop()
    wait_for(lambda: not is_alive(group))
