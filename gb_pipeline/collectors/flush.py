"""This module commits what waits in a spool: rows first, then what is known of the streams, and last up to when it reaches.

Each table gets one commit for a segment, with an application transaction that names the spool and the segment: whoever comes to
the same segment again, after a crash or beside another process, finds it and adds nothing. A segment is deleted once every file
of its commits was found in the store with its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from gb_pipeline.collectors.columns import REFUSED
from gb_pipeline.collectors.spool import Segment
from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import (
    CONNECTION_EVENTS,
    STREAM_INTERVALS,
    STREAM_TABLES,
    WATERMARKS,
    stream_dataset,
)
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.tick_schema import IntervalKind
from gb_pipeline.market.window import Window
from gb_pipeline.storage.append import sort_rows
from gb_pipeline.storage.commit import Draft, commit, with_known_at
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.fault_points import reach

_ROWS = [stream_dataset(name, precision) for name in STREAM_TABLES for precision in Precision]
# What is known of the streams, in the order in which it is committed: up to when, last.
_EVIDENCE = (STREAM_INTERVALS, CONNECTION_EVENTS, WATERMARKS)
_REFUSED = "refused"
# Rows that are in memory at once; a file for each symbol and day of them.
_CHUNK = 500_000
# What a spool can hold: the tables of streams, what is known of them, and refused rows.
SPOOLED: dict[str, pa.Schema] = {dataset.name: dataset.columns for dataset in (*_ROWS, *_EVIDENCE)} | {
    _REFUSED: REFUSED.to_arrow()
}


@dataclass(frozen=True, slots=True)
class Flushed:
    """What the commit of a segment did.

    Attributes:
        segment: its number.
        rows: of trades, quotes and books that were added.
        refused: rows that went to quarantine.
        already: whether all of it had been committed before.
    """

    segment: int
    rows: int
    refused: int
    already: bool


def flush_segment(store: LakeStore, segment: Segment, collector: str) -> Flushed:
    """Commit a segment, and delete it.

    Raises:
        LakeError: the lake cannot be written, or what was written is not there; the segment stays, and the same call goes on where
            this one ended.
    """
    waiting = segment.tables()
    transaction = f"collector/{collector}/{segment.spool_id}"
    rows, added = 0, False
    for dataset in _ROWS:
        if dataset.name in waiting:
            count = _commit(store, dataset, segment, transaction)
            rows, added = rows + (count or 0), added or count is not None
    reach("rows_committed")
    refused = _refuse(store, segment) if _REFUSED in waiting else 0
    for dataset in _EVIDENCE:
        if dataset.name in waiting:
            count = _commit(store, dataset, segment, transaction)
            added = added or count is not None
            reach("evidence_committed")
    segment.delete()
    reach("segment_deleted")
    return Flushed(segment.number, rows, refused, not added)


def describe_failure(error: Exception) -> tuple[str, str]:
    """What kept a segment from being committed, and what to do; of a mistake of the program its kind alone, which quotes no row."""
    if isinstance(error, GbError):
        return error.what, error.fix
    return f"{type(error).__name__} while what was heard was committed", "it is tried again; please report it"


def _commit(store: LakeStore, dataset: Dataset, segment: Segment, transaction: str) -> int | None:
    """Rows that were added; None where there are none, or the segment had been committed to this table before."""
    table = store.tables[dataset.name]
    written: list[tuple[str, int]] = []

    def decide(draft: Draft) -> int | None:
        if draft.base.transactions.get(transaction, 0) >= segment.number:
            return None
        # Each time that somebody else was faster, the journal is read anew.
        rows = 0
        written.clear()
        for frame in _frames(segment, dataset):
            rows += frame.height
            draft.add(sort_rows(table, with_known_at(frame, draft.stamp, history=False)))
            written.extend((action["path"], action["size"]) for action in draft.write())
        if not rows:
            return None
        draft.set_transaction(transaction, segment.number)
        return rows

    count = commit(table, decide, clock=store.clock)
    if count is not None:
        _verify(store, dataset, written)
    return count


def _verify(store: LakeStore, dataset: Dataset, written: list[tuple[str, int]]) -> None:
    """Nothing is deleted here before the store says that it has it."""
    files = store.storage.files
    for path, size in written:
        name = f"{store.storage.table_name(dataset.name)}/{path}"
        try:
            there = files.size(name)
        except OSError as error:
            raise LakeError(
                f"{name} was committed, and cannot be looked up: {error}",
                fix="it is looked up again at the next flush",
            ) from error
        if there != size:
            raise LakeError(
                f"{name} was committed with {size:,} bytes, and the store has {there or 0:,}",
                fix="`gb verify` tells what is damaged; the journal is kept",
            )


def _frames(segment: Segment, dataset: Dataset) -> Iterator[pl.DataFrame]:
    """What a segment adds to a table, some rows at a time; of evidence that is told each second, what it comes to."""
    if (sum_up := _SUMMED_UP.get(dataset.name)) is not None:
        whole = sum_up(segment)
        if whole.height:
            yield whole
        return
    waiting: list[pl.DataFrame] = []
    for frame in segment.read(dataset.name):
        waiting.append(frame)
        if sum(item.height for item in waiting) >= _CHUNK:
            yield pl.concat(waiting)
            waiting.clear()
    if waiting:
        yield pl.concat(waiting)


def _all(segment: Segment, dataset: Dataset, *, after_damage: bool = False) -> pl.DataFrame:
    frames = list(segment.read(dataset.name, after_damage=after_damage))
    return (
        pl.concat(frames)
        if frames
        else pl.DataFrame(schema=pl.Schema(pl.DataFrame(dataset.columns.empty_table()).schema))
    )


def _intervals(segment: Segment) -> pl.DataFrame:
    """Evidence of each second, with what meets joined; gaps of a damaged journal, and what is covered after the damage only."""
    is_covered = pl.col("kind") == IntervalKind.COVERED.value
    others = _all(segment, STREAM_INTERVALS).filter(~is_covered)
    covered = _all(segment, STREAM_INTERVALS, after_damage=True).filter(is_covered)
    # Of two connections, the same stretch may be covered with the same counts; a gap is one however often it is told.
    return pl.concat([join_covered(covered), others.unique(maintain_order=True)])


def join_covered(intervals: pl.DataFrame) -> pl.DataFrame:
    """Covered stretches of `stream_intervals` of which one ends where the next one begins, as one with the sum of their counts."""
    stream = ["source", "dataset", "symbol", "collector"]
    covered = intervals.sort(*stream, "start_time", "end_time")
    begins = pl.col("end_time").shift(1).over(stream).ne_missing(pl.col("start_time"))
    joined = (
        covered.with_columns(begins.cum_sum().over(stream).alias("stretch"))
        .group_by(*stream, "stretch", maintain_order=True)
        .agg(
            pl.col("timestamp", "start_time", "kind", "reason").first(),
            pl.col("end_time").last(),
            pl.col("messages", "rows").sum(),
            pl.col("missing").first(),
            pl.col("first_sequence").drop_nulls().first(),
            pl.col("last_sequence").drop_nulls().last(),
        )
    )
    return joined.select(intervals.columns).cast(intervals.schema)


def _watermarks(segment: Segment) -> pl.DataFrame:
    """The last one of each stream, with all rows of the segment."""
    rows = _all(segment, WATERMARKS)
    keys = ["source", "dataset", "collector"]
    last = rows.group_by(keys, maintain_order=True).agg(
        pl.col("timestamp", "through_time").max(),
        pl.col("rows").sum(),
        pl.lit(segment.number, pl.Int64()).alias("segment"),
    )
    return last.select(rows.columns)


_SUMMED_UP = {STREAM_INTERVALS.name: _intervals, WATERMARKS.name: _watermarks}


def _refuse(store: LakeStore, segment: Segment) -> int:
    """Rows that no table can hold, into quarantine; those that are there already are left alone."""
    rows = pl.concat(list(segment.read(_REFUSED)))
    new = 0
    for (source, table), part in rows.group_by(["source", "table"], maintain_order=True):
        moments = part["timestamp"].drop_nulls()
        start = moments.min() if len(moments) else None
        end = moments.max() if len(moments) else None
        epoch = from_microseconds(0)
        first = start if isinstance(start, datetime) else epoch
        last = end if isinstance(end, datetime) else epoch
        bad = part.select("symbol", pl.lit(None, pl.Date()).alias("session"), "timestamp", "reasons", "row")
        new += quarantine.record(
            store.tables, str(source), str(table),
            Window(first.astimezone(UTC), from_microseconds(int(last.timestamp() * 1e6) + 1)),
            bad, quarantined_at=store.clock(), run_id=None, clock=store.clock,
        )  # fmt: skip
    return new
