"""What terms are made of: a graph of operations, each a Polars expression over the columns that its inputs were computed into.

Nothing here knows a lake. Two nodes with the same operation, parameters and inputs are one: they are computed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl

# An expression over the columns of a node's inputs.
Build = Callable[..., pl.Expr]


class Axis(StrEnum):
    """Which rows an operation looks at."""

    SOURCE = "source"
    """None: the numbers come from a dataset."""
    ROW = "row"
    """Its own: arithmetic."""
    SERIES = "series"
    """The rows of one symbol up to its own."""
    SESSION = "session"
    """The rows of all symbols of one session."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        operation: its name.
        parameters: what it was called with; whatever changes its result.
        inputs: what it is computed from.
        axis: which rows it looks at.
        build: makes the expression from those of the inputs.
        lookback: how many sessions before its own row it looks at.
        source: the column of a dataset, where the axis is `source`.
    """

    operation: str
    parameters: tuple[Hashable, ...] = ()
    inputs: tuple[Node, ...] = ()
    axis: Axis = Axis.ROW
    build: Build | None = None
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
