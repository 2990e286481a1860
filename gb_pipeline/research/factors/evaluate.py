"""How a graph of nodes is computed over a frame: each node once, in as few passes over the frame as their order allows.

The frame has a row per series and session, series after series in the order of symbols, each in the order of time: `series`,
`symbol` (a number), `session` (a number), `live` (a row of the result, each symbol and session once; the others are what
windows are made of), `member` (in the universe), `place` (how many rows of its series stand before it), `home` (the live row of the
same symbol and session). Every series begins with a row without numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.research.factors.nodes import Axis, Floats, Node, WindowRows, distinct

# Windows are laid out side by side for so many numbers at a time, which fit into a core's cache.
_NUMBERS_AT_ONCE = 1 << 16
# And of columns so many rows are computed at a time.
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Evaluation:
    """What evaluating needs to know beside the frame.

    Attributes:
        names: of the symbols, by their number.
        several_series: whether a symbol may have several series, so that a row and its live row differ.
    """

    names: tuple[str, ...]
    several_series: bool

    def run(self, frame: pl.DataFrame, roots: Sequence[Node]) -> pl.DataFrame:
        """The frame, with a column named by its digest for each root; columns of sources are there already."""
        nodes = distinct(list(roots))
        stages = _stages(nodes, roots)
        last_use = _last_uses(nodes, roots, stages)
        for number in range(1, max(stages.values(), default=0) + 1):
            frame = self._pass(frame, [node for node in nodes if stages.get(node.digest) == number], stages)
            done = [
                name for name in frame.columns if last_use.get(name, number + 1) <= number or name.startswith("run ")
            ]
            frame = frame.drop(done)
        return frame

    def _pass(self, frame: pl.DataFrame, nodes: Sequence[Node], stages: Mapping[str, int]) -> pl.DataFrame:
        firsts = {node.inputs[0].digest for node in nodes if node.axis is Axis.RUN}
        if firsts:
            frame = frame.with_columns(_runs(digest) for digest in sorted(firsts))
        numbers = [node for node in nodes if node.axis in {Axis.COLUMNS, Axis.WINDOWS}]
        expressions = [self._expression(node, stages).alias(node.digest) for node in nodes if node not in numbers]
        # Every column is an input and none is a result of the same pass, so their order is of no matter.
        frame = frame.lazy().with_columns(expressions).collect(engine="in-memory")
        inputs = _Numbers(frame)
        arrays = [
            pl.Series(
                node.digest,
                self._from_windows(inputs, node) if node.columns is None else _from_columns(inputs, node),
                nan_to_null=True,
            )
            for node in numbers
        ]
        frame = frame.with_columns(arrays)
        if self.several_series:
            across = [node.digest for node in nodes if node.axis in {Axis.SESSION, Axis.BENCHMARK}]
            frame = frame.with_columns(pl.col(across).gather(pl.col("home"))) if across else frame
        return frame

    def _expression(self, node: Node, stages: Mapping[str, int], *, top: bool = True) -> pl.Expr:
        if not top and node.digest in stages:
            return pl.col(node.digest)
        inputs = [self._expression(each, stages, top=False) for each in node.inputs]
        if node.axis is Axis.EARLIER:
            return pl.when(pl.col("place") >= node.lookback).then(inputs[0].shift(node.lookback))
        if node.axis is Axis.BENCHMARK:
            number = self.names.index(str(node.parameters[0])) if str(node.parameters[0]) in self.names else -1
            benchmark = pl.when(pl.col("live") & (pl.col("symbol") == number)).then(inputs[0])
            return benchmark.drop_nulls().first().over("session")
        assert node.build is not None
        if node.axis in {Axis.SERIES, Axis.RUN}:
            along = "series" if node.axis is Axis.SERIES else f"run {node.inputs[0].digest}"
            return node.build(*inputs).over(along)
        if node.axis is Axis.SESSION:
            grouped = len(inputs) > 1
            counts = pl.col("live") & pl.col("member")
            counts = counts & inputs[1].is_not_null() if grouped else counts
            own = node.build(pl.when(counts).then(inputs[0]))
            keys = ["session", pl.when(counts).then(inputs[1])] if grouped else ["session"]
            return pl.when(counts & inputs[0].is_not_null()).then(own.over(*keys))
        return node.build(*inputs)

    def _from_windows(self, inputs: _Numbers, node: Node) -> Floats:
        assert node.arrays is not None
        window, frame = node.lookback + 1, inputs.frame
        columns = [inputs.column(each.digest) for each in node.inputs]
        sessions, symbols = frame["session"].to_numpy(), frame["symbol"].to_numpy()
        live = frame["live"].to_numpy()
        result = np.full(frame.height, np.nan)
        # The rows whose window lies within their series, and has its numbers.
        whole = frame["place"].to_numpy() >= window - 1
        if not node.by_session:
            whole &= inputs.complete(node)
        ends = np.flatnonzero(whole)
        views = [np.lib.stride_tricks.sliding_window_view(own, window) for own in columns] if len(ends) else []
        for chosen in _portions(ends, sessions, live, window, whole=node.by_session):
            rows = tuple(np.ascontiguousarray(view[chosen - window + 1]) for view in views)
            result[chosen] = node.arrays(WindowRows(rows, sessions[chosen], symbols[chosen], self.names, live[chosen]))
        result[~np.isfinite(result)] = np.nan
        return result


class _Numbers:
    """Columns of a frame as arrays, each made once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._columns: dict[str, Floats] = {}
        self._since: dict[str, npt.NDArray[np.int32]] = {}

    def column(self, digest: str) -> Floats:
        """A column, NaN where there is no number."""
        if digest not in self._columns:
            self._columns[digest] = self.frame[digest].cast(pl.Float64).to_numpy()
        return self._columns[digest]

    def complete(self, node: Node) -> npt.NDArray[np.bool_]:
        """Where the window of a row lies within its series, and every input has a number in each of its rows."""
        whole = self._whole_rows(node.inputs[0].digest) > node.lookback
        for each in node.inputs[1:]:
            whole &= self._whole_rows(each.digest) > node.lookback
        return whole

    def _whole_rows(self, digest: str) -> npt.NDArray[np.int32]:
        """How many rows up to each one, of its series, have a number without a hole."""
        if digest not in self._since:
            rows = np.arange(self.frame.height, dtype=np.int32)
            holes = np.where(np.isnan(self.column(digest)), rows, rows - self.frame["place"].to_numpy() - 1)
            self._since[digest] = rows - np.maximum.accumulate(holes)
        return self._since[digest]


def _from_columns(inputs: _Numbers, node: Node) -> Floats:
    assert node.columns is not None
    height, behind = inputs.frame.height, node.lookback
    columns = [inputs.column(each.digest) for each in node.inputs]
    result = np.full(height, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        for begin in range(behind, height, _ROWS_AT_ONCE):
            end = min(height, begin + _ROWS_AT_ONCE)
            result[begin:end] = node.columns([own[begin - behind : end] for own in columns], behind + 1)
    result[~(inputs.complete(node) & np.isfinite(result))] = np.nan
    return result


def _portions(
    ends: np.ndarray, sessions: np.ndarray, live: np.ndarray, window: int, *, whole: bool
) -> Iterator[np.ndarray]:
    """Rows that are computed together: so many that they fit into a cache, or those of one session."""
    if not whole:
        step = max(1, _NUMBERS_AT_ONCE // window)
        for begin in range(0, len(ends), step):
            yield ends[begin : begin + step]
        return
    ends = ends[live[ends]]
    order = np.argsort(sessions[ends], kind="stable")
    ordered = ends[order]
    edges = np.flatnonzero(np.diff(sessions[ordered])) + 1
    yield from (part for part in np.split(ordered, edges) if len(part))


def _runs(digest: str) -> pl.Expr:
    """A number for each run of rows that have a number, and for the rows without one behind it; it never falls."""
    begins = pl.col(digest).is_not_null() & (
        pl.col(digest).shift(1).is_null() | (pl.col("series") != pl.col("series").shift(1))
    )
    return begins.fill_null(True).cum_sum().set_sorted().alias(f"run {digest}")


def _stages(nodes: Sequence[Node], roots: Sequence[Node]) -> dict[str, int]:
    """In which pass each node that becomes a column is computed; arithmetic that one expression uses is left in there."""
    users: dict[str, int] = {}
    columns = {root.digest for root in roots}
    for node in nodes:
        for each in node.inputs:
            users[each.digest] = users.get(each.digest, 0) + 1
            if node.axis is not Axis.ROW:
                columns.add(each.digest)
    known: dict[str, int] = {}
    stages: dict[str, int] = {}
    for node in nodes:
        before = max((known[each.digest] for each in node.inputs), default=0)
        shared = users.get(node.digest, 0) > 1 and bool(node.inputs)
        if node.axis is Axis.SOURCE:
            known[node.digest] = stages[node.digest] = 0
        elif node.axis is not Axis.ROW or node.digest in columns or shared:
            known[node.digest] = stages[node.digest] = before + 1
        else:
            known[node.digest] = before
    return stages


def _last_uses(nodes: Sequence[Node], roots: Sequence[Node], stages: Mapping[str, int]) -> dict[str, int]:
    """The last pass that reads each column; a column of the result has none."""
    reads: dict[str, int] = {node.digest: stages[node.digest] for node in nodes if node.digest in stages}
    used_until: dict[str, int] = {}
    # From the results down: arithmetic without a pass of its own is read where it is used.
    for node in reversed(nodes):
        at = stages.get(node.digest, used_until.get(node.digest, 0))
        for each in node.inputs:
            used_until[each.digest] = max(used_until.get(each.digest, 0), at)
    last = {digest: max(used_until.get(digest, 0), stage) for digest, stage in reads.items()}
    for root in roots:
        last.pop(root.digest, None)
    return last
