"""`python -m gb_pipeline.dagster_runtime.guardian LOCK`: end Dagster's processes once who started them is gone.

Who starts them writes their process groups to this program's standard input: `+123` for one more, `-123` for one that has
ended. The kernel closes that pipe when the writer dies, even by SIGKILL; then all of them are ended, runs included. The lock is
held until that is done, so that nobody prepares the home while they still write to it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from filelock import FileLock

# A run that is told to stop finishes the commit that it is in.
GRACE_SECONDS = 15.0


def main() -> None:
    """Keep the list until the pipe ends, then end what is on it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: list[int] = []
    with FileLock(sys.argv[1]):
        for line in sys.stdin:
            if line.startswith("+"):
                groups.append(int(line[1:]))
            else:
                groups.remove(int(line[1:]))
        end_groups(groups)


def end_groups(groups: list[int], seconds: float = GRACE_SECONDS) -> None:
    """Ask some process groups to end, and end hard what is left of them after a while.

    Args:
        groups: their numbers; who gives work to others comes last, and is asked first.
        seconds: how long to wait for all of them together.
    """
    for group in reversed(groups):
        send(group, signal.SIGTERM)
    until = time.monotonic() + seconds
    while any(is_alive(group) for group in groups) and time.monotonic() < until:
        time.sleep(0.05)
    for group in groups:
        send(group, signal.SIGKILL)


def is_alive(group: int) -> bool:
    """Whether any process of a group is left."""
    return send(group, 0)


def send(group: int, number: int) -> bool:
    """Send a signal to a process group; whether there was anybody to get it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
