"""This module finds the partitions of a group that are not stored although somebody asked for them: failed, refused or deferred.

The ledger knows of the first two. Of what is deferred it says nothing, as nothing is known of it: that is in Dagster's runs.
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.deferred import find_missing
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG
from gb_pipeline.orchestration.events.stored_partitions import find_stored_partitions, recorded_sessions
from gb_pipeline.orchestration.series_group import SeriesGroup

DEFERRED = "deferred"
_FOUND = pl.Schema({"symbol": pl.String(), "key": pl.String(), "status": pl.String()})
_DAY = timedelta(days=1)


def find_unstored(instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Partitions of a group that are failed, refused or deferred.

    Returns:
        `symbol, key, status` (String), a row per series and session, or per partition where it is deferred.
    """
    return pl.concat([find_not_stored(store, group), find_deferred(instance, store, group)])


def find_not_stored(store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Sessions of a group that the ledger has as failed or refused: `symbol`, `key` (the partition) and `status`."""
    columns = [*ledger.KEYS, "known_at", "status"]
    rows = ledger.select_valid(ledger.scan(store.tables, group.source.name, group.resolution, columns=columns))
    names = [symbol.code for symbol in group.symbols.values()]
    bad = rows.filter(pl.col("status").is_in(UNSTORED) & pl.col("symbol").is_in(names)).collect()
    if bad.is_empty():
        return pl.DataFrame(schema=_FOUND)
    days = bad["session"].sort()
    # Incidents may explain them: that is asked of these few only.
    sessions = recorded_sessions(store, group, bad["symbol"].unique().to_list(), (days[0], days[-1] + _DAY))
    return sessions.filter(pl.col("status").is_in(UNSTORED)).select("symbol", "key", "status")


def find_deferred(instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup) -> pl.DataFrame:
    """Partitions that runs deferred, and that nobody has stored since: `symbol`, `key` and `status`, as `find_not_stored`."""
    runs = instance.get_runs(dg.RunsFilter(tags={DEFERRED_TAG: group.name}))
    missing = [find_missing(instance, group, run.run_id) for run in runs]
    rows = sorted(
        {(group.symbols[one].code, key) for of_run in missing for key, series in of_run.items() for one in series}
    )
    if not rows:
        return pl.DataFrame(schema=_FOUND)
    waiting = pl.DataFrame(rows, schema=["symbol", "key"], orient="row").with_columns(status=pl.lit(DEFERRED))
    symbols = [symbol for symbol in group.symbols.values() if symbol.code in waiting["symbol"]]
    spans = [group.partitioning.sessions(key) for key in waiting["key"].unique()]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    # What was stored before, and was to be asked for once more, is stored.
    stored = find_stored_partitions(store, group, symbols, first, last)
    return waiting.join(stored, on=["symbol", "key"], how="anti", maintain_order="left")
