"""A process of its own for hostile input, that dies rather than take the machine along, and says how much memory it took.

Each is forked from one that has imported everything, which takes longer than most hostile input: `python -m
gb_pipeline_tests.security.bounded` takes a program a line, as JSON, and answers with what it printed. Nothing is computed there
before a fork, so no pool of threads exists that a child would lack.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(_PROGRAM.format(setup=setup, act=act)) + "\n")
    server.stdin.flush()
    status, said = json.loads(server.stdout.readline())
    assert status == 0, said[-2000:]
    return Ending(*json.loads(said.splitlines()[-1]))


@cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gb_pipeline_tests.security.bounded"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]
    )
    atexit.register(process.communicate)
    return process


def main() -> None:
    """Run programs until there are no more."""
    import httpx  # noqa: F401

    import gb_pipeline.config.settings  # noqa: F401
    import gb_pipeline.providers.csv.provider  # noqa: F401
    import gb_pipeline.providers.http.client  # noqa: F401

    for line in sys.stdin:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            child = os.fork()
            if child == 0:
                _work(json.loads(line), output.fileno())
            _, status = os.waitpid(child, 0)
            output.seek(0)
            print(json.dumps([status, output.read()]), flush=True)


def _work(program: str, output: int) -> None:
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(output, stream)
        exec(compile(program, "hostile", "exec"), {"__name__": "__main__"})
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
