"""Steps on a small disk that is full again and again: `python -m gb_pipeline_tests.faults.little_space FOLDER ROUNDS`.

The folder is a file system of its own. Before each step nearly all of it is taken away, afterwards given back; a step that finds no
space counts as a whole or not at all, says so, and is taken again.
"""

from __future__ import annotations

import errno
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
    """Leave so many kilobytes, or fewer; other processes may write meanwhile, and what they gave back since is taken too."""
    with ballast.open("ab", buffering=0) as file:
        while (missing := _count_left(ballast.parent) - free * 1024) > 0:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, missing)
            except OSError as error:
                # Somebody else took some of it in between.
                if error.errno != errno.ENOSPC:
                    raise


def _count_left(folder: Path) -> int:
    left = os.statvfs(folder)
    return left.f_bavail * left.f_frsize


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
