"""What ends a command that runs until it is stopped, and what does not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys, time
from gb_pipeline.cli.running import stoppable
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
with stoppable():
    try:
        print("up", flush=True)
        time.sleep(600)
    finally:
        print("stopped in order", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(
    ("option", "sent", "code"),
    [
        ("", [signal.SIGTERM], 143),
        ("", [signal.SIGHUP], 129),
        ("nohup", [signal.SIGHUP, signal.SIGTERM], 143),
    ],
)
def test_a_signal_stops_everything_in_order_and_is_the_exit_code(
    option: str, sent: list[signal.Signals], code: int
) -> None:
    """With `nohup` a closed terminal is no reason."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, option], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for number in sent:
            process.send_signal(number)
        assert process.stdout.read() == "stopped in order\n"
        assert process.wait(60) == code
