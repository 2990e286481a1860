"""One round robin: who is next, in which folder, what it took, and whether the answer is right."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from uuid import uuid4

from benchmarks.peers.answers import judge_answer
from benchmarks.peers.judge import Exactness, judge
from benchmarks.peers.process import ContenderProcess
from benchmarks.peers.questions import Question
from benchmarks.peers.truth import Truth

WARM_UP = -1


@dataclass
class Taken:
    """What one contender took for one work.

    Attributes:
        wall, cpu: seconds of each sample; processor seconds are of all threads.
        bytes_per_row: of the whole store, where it was weighed.
        exactness: the least that any of its answers kept.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bytes_per_row: float | None = None
    exactness: Exactness = Exactness.EXACT

    @property
    def median_wall(self) -> float:
        """Median seconds."""
        return median(self.wall)

    @property
    def median_cpu(self) -> float:
        """Median processor seconds."""
        return median(self.cpu)


@dataclass
class Store:
    """A folder that a contender has open."""

    process: ContenderProcess
    folder: Path
    is_open: bool = True

    def open(self, resolution: str) -> None:
        """Let the contender open it again."""
        self.process.ask("open", folder=str(self.folder), resolution=resolution)
        self.is_open = True

    def close(self) -> None:
        """Let the contender put everything into its files, and let go of them."""
        if self.is_open:
            self.is_open = False
            self.process.ask("close")


class Race:
    """All contenders, their turns, and what they took."""

    def __init__(self, processes: Sequence[ContenderProcess], samples: int) -> None:
        """So many counted samples of everything."""
        self.processes = list(processes)
        self.taken: dict[str, dict[str, Taken]] = {}
        self._samples = samples

    def samples(self, at_most: int | None = None) -> range:
        """The numbers of the samples; the first, `WARM_UP`, is checked and not counted."""
        return range(WARM_UP, min(self._samples, at_most or self._samples))

    def turns(self, sample: int, act: str) -> list[ContenderProcess]:
        """Who is next in this sample, of those that can do it; another one begins each time."""
        able = [process for process in self.processes if act in process.acts]
        first = sample % len(able) if able else 0
        return able[first:] + able[:first]

    def load(self, act: str, batches: dict[str, Truth]) -> None:
        """Hand batches to everybody that can do this, in place of earlier ones."""
        for process in self.turns(0, act):
            process.ask("forget")
            for name, batch in batches.items():
                process.load(name, batch)

    @contextmanager
    def store(self, process: ContenderProcess, resolution: str, copy_of: Path | None = None) -> Iterator[Store]:
        """A new store, empty or with a copy of another's files, that is gone afterwards."""
        folder = process.folder / uuid4().hex[:8]
        if copy_of is None:
            folder.mkdir()
        else:
            shutil.copytree(copy_of, folder)
        process.ask("open", folder=str(folder), resolution=resolution)
        store = Store(process, folder)
        try:
            yield store
            store.close()
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def stores(self, act: str, resolution: str) -> Iterator[dict[str, Store]]:
        """A new store for everybody that can do this, by its name."""
        with ExitStack() as stack:
            yield {process.name: stack.enter_context(self.store(process, resolution)) for process in self.turns(0, act)}

    def time(self, work: str, sample: int, store: Store, act: str, batches: Iterable[str] = ()) -> None:
        """Let the contender of a store do an act, and note what it took."""
        told = store.process.ask("time", act=act, names=list(batches))
        if sample != WARM_UP:
            self._note(work, store.process, told)

    def ask(self, work: str, sample: int, store: Store, questions: Sequence[Question], truth: Truth) -> None:
        """Let the contender of a store answer some questions, note what one took, and compare each answer with the truth.

        Raises:
            WrongAnswer: they differ by more than the contender promises.
        """
        self._ask(work, sample, store.process, questions, truth)

    def ask_fresh(
        self, works: Sequence[str], sample: int, store: Store, questions: Sequence[Question], truth: Truth
    ) -> None:
        """The same in a new process that opens the closed store: the first of `works` is to start and to import, each further
        one a question, of which the first opens the store as well.
        """
        scratch = store.process.folder / uuid4().hex[:8]
        with ContenderProcess(store.process.name, store.process.python, scratch) as process:
            if sample != WARM_UP:
                self._note(works[0], process, process.started)
            opening = {"folder": str(store.folder), "resolution": truth.resolution}
            for work, question in zip(works[1:], questions, strict=True):
                self._ask(work, sample, process, [question], truth, **opening)
                opening = {}
            process.ask("close")
        shutil.rmtree(scratch)

    def _ask(
        self,
        work: str,
        sample: int,
        process: ContenderProcess,
        questions: Sequence[Question],
        truth: Truth,
        **opening: str,
    ) -> None:
        told = process.ask("ask", questions=[question.told() for question in questions], **opening)
        if sample != WARM_UP:
            self._note(work, process, told)
        path = process.folder / "answer.arrow"
        process.ask("tell", path=str(path))
        taken = self._taken(work, process)
        for number, question in enumerate(questions):
            answer = path.with_name(f"{path.name}.{number}")
            taken.exactness = min(
                taken.exactness, judge_answer(process.name, answer, truth, question, process.exactness)
            )
            answer.unlink()

    def check(self, work: str, store: Store, truth: Truth) -> None:
        """Compare everything that a store holds with the truth.

        Raises:
            WrongAnswer: they differ by more than the contender promises.
        """
        answer = store.process.folder / "answer.arrow"
        store.process.ask("read", path=str(answer))
        taken = self._taken(work, store.process)
        taken.exactness = min(taken.exactness, judge(store.process.name, answer, truth, store.process.exactness))

    def weigh(self, work: str, store: Store, rows: int) -> None:
        """Close a store and note its bytes per row: every file below its folder, whatever it is for."""
        store.close()
        self._taken(work, store.process).bytes_per_row = sum(_bytes(path) for path in store.folder.rglob("*")) / rows

    def _note(self, work: str, process: ContenderProcess, told: Mapping[str, float]) -> None:
        taken = self._taken(work, process)
        taken.wall.append(told["wall"])
        taken.cpu.append(told["cpu"])

    def _taken(self, work: str, process: ContenderProcess) -> Taken:
        return self.taken.setdefault(work, {}).setdefault(process.name, Taken())


def _bytes(path: Path) -> int:
    # LMDB's file is as long as it may become; what it takes of the disk is less.
    found = path.lstat()
    return min(found.st_size, found.st_blocks * 512) if path.is_file() else 0
