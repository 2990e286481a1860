"""This module puts what Dagster shows of every partition beside what the ledger says is stored, as one frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.private import get_and_update_asset_status_cache_value
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.ingest.backlog import Backlog
from gb_pipeline.lake import ledger
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.orchestration.events.stored_partitions import ABSENT, existing_keys
from gb_pipeline.orchestration.series_group import SeriesGroup

_KEYS = ["symbol", "key"]
_STATES = ("materialized", "failed", "in_progress")
_SCHEMA = pl.Schema(
    {
        **dict.fromkeys(("source", "resolution", *_KEYS), pl.String()),
        **dict.fromkeys(("stored", *_STATES), pl.Boolean()),
    }
)


@dataclass(frozen=True)
class Shown:
    """Partitions that are stored, or that Dagster knows something of.

    Attributes:
        instance: that was asked.
        now: the present, in UTC.
        groups: by source and resolution.
        partitions: `source, resolution, symbol, key` (the partition), and whether it is `stored`, `materialized`, `failed` and
            `in_progress` (Boolean); only partitions that are over.
    """

    instance: dg.DagsterInstance
    now: datetime
    groups: Mapping[tuple[str, str], SeriesGroup]
    partitions: pl.DataFrame = field(repr=False)


def compare_with_lake(state: ProjectState, instance: dg.DagsterInstance) -> Shown:
    """What Dagster shows, and what is stored, of every series of gb.yaml."""
    groups, parts = {}, [pl.DataFrame(schema=_SCHEMA)]
    for backlog in state.backlogs.found:
        group = SeriesGroup(backlog.source, backlog.resolution)
        groups[backlog.source.name, backlog.resolution.value] = group
        over = pl.Series(sorted(existing_keys(group, state.now)), dtype=pl.String())
        stored = _stored(state, group, backlog).filter(pl.col("key").is_in(over.implode()))
        shown = pl.concat(
            [pl.DataFrame(schema={**dict.fromkeys((*_KEYS, "is"), pl.String())}), *_shown(instance, group)]
        )
        shown = shown.filter(pl.col("key").is_in(over.implode()))
        rows = pl.concat([stored.with_columns(pl.lit("stored").alias("is")), shown])
        flags = [(pl.col("is") == name).any().alias(name) for name in ("stored", *_STATES)]
        named = [pl.lit(group.source.name).alias("source"), pl.lit(group.resolution.value).alias("resolution")]
        parts.append(rows.group_by(_KEYS).agg(flags).with_columns(named).select(_SCHEMA.names()))
    return Shown(instance, state.now, groups, pl.concat(parts))


def _stored(state: ProjectState, group: SeriesGroup, backlog: Backlog) -> pl.DataFrame:
    """`symbol` and `key` of partitions of which everything that has ended is stored, as `find_stored_partitions` has them."""
    columns = ("symbol", "session", "status", "known_at")
    codes = [symbol.code for symbol in backlog.symbols]
    rows = ledger.scan(
        state.store.tables, group.source.name, group.resolution, codes, (backlog.start, backlog.end), columns
    )
    valid = rows.sort("known_at").group_by("symbol", "session").agg(pl.col("status").last()).collect()
    recorded = valid.filter(pl.col("status") != SessionStatus.CLOSED.value)
    ended = backlog.days.filter("finished")["session"]
    absent = backlog.sessions.filter(pl.col("why").is_in(ABSENT), pl.col("session").is_in(ended.implode()))
    return _keyed(group, recorded).join(_keyed(group, absent), on=_KEYS, how="anti")


def _keyed(group: SeriesGroup, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("symbol", group.partitioning.keys(rows["session"]).alias("key")).unique()


def _shown(instance: dg.DagsterInstance, group: SeriesGroup) -> Iterator[pl.DataFrame]:
    """`symbol`, `key` and what it `is`, from the cache of which Dagster's own pages are made."""
    for key, symbol in group.symbols.items():
        value = get_and_update_asset_status_cache_value(instance, key, group.partitions)
        if value is None:
            continue
        subsets = {
            "materialized": value.deserialize_materialized_partition_subsets(group.partitions),
            "failed": value.deserialize_failed_partition_subsets(group.partitions),
            "in_progress": value.deserialize_in_progress_partition_subsets(group.partitions),
        }
        for name, subset in subsets.items():
            keys = pl.Series("key", list(subset.get_partition_keys()), pl.String())
            if keys.len():
                yield keys.to_frame().select(pl.lit(symbol.code).alias("symbol"), "key", pl.lit(name).alias("is"))
