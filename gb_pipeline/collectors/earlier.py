"""This module says how far an earlier process of the same collector had come: the time since then is a gap with its reason."""

from __future__ import annotations

import polars as pl

from gb_pipeline.collectors.logs import Log
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import STREAM_INTERVALS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import read_intervals
from gb_pipeline.market.stream_coverage import EVIDENCE
from gb_pipeline.market.tick_schema import StreamDataset


def reached_before(
    spool: Spool, store: LakeStore, collector: str, log: Log
) -> dict[tuple[str, StreamDataset, str], int]:
    """Up to when each stream was covered, by the lake, which may be out of reach, and by the journals that were left.

    Args:
        spool: whose journals wait.
        store: of the lake.
        collector: whose evidence counts.
        log: told of journals that are damaged, and of a lake that cannot be read.

    Returns:
        ns since 1970 UTC, by source, dataset and symbol.
    """
    told: list[pl.DataFrame] = []
    for segment in spool.segments():
        if damage := segment.damage():
            log("journal_damaged", segment=segment.number, bytes=damage)
        told += segment.read(STREAM_INTERVALS.name)
    try:
        told.append(read_intervals(store.tables))
    except LakeError as error:
        log("evidence_unreadable", error=error.what, fix=error.fix)
    ends: dict[tuple[str, StreamDataset, str], int] = {}
    names = ["source", "dataset", "symbol", "collector", "kind", "end_time"]
    for rows in told:
        own = rows.select(names).filter(pl.col("collector") == collector, pl.col("kind").is_in(EVIDENCE))
        for source, dataset, symbol, end in (
            own.group_by("source", "dataset", "symbol").agg(pl.col("end_time").max()).iter_rows()
        ):
            key = (source, StreamDataset(dataset), symbol)
            ends[key] = max(end, ends.get(key, end))
    return ends
