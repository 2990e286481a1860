"""This module lets trades, quotes and books of a symbol stand under another one, with the evidence of how they were heard.

Evidence goes first, so that rows which wait under the old symbol are called uncovered rather than none; then each table is one
commit, which says why in `removals`. Rows keep everything but their symbol. Killed in between, running it again does what is left.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import removals
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS
from gb_pipeline.lake.removals import Action, check_reason
from gb_pipeline.lake.stream_targets import StreamTarget, refuse_nothing, select_rows
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import sort_rows
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import PERIOD, Dataset
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables


def rename_streams(tables: Tables, source: str, old: str, new: str, reason: str, clock: Clock) -> pl.DataFrame:
    """See `LakeStore.rename_streams`."""
    reason = check_reason(reason)
    if old == new:
        raise ConfigError(f"{source}:{old} is called so already", fix="name another symbol")
    target = StreamTarget(source, old)
    found = select_rows(tables, target)
    refuse_nothing(tables, target, found)
    for name, dataset, _ in target.tables:
        _refuse_overlap(tables.newest(dataset.name), name, source, old, new)
    for dataset in (STREAM_INTERVALS, CONNECTION_EVENTS):
        _move_evidence(tables, dataset, source, old, new, clock)
    for name, dataset, _ in target.tables:
        _move_rows(tables, dataset, name, target, new, reason, clock)
    return found


def _refuse_overlap(snapshot: Snapshot, name: str, source: str, old: str, new: str) -> None:
    """Raise where the new symbol has rows of the time of the old one's on a day: nobody could tell them apart again."""
    files = snapshot.files.filter(pl.col("source") == source)
    spans = [
        files.filter(pl.col("symbol") == symbol)
        .group_by(PERIOD)
        .agg(pl.col("min.timestamp").min().alias("first"), pl.col("max.timestamp").max().alias("last"))
        for symbol in (old, new)
    ]
    both = spans[0].join(spans[1], on=PERIOD, suffix="_new").filter(
        ~((pl.col("last") < pl.col("first_new")) | (pl.col("last_new") < pl.col("first")))
    )  # fmt: skip
    if both.height:
        days = both[PERIOD].sort()
        raise LakeError(
            f"{source}:{new} has {name} of its own of the same time on {len(days):,} days, {days[0]} to {days[-1]}",
            fix=f"remove one of the two first: gb delete {source}:{new} {name} --purge --from {days[0]}",
        )


def _move_evidence(tables: Tables, dataset: Dataset, source: str, old: str, new: str, clock: Clock) -> None:
    def decide(draft: Draft) -> None:
        files = draft.base.select({"source": source})
        rows = reading.read(tables.storage, dataset, files, with_file=True)
        numbers = rows.filter(pl.col("symbol") == old)["file"].unique()
        if numbers.is_empty():
            return
        draft.remove(files[numbers.sort().to_list()])
        symbol = pl.when(pl.col("symbol") == old).then(pl.lit(new)).otherwise("symbol").alias("symbol")
        moved = rows.filter(pl.col("file").is_in(numbers.implode())).with_columns(symbol)
        draft.add(sort_rows(draft.table, moved.select([*dataset.columns.names, "known_at"])))

    commit(tables[dataset.name], decide, clock=clock)


def _move_rows(
    tables: Tables, dataset: Dataset, name: str, target: StreamTarget, new: str, reason: str, clock: Clock
) -> None:
    """Write the files of a table again under the new symbol, one at a time, in one commit that says why."""
    if target.select(tables.newest(dataset.name)).is_empty():
        return

    def decide(draft: Draft) -> None:
        files = target.select(draft.base)
        if files.is_empty():
            return
        _refuse_overlap(draft.base, name, target.source, str(target.symbol), new)
        for place in range(files.height):
            file = files[place : place + 1]
            rows = reading.read(tables.storage, dataset, file).select(dataset.file_schema.names)
            values = file.select(dataset.partitions).row(0, named=True) | {"symbol": new}
            draft.flush([draft.write_partition(values, rows)])
        draft.remove(files)
        removals.record(
            tables, draft, target.source, str(target.symbol), Action.RENAMED, reason,
            sessions=files[PERIOD].unique().str.to_date(), bars=int(files["rows"].sum()), renamed_to=new, clock=clock,
        )  # fmt: skip
        draft.info = {
            "operation": "UPDATE", "gb": {"source": target.source, "symbol": target.symbol, "renamed_to": new},
        }  # fmt: skip

    commit(tables[dataset.name], decide, clock=clock)
