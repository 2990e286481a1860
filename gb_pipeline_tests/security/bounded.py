"""A process of its own for hostile input, that dies rather than take the machine along, and says how much memory it took."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

_PROGRAM = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
{setup}
before = peak()
try:
    {act}
    said = ["", ""]
except Exception as error:
    said = [type(error).__name__, str(error)]
print(json.dumps([*said, peak() - before]))
"""


@dataclass(frozen=True)
class Ending:
    """How it ended: the error (empty names for none), and by how many megabytes the process grew."""

    error: str
    text: str
    megabytes: int


def run(setup: str, act: str) -> Ending:
    """Run `act` after `setup`, whose memory does not count."""
    program = _PROGRAM.format(setup=setup, act=act)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Ending(*json.loads(done.stdout.splitlines()[-1]))
