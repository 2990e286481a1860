"""`python -m gb_pipeline.dagster_runtime.child_process PARENT COMMAND...`: become a command that cannot outlive its parent.

This is what has to happen between fork and exec. A shell starts `command &` with SIGINT ignored, Dagster maps SIGTERM to
its SIGINT handler, and ignored signals are inherited: such a Dagster cannot be stopped. So both are set back first. On Linux
the kernel then sends SIGTERM when the parent dies, even by SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Restore signals, tie the process to its parent, and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
