"""What terms are made of: a graph of operations, each a Polars expression over the columns that its inputs were computed into.

Nothing here knows a lake. Two nodes with the same operation, parameters and inputs are one: they are computed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

# An expression over the columns of a node's inputs.
Build = Callable[..., pl.Expr]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WindowRows:
    """Rows whose windows an array operation is given.

    Attributes:
        windows: for each input, an array (rows, window length), the newest number last; NaN where there is none.
        sessions: of each row, days since 1970 (Int32).
        symbols: of each row, its number in `names`.
        names: of the symbols.
        live: which of the rows are results, rather than what later windows are made of.
    """

    windows: tuple[Floats, ...]
    sessions: npt.NDArray[np.int32]
    symbols: npt.NDArray[np.int32]
    names: tuple[str, ...]
    live: npt.NDArray[np.bool_]


class Axis(StrEnum):
    """Which rows an operation looks at."""

    SOURCE = "source"
    """None: the numbers come from a dataset."""
    ROW = "row"
    """Its own: arithmetic."""
    SERIES = "series"
    """The rows of one symbol up to its own."""
    RUN = "run"
    """The same, up to the last session at which its first input had no number: recursions begin anew behind a gap."""
    EARLIER = "earlier"
    """The row of the same symbol that stands `lookback` rows before."""
    COLUMNS = "columns"
    """The last so many rows of each row, computed for a whole column at once; null where one has no number."""
    WINDOWS = "windows"
    """The same, as NumPy arrays: the last so many rows of each row, side by side."""
    SESSION = "session"
    """The rows of all symbols of one session that are in the universe."""
    BENCHMARK = "benchmark"
    """The row of one symbol in its session, in the universe or not; the symbol is the first parameter."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        operation: its name.
        parameters: what it was called with; whatever changes its result.
        inputs: what it is computed from.
        axis: which rows it looks at.
        build: makes the expression from those of the inputs.
        columns: computes a number per window from columns, where the axis is `columns`; see `doubling`.
        arrays: computes a number per row from windows, where the axis is `windows`; `lookback + 1` rows are in each.
        by_session: `arrays` wants whole sessions, as zipline's `compute` does.
        lookback: how many sessions before its own row it looks at.
        source: the column of a dataset, where the axis is `source`.
    """

    operation: str
    parameters: tuple[Hashable, ...] = ()
    inputs: tuple[Node, ...] = ()
    axis: Axis = Axis.ROW
    build: Build | None = None
    columns: Callable[[Sequence[Floats], int], Floats] | None = None
    arrays: Callable[[WindowRows], Floats] | None = None
    by_session: bool = False
    lookback: int = 0
    source: Any = None
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Name the node by its content."""
        content = repr((self.operation, self.axis, self.parameters, [node.digest for node in self.inputs]))
        object.__setattr__(self, "digest", hashlib.sha256(content.encode()).hexdigest()[:24])

    def __eq__(self, other: object) -> bool:
        """Whether both are the same computation."""
        return isinstance(other, Node) and self.digest == other.digest

    def __hash__(self) -> int:
        """Of its content."""
        return hash(self.digest)


def distinct(roots: Iterator[Node] | list[Node]) -> list[Node]:
    """Every node below some, each once, inputs before what is computed from them."""
    found: dict[str, Node] = {}
    stack = [(node, False) for node in reversed(list(roots))]
    while stack:
        node, inputs_done = stack.pop()
        if node.digest in found:
            continue
        if inputs_done:
            found[node.digest] = node
        else:
            stack.append((node, True))
            stack.extend((each, False) for each in reversed(node.inputs))
    return list(found.values())


def lookbacks(nodes: list[Node]) -> Mapping[str, int]:
    """By digest, how many sessions before its row the number of a node depends on; `nodes` as `distinct` returns them."""
    known: dict[str, int] = {}
    for node in nodes:
        known[node.digest] = node.lookback + max((known[each.digest] for each in node.inputs), default=0)
    return known
