"""This module removes trades, quotes and books for good, where the right to keep them has ended.

Evidence goes first: what is removed must not be called covered while a row of it is gone. It becomes a gap with the reason
`removed`, which nobody heals. Then each table is one commit, which says why in `removals`; files are rewritten one at a time.
What they were stays on disk until it is vacuumed. Killed in between, running it again does what is left.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.lake import removals
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, QUARANTINE, STREAM_INTERVALS
from gb_pipeline.lake.removals import Action, check_reason
from gb_pipeline.lake.rewriting import rewrite
from gb_pipeline.lake.stream_targets import StreamTarget, refuse_nothing, select_rows
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.stream_coverage import EVIDENCE, STREAM
from gb_pipeline.market.tick_schema import REMOVAL_COLLECTOR, ConnectionEventKind, GapReason, IntervalKind
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import sort_rows
from gb_pipeline.storage.commit import Clock, Draft, commit, with_known_at
from gb_pipeline.storage.dataset import PERIOD, Dataset
from gb_pipeline.storage.table import Tables

# What a purge of streams leaves, to be said to whoever asks for one.
LEFT = (
    "files that held them, until `gb vacuum` frees them",
    "watermarks, gaps and what happened to connections: none has a price",
    "what a collector has not committed yet, and hears from now on",
    "backups, synced copies, and exports in other places",
)
_INTERVALS = polars_schema(STREAM_INTERVALS.columns)
_START, _END = pl.col("start_time"), pl.col("end_time")


def purge_streams(
    tables: Tables, target: StreamTarget, reason: str, clock: Clock, *, dry_run: bool = False
) -> pl.DataFrame:
    """See `LakeStore.purge_streams`."""
    reason = reason if dry_run else check_reason(reason)
    found = select_rows(tables, target)
    refuse_nothing(tables, target, found)
    if dry_run:
        return found
    _cut_evidence(tables, target, clock)
    for _, dataset, _ in target.tables:
        _purge_rows(tables, dataset, target, reason, clock)
    names = [name for name, _, _ in target.tables]
    refused = target.is_of() & pl.col("resolution").is_in(names)
    moment = pl.coalesce("timestamp", "window_start")
    rewrite(tables, QUARANTINE, target.source, target.symbol, refused & _lies_in(moment, target), clock)
    # The venue's own message, prices and all, stands in these.
    told = target.is_of() & (pl.col("kind") == ConnectionEventKind.CORRECTION.value)
    told &= pl.col("dataset").is_in([item.value for item in target.datasets])
    rewrite(
        tables, CONNECTION_EVENTS, target.source, target.symbol, told & _lies_in(pl.col("timestamp"), target), clock
    )
    return found


def _lies_in(moment: pl.Expr, target: StreamTarget) -> pl.Expr:
    return (moment >= pl.lit(target.start).cast(INSTANT)) & (moment < pl.lit(target.end).cast(INSTANT))


def _purge_rows(tables: Tables, dataset: Dataset, target: StreamTarget, reason: str, clock: Clock) -> None:
    """Rewrite the files of a table without such rows, in one commit that says why."""
    if target.select(tables.newest(dataset.name)).is_empty():
        return

    def decide(draft: Draft) -> None:
        files = target.select(draft.base)
        whole = files.filter(target.is_whole())
        days = [*whole[PERIOD].to_list()]
        count = int(whole["rows"].sum())
        draft.remove(whole)
        for place in range((rest := files.filter(~target.is_whole())).height):
            file = rest[place : place + 1]
            rows = reading.read(tables.storage, dataset, file)
            kept = rows.filter(~target.holds())
            if kept.height == rows.height:
                continue
            count += rows.height - kept.height
            days.append(file[PERIOD][0])
            draft.remove(file)
            if kept.height:
                values = file.select(dataset.partitions).row(0, named=True)
                draft.flush([draft.write_partition(values, kept.select(dataset.file_schema.names))])
        if not count:
            return
        removals.record(
            tables, draft, target.source, target.symbol or "*", Action.PURGED, reason,
            sessions=pl.Series(days, dtype=pl.String).unique().str.to_date(), bars=count, clock=clock,
        )  # fmt: skip
        draft.info = {"operation": "DELETE", "gb": {"source": target.source, "symbol": target.symbol, "purge": True}}

    commit(tables[dataset.name], decide, clock=clock)


def _cut_evidence(tables: Tables, target: StreamTarget, clock: Clock) -> None:
    """Let nothing of the range be covered any more, and a gap say that it was removed."""
    start, end = target.edges

    def decide(draft: Draft) -> None:
        files = draft.base.select(
            {"source": target.source, "dataset": [item.value for item in target.datasets]},
            holding=None if target.symbol is None else {"symbol": [target.symbol]},
        )
        rows = reading.read(tables.storage, STREAM_INTERVALS, files, with_file=True)
        is_cut = target.is_of() & pl.col("kind").is_in(EVIDENCE) & (end > _START) & (start < _END)
        cut = rows.filter(is_cut)
        if cut.is_empty():
            return
        numbers = cut["file"].unique()
        kept = rows.filter(pl.col("file").is_in(numbers.implode()) & ~is_cut)
        draft.remove(files[numbers.sort().to_list()])
        pieces = [
            _piece(cut.filter(start > _START), "end_time", start),
            _piece(cut.filter(end < _END), "start_time", end),
        ]
        gaps = with_known_at(_removed(cut, start, end), draft.stamp, history=False)
        names = [*STREAM_INTERVALS.columns.names, "known_at"]
        draft.add(sort_rows(draft.table, pl.concat([part.select(names) for part in (kept, *pieces, gaps)])))

    commit(tables[STREAM_INTERVALS.name], decide, clock=clock)


def _piece(cut: pl.DataFrame, edge: str, moment: int) -> pl.DataFrame:
    """What is left of intervals on one side of a moment; messages and rows are shared by time."""
    moved = cut.with_columns(pl.lit(moment, pl.Int64).alias(edge), (_END - _START).alias("whole"))
    share = (_END - _START) / pl.col("whole")
    number = "last_sequence" if edge == "end_time" else "first_sequence"
    return moved.with_columns(
        (pl.col("messages", "rows") * share).round().cast(pl.Int64),
        pl.lit(None, pl.Int64).alias(number),
        (_START // 1000).cast(INSTANT).alias("timestamp"),
    )


def _removed(cut: pl.DataFrame, start: int, end: int) -> pl.DataFrame:
    """A gap for each stream, as long as what was cut out of it."""
    spans = cut.group_by(STREAM).agg(_START.min().clip(lower_bound=start), _END.max().clip(upper_bound=end))
    return spans.with_columns(
        (_START // 1000).cast(INSTANT).alias("timestamp"),
        pl.lit(IntervalKind.GAP.value).alias("kind"),
        pl.lit(GapReason.REMOVED.value).alias("reason"),
        pl.lit(REMOVAL_COLLECTOR).alias("collector"),
        pl.lit(0, pl.Int64).alias("messages"),
        pl.lit(0, pl.Int64).alias("rows"),
        *(pl.lit(None, pl.Int64).alias(name) for name in ("missing", "first_sequence", "last_sequence")),
    ).select(_INTERVALS.names()).cast(_INTERVALS)  # fmt: skip
