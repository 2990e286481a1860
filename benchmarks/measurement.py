"""Taking and holding measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gb_pipeline import Lake, LakeStore


@dataclass(frozen=True)
class Measurement:
    """One line of the table.

    Attributes:
        name: what was measured.
        value, unit: the result.
        target: what it should be, as text such as `<= 22`; empty without a target.
        met: whether it is; None without a target.
        by_hand: what is compared with, and the ratio; empty where nothing is.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    by_hand: str = ""


def medians(
    sides: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each side. They take turns, so that a busy moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, act in sides.items():
            began = clock()
            act()
            if turn:  # the first turn warms up
                seconds[name].append(clock() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def compact(store: LakeStore) -> None:
    """Merge the files of every period that lies in more than one, with proof."""
    store.compact(*store.compaction_candidates(min_files=2))


@contextmanager
def new_lake() -> Iterator[Lake]:
    """An empty lake that is gone afterwards."""
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        yield Lake.open(Path(folder), create=True)
