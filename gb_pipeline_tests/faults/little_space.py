"""Steps on a small disk that is full again and again: `python -m gb_pipeline_tests.faults.little_space FOLDER ROUNDS`.

The folder is a file system of its own. Before each step nearly all of it is taken away, afterwards given back; a step that finds no
space counts as a whole or not at all, says so, and is taken again.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from random import Random

from gb_pipeline.errors import LakeError
from gb_pipeline_tests.faults.kill_work import Worker
from gb_pipeline_tests.faults.kills import Suspect

# From the first file on, or somewhere between the files, the entry, its mirror and the rest.
_FREE = [0, 0, 4, 8, 12, 16, 24, 32, 48, 64, 128]


def fill(ballast: Path, free: int) -> None:
    """Leave so many kilobytes."""
    size = 0
    with ballast.open("wb", buffering=0) as file:
        left = os.statvfs(ballast.parent)
        size = max(0, left.f_bavail * left.f_frsize - free * 1024)
        os.posix_fallocate(file.fileno(), 0, size) if size else None


def main() -> None:
    """Print how often there was no space, by what was tried."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    suspect, chance, failed = Suspect(folder / "lake", seed=3), Random(3), Counter[str]()
    worker, ballast = Worker(suspect.root), folder / "ballast"
    for _ in range(rounds):
        step = suspect.plan[suspect.next]
        fill(ballast, chance.choice(_FREE))
        try:
            worker.take(step)
            done = 1
        except LakeError as error:
            assert "space" in str(error), error
            done = 0
            failed[step.what] += 1
        ballast.unlink()
        suspect.look(done, cut_off=not done)
        if not done:
            worker.take(step)
            suspect.look(1, cut_off=False)
    suspect.expect_whole()
    worker.vacuum()
    suspect.expect_no_leftovers()
    print(dict(failed))


if __name__ == "__main__":
    main()
