"""This module answers which runs fulfil some conditions, out of the index alone, and explains how.

Each condition marks rows of a segment; what all of them mark is put in order, and only the rows of the answer are taken. No data
file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.lake.datasets import RUNS
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.spelling import format_count
from gb_pipeline.research.results.conditions import RunQuery, listed
from gb_pipeline.research.results.run import shard_of
from gb_pipeline.research.results.segments import Postings, Segment
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.snapshot import Snapshot

Mask = npt.NDArray[np.bool_]
ANSWER = (
    "strategy", "version", "run_id", "state", "started_at", "finished_at", "markets", "tags", "parameters", "error",
    "data_fingerprint", "digest", "known_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueryStep:
    """One condition of a query: what it says, how it was answered, and how many runs were left after it."""

    condition: str
    answered_by: str
    rows: int


@dataclass(frozen=True)
class QueryPlan:
    """How a query is answered.

    Attributes:
        runs: in the index.
        segments: of the index.
        steps: conditions in their order.
        rows: that fulfil all of them.
        files, bytes, partitions: of the table `runs` that may hold such rows, for engines that read the table itself.
        all_files, all_bytes, all_partitions: of the whole table.
        advice: what would make it touch less.
    """

    runs: int
    segments: int
    steps: tuple[QueryStep, ...]
    rows: int
    files: int
    bytes: int
    partitions: int
    all_files: int
    all_bytes: int
    all_partitions: int
    advice: tuple[str, ...]

    def __str__(self) -> str:
        """A line for each step, and what the table would be read for."""
        lines = [
            f"{format_count(self.runs, 'run')} in {format_count(self.segments, 'segment')} of the index; no data file is opened"
        ]
        lines += [f"  {step.condition}: {step.rows:,} left ({step.answered_by})" for step in self.steps]
        lines.append(
            f"the table itself: {self.files} of {format_count(self.all_files, 'file')}, {self.partitions} of"
            f" {format_count(self.all_partitions, 'partition')}, {self.bytes:,} of {self.all_bytes:,} bytes"
        )
        return "\n".join([*lines, *(f"-> {text}" for text in self.advice)])


def choose(segment: Segment, query: RunQuery, retired: Mask | None) -> Iterator[tuple[str, str, Mask]]:
    """Each condition of a query with how it is answered and the rows that fulfil it."""
    height = segment.runs.height
    names = listed(query.strategy)
    if names is not None:
        yield f"strategy {_names(names)}", "postings", _any_of(segment.postings["strategy"], names, height)
    for kind, values in (("market", query.market), ("tag", query.tag)):
        for value in listed(values) or []:
            yield f"{kind} = {value}", "postings", _any_of(segment.postings[kind], [value], height)
    for kind, conditions in (("metric", query.metrics), ("parameter", query.parameters)):
        for condition in conditions:
            entries = segment.postings[kind].of(condition.name)
            mask = np.zeros(height, bool)
            mask[entries["row"].to_numpy()[condition.holds(entries)]] = True
            yield f"{kind} {condition}", f"{entries.height:,} postings", mask
    if query.start is not None or query.end is not None:
        started = segment.started
        mask = np.ones(height, bool)
        if query.start is not None:
            mask &= started >= microseconds(query.start)
        if query.end is not None:
            mask &= started < microseconds(query.end)
        yield f"started in [{query.start}, {query.end})", "column", mask
    if query.state is not None:
        yield f"state = {query.state}", "column", (segment.runs["state"] == query.state.value).to_numpy()
    for column, names_wanted in (("version", query.version), ("run_id", query.run_id)):
        wanted = listed(names_wanted)
        if wanted is not None:
            yield f"{column} {_names(wanted)}", "column", segment.runs[column].is_in(wanted).to_numpy()
    if retired is not None:
        yield "not retired", "notes", ~retired


def chosen_rows(segment: Segment, query: RunQuery, retired: Mask | None) -> npt.NDArray[np.int64]:
    """The rows of a segment that fulfil all conditions."""
    mask = np.ones(segment.runs.height, bool)
    for _, _, fulfilled in choose(segment, query, retired):
        mask &= fulfilled
        if not mask.any():
            break
    return np.flatnonzero(mask)


def answer(segments: Sequence[Segment], query: RunQuery, retired: Sequence[Mask | None]) -> pl.DataFrame:
    """The rows of the answer in their order: columns of `ANSWER`, and `segment, row` where they are."""
    found = [
        pl.DataFrame(
            {
                "segment": np.full(len(places), number, np.uint32),
                "row": places,
                "key": _order_key(segment, query.order_by, places),
            }
        )
        for number, (segment, mask) in enumerate(zip(segments, retired, strict=True))
        if len(places := chosen_rows(segment, query, mask))
    ]
    if not found:
        kinds = RUNS.polars
        return pl.DataFrame(schema={name: kinds[name] for name in ANSWER} | {"segment": pl.UInt32(), "row": pl.Int64()})
    rows = pl.concat(found, how="vertical_relaxed")
    # Of the same key, the order in which runs became known decides.
    count = query.offset + query.limit
    if rows.height > 4 * count + 1_000:
        rows = _nearest(rows, count, descending=query.descending)
    rows = rows.sort("key", "segment", "row", descending=[query.descending, False, False], nulls_last=True)
    rows = rows.slice(query.offset, query.limit)
    parts = [
        segments[int(number)].runs.select(ANSWER)[part["row"]].hstack([part["place"], part["segment"], part["row"]])
        for (number,), part in rows.with_row_index("place").partition_by("segment", as_dict=True).items()
    ]
    if not parts:
        return segments[0].runs.select(ANSWER).clear().hstack([rows["segment"], rows["row"]])
    return pl.concat(parts).sort("place").drop("place")


def _nearest(rows: pl.DataFrame, count: int, *, descending: bool) -> pl.DataFrame:
    """Rows among which are the first ones in the order: the key of the last of them is found without sorting all."""
    keys = rows["key"]
    if keys.null_count() or not keys.dtype.is_numeric():
        return rows
    edge = (keys.top_k(count) if descending else keys.bottom_k(count)).sort(descending=not descending)
    if not len(edge):
        return rows.clear()
    return rows.filter(pl.col("key") >= edge[0] if descending else pl.col("key") <= edge[-1])


def _order_key(segment: Segment, order_by: str, rows: npt.NDArray[np.int64]) -> pl.Series:
    kind, _, name = order_by.partition(".")
    if kind in {"metrics", "parameters"}:
        entries = segment.postings[kind.removesuffix("s")].of(name)
        values = np.full(segment.runs.height, np.nan)
        values[entries["row"].to_numpy()] = entries["value" if kind == "metrics" else "number"].to_numpy()
        return pl.Series("key", values[rows]).fill_nan(None)
    column = segment.runs[order_by]
    if isinstance(column.dtype, pl.Datetime):
        column = column.cast(pl.Int64)
    return column.gather(rows).alias("key")


def explain(
    segments: Sequence[Segment], query: RunQuery, retired: Sequence[Mask | None], snapshot: Snapshot
) -> QueryPlan:
    """How a query is answered, and what of the table may hold its rows."""
    counts: dict[str, tuple[str, int]] = {}
    for segment, hidden in zip(segments, retired, strict=True):
        mask = np.ones(segment.runs.height, bool)
        for text, how, fulfilled in choose(segment, query, hidden):
            mask &= fulfilled
            counts[text] = how, counts.get(text, ("", 0))[1] + int(mask.sum())
    strategies = listed(query.strategy)
    files = snapshot.files
    if strategies is not None:
        files = snapshot.select({"shard": sorted(map(shard_of, strategies))}, holding={"strategy": strategies})
    for name, edge in (("max.started_at", query.start), ("min.started_at", query.end)):
        if edge is not None and files.height:
            column = files[name].cast(pl.Int64)
            files = files.filter(
                column >= microseconds(edge) if name.startswith("max") else column < microseconds(edge)
            )
    advice = []
    if strategies is None:
        advice.append("name a strategy: its runs are in one of sixteen shards")
    if query.start is None and query.end is None:
        advice.append("say from when and until when: files are of a month each")
    if len(segments) and snapshot.files.height > 8 * _partitions(snapshot.files):
        advice.append("compact the table (`gb compact runs`): its partitions have many small files")
    runs = sum(segment.runs.height for segment in segments)
    steps = tuple(QueryStep(text, how, left) for text, (how, left) in counts.items())
    return QueryPlan(
        runs=runs, segments=len(segments), steps=steps, rows=steps[-1].rows if steps else runs,
        files=files.height, bytes=int(files["size"].sum()), partitions=_partitions(files),
        all_files=snapshot.files.height, all_bytes=int(snapshot.files["size"].sum()), all_partitions=_partitions(snapshot.files),
        advice=tuple(advice),
    )  # fmt: skip


def _partitions(files: pl.DataFrame) -> int:
    return files.select("shard", PERIOD).n_unique() if files.height else 0


def _any_of(postings: Postings, names: Sequence[str], height: int) -> Mask:
    mask = np.zeros(height, bool)
    for name in names:
        mask[postings.rows(name)] = True
    return mask


def _names(names: Sequence[str]) -> str:
    return f"= {names[0]}" if len(names) == 1 else f"in {', '.join(names[:5])}"
