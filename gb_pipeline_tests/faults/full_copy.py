"""Copies to a small disk that is full: `python -m gb_pipeline_tests.faults.full_copy FOLDER LAKE`.

The folder is a file system of its own, and nearly all of it is taken away before each copy. A copy that finds no space says so,
leaves what was there readable, and goes on once there is space. Prints how often there was none, by command.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.faults.little_space import fill

# Kilobytes: nothing at all, some data files, all of them and no log, some of the log.
_FREE = (0, 4, 8, 16, 32, 64)


def main() -> None:
    """Back up and restore with too little space, then with enough."""
    folder, source, failed = Path(sys.argv[1]), Path(sys.argv[2]), Counter[str]()
    ballast = folder / "ballast"
    for command in ("backup", "restore"):
        for number, free in enumerate(_FREE, start=2):
            date = f"2024-02-{number:02}"
            LakeStore.at(source).write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date), minutes(date, 200))
            # A lake that was restored is another one from then on; a backup goes on for ever.
            target = folder / (command if command == "backup" else f"{command}-{number}")
            before = bars(target)
            fill(ballast, free)
            try:
                copy(source, target, command)
            except LakeError as error:
                assert "No space left" in str(error) and "make room" in error.fix, error
                failed[command] += 1
                # All of it counts, or nothing.
                assert command == "restore" or bars(target) in {before, bars(source)}
            ballast.unlink()
            copy(source, target, command)
            assert bars(target) == bars(source)
            assert verify(LakeStore.at(target)).ok
    print(dict(failed))


def copy(source: Path, target: Path, command: str) -> None:
    """What `gb backup` or `gb restore` does."""
    plan_copy(LakeStore.at(source), LakeStore.at(target), restore=command == "restore").run()


def bars(folder: Path) -> str | None:
    """The fingerprint of what is read there; None where nothing is."""
    store = LakeStore.at(folder)
    if store.tables.newest("bars_1m").version < 0:
        return None
    assert Lake(store).bars("BTC-USD", "1m").height
    return Lake(store).fingerprint().whole


if __name__ == "__main__":
    main()
