"""The work of a process that is going to be killed: steps that follow from a seed, each acknowledged when it is done.

Run by `kill_server` in a process of its own for each kill. Whoever checks what is left makes the same steps out of the same seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from random import Random

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.locks import locked
from gb_pipeline_tests.laws.answers import BAD, LENGTHS, SLOTS, SYMBOLS, answer_frame, content
from gb_pipeline_tests.laws.model import SOURCE, Content, Key, Series

UPKEEP = ("compact", "vacuum", "catalog", "checkpoint", "ledger")
_START = datetime(2024, 3, 1, tzinfo=UTC)
# Steps come in blocks: some answers, then everything that looks after a lake.
_WRITES = 7


@dataclass(frozen=True)
class Step:
    """One step; `resolution` is empty where it looks after the lake."""

    number: int
    what: str
    resolution: str = ""
    codes: dict[Key, int] = field(default_factory=dict)
    late: bool = False

    @property
    def now(self) -> datetime:
        """When it is taken; no two steps share a moment."""
        return _START + timedelta(minutes=self.number)

    @property
    def fetched_at(self) -> datetime:
        """When the vendor was asked: some answers come after those to later questions."""
        return self.now - timedelta(minutes=3) if self.late else self.now

    @property
    def series(self) -> list[Series]:
        """Whose answer it is."""
        return [Series(symbol, self.resolution) for symbol in SYMBOLS]

    @property
    def slots(self) -> list[datetime]:
        """The bar opens of its window."""
        return SLOTS[self.resolution]

    @property
    def answer(self) -> dict[Key, Content | None]:
        """What the vendor says; None for a row that breaks a rule."""
        return {key: None if code == BAD else content(code, "standard") for key, code in self.codes.items()}


class Plan:
    """Steps without end, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._steps: list[Step] = []
        self._chance = Random(seed)

    def __getitem__(self, number: int) -> Step:
        while len(self._steps) <= number:
            self._steps += self._block
        return self._steps[number]

    @property
    def _block(self) -> Iterator[Step]:
        kinds = self._chance.sample([*["write"] * _WRITES, *UPKEEP], _WRITES + len(UPKEEP))
        for number, kind in enumerate(kinds, len(self._steps)):
            yield self._write(number) if kind == "write" else Step(number, kind)

    def _write(self, number: int) -> Step:
        chance, resolution = self._chance, self._chance.choice(["1m", "1m", "1d"])
        places = [(Series(symbol, resolution), slot) for symbol in SYMBOLS for slot in SLOTS[resolution]]
        codes = {place: chance.choices([0, 1, 2, 3, BAD, None], [8, 3, 3, 2, 1, 2])[0] for place in places}
        return Step(
            number,
            "write",
            resolution,
            {place: code for place, code in codes.items() if code is not None},
            chance.random() < 0.2,
        )


@dataclass
class Worker:
    """Takes steps on a lake."""

    root: Path
    now: datetime = _START

    @cached_property
    def store(self) -> LakeStore:
        """The lake; its present is that of the step."""
        return LakeStore.at(self.root, clock=lambda: self.now)

    def take(self, step: Step) -> None:
        """One step."""
        self.now = step.now
        if step.what == "write":
            self._write(step)
        else:
            getattr(self, step.what)()

    def _write(self, step: Step) -> None:
        kind, slots = Resolution.parse(step.resolution), step.slots
        self.store.write_bars(
            SOURCE,
            SYMBOLS,
            kind,
            Window(slots[0], slots[-1] + LENGTHS[step.resolution]),
            answer_frame(step.answer),
            rules=BarRules(resolution=kind, max_bad_fraction=1.0),
            fetched_at=step.fetched_at,
        )

    def compact(self) -> None:
        """Every partition of several files becomes one file."""
        for partition in self.store.compaction_candidates(min_files=2):
            self.store.compact(partition)

    def vacuum(self) -> None:
        """Everything goes that the newest versions do not need."""
        later = datetime.now(UTC) + timedelta(days=60)
        self.store.vacuum(retention=timedelta(hours=1), dry_run=False, now=later)

    def catalog(self) -> None:
        """The catalog is made anew."""
        refresh_catalog(self.store)

    def checkpoint(self) -> None:
        """Every table gets a checkpoint, as it does after many commits."""
        for found in list(self.store.tables.existing()):
            with locked(self.store.storage.state, found.dataset.name):
                if self.store.tables.newest(found.dataset.name).version > 0:
                    self.store.tables[found.dataset.name].checkpoint()

    def ledger(self) -> None:
        """The ledger takes over what entries carry."""
        ledger.take_over_all(self.store.tables, clock=self.store.clock)


def work(root: Path, seed: int, first: int, last: int, acknowledge: int) -> None:
    """Take the steps from `first` up to `last`, and write the number of each that is done to a file descriptor."""
    plan, worker = Plan(seed), Worker(root)
    for number in range(first, last):
        worker.take(plan[number])
        os.write(acknowledge, f"{number}\n".encode())
