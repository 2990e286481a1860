"""What a contender has to offer, and which ones there are.

This runs in the peers' environment as well as in ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from benchmarks.peers.batch import Batch
from benchmarks.peers.questions import KINDS, Question

OURS = "gb_pipeline"
# The same with answers that are kept, in memory or in files alone.
OURS_IN_MEMORY, OURS_ON_DISK = "gb_pipeline_memory", "gb_pipeline_disk"
OWN = (OURS, OURS_IN_MEMORY, OURS_ON_DISK)
# Name to module; ours comes first in every table.
CONTENDERS = {
    OURS: "ours",
    OURS_IN_MEMORY: "ours_in_memory",
    OURS_ON_DISK: "ours_on_disk",
    "arcticdb_pandas": "arctic",
    "duckdb_native": "duckdb_native",
    "duckdb_parquet": "duckdb_parquet",
    "parquet_polars": "parquet_polars",
    "zipline_bcolz": "zipline_bcolz",
}


class Contender(ABC):
    """One library that can store bars. What it cannot do it leaves out of `acts`, and sits that work out.

    `open`, `look`, `prepare`, `read`, `rows` and `close` are not timed; the acts are, and `ask` with a pass over each of `columns`;
    in a fresh process `open` is, too.
    """

    acts: ClassVar[frozenset[str]] = frozenset({"write", "append", "add_day", "replace", "compact"}) | KINDS
    exactness: ClassVar[str] = "exact"  # what `judge` has to find at least

    @abstractmethod
    def open(self, folder: Path, resolution: str) -> None:
        """Open the store in a folder, which is empty or was written by this contender."""

    def look(self) -> None:
        """Find out what `compact` has to know of a store that was opened."""
        return

    @abstractmethod
    def prepare(self, batch: Batch) -> Any:
        """The rows as the library wants them; what comes back is handed to an act."""

    @abstractmethod
    def write(self, data: Any) -> object:
        """Store series that are not there yet."""

    @abstractmethod
    def append(self, data: Any) -> object:
        """Add what follows upon what is stored of some series."""

    def add_day(self, data: Any) -> object:
        """The same where one day after another is kept and nothing was there before."""
        return self.append(data)

    @abstractmethod
    def replace(self, data: Any) -> object:
        """Put other values in place of everything that is stored of some series in a window."""

    @abstractmethod
    def compact(self) -> object:
        """Read all that many small writes left, and rewrite it as one piece for each series."""

    @abstractmethod
    def read(self) -> pa.Table:
        """Everything that is stored, in the columns of `batch.SCHEMA`, in any order."""

    @abstractmethod
    def ask(self, question: Question) -> Any:
        """Answer a question, as the library's documentation advises, with float64 numbers in the order of time."""

    @abstractmethod
    def columns(self, answer: Any) -> Iterable[Any]:
        """The numbers of an answer as arrays of NumPy; each is passed over, so that what is lazy or mapped pays for its bytes."""

    @abstractmethod
    def rows(self, answer: Any, question: Question) -> pa.Table:
        """An answer as rows that can be compared: see `numbers`."""

    def close(self) -> None:
        """Let go of the store, so that its folder can be copied, measured and removed."""
        return


def contender(name: str) -> Contender:
    """A contender by its name."""
    module = import_module(f"benchmarks.peers.contenders.{CONTENDERS[name]}")
    made: Contender = module.contender()
    return made
