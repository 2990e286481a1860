"""This module requests open work again when it is due: few runs that hold what is due of a source and resolution.

There is no state of its own that could be lost: attempts are counted in the lake and in Dagster's runs, and the cursor only
says when a look would find nothing new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.catalog.projection import table_versions
from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG
from gb_pipeline.ingest.open_work import OpenWork, State, find_open_work
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.stored_partitions import existing_keys
from gb_pipeline.orchestration.healing.asking import (
    HEALING_TAG,
    find_asked,
    find_busy,
    find_deferral,
    find_failed,
)
from gb_pipeline.orchestration.healing.batches import Batch, join_batches
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup

# Below schedules, whose session is wanted now, and above backfills, of which a day is as good as another.
PRIORITY = "5"
_SECONDS = 60
# While a lake changes all the time it is looked through this often at most, and as often where it does not change at all.
_LOOK_SECONDS = 300
_RARELY_SECONDS = 1800


def build_healing_sensor(lake: LakeResource, group: SeriesGroup, healing: HealingSettings) -> dg.SensorDefinition:
    """Request a group's failed sessions and open gaps again, with growing waits, until they are stored or given up.

    Args:
        lake: whose ledger says what is open.
        group: the series.
        healing: the waits.
    """
    job = dg.define_asset_job(
        group.healing_name,
        selection=dg.AssetSelection.assets(*group.symbols),
        description=f"Partitions of {group.name} that failed or have gaps that nothing explains.",
    )
    waits = f"{len(healing.after)} times"

    @dg.sensor(
        name=group.healing_name,
        job=job,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if healing.enabled else dg.DefaultSensorStatus.STOPPED,
        description=f"Requests what failed or has open gaps again, up to {waits} with growing waits; `gb healing` lists it.",
    )
    def heal(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        store = lake.open_store()
        versions, present = table_versions(store), store.clock()
        now = present.timestamp()
        if reason := _has_nothing_new(context.cursor, versions, now, healing):
            return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=context.cursor)
        busy, healing_now = find_busy(context.instance, group)
        until = find_deferral(context.instance, group)
        if healing_now or (until is not None and until > present):
            reason = (
                f"{group.name} is being healed" if healing_now else f"the vendor's day is used up until {until:%H:%M}Z"
            )
            return dg.SensorResult(skip_reason=dg.SkipReason(reason))
        work = find_group_work(context.instance, store, group, healing)
        requests = list(request_due(group, work, busy, present))[: healing.runs]
        # What is being fetched is looked at as soon as it has been.
        waits = bool(requests) or not work.due.is_empty()
        until_then = now if waits else min(_seconds(work.next), now + _RARELY_SECONDS)
        cursor = json.dumps({"versions": versions, "looked": now, "until": until_then})
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(describe_work(work, busy)),
            cursor=cursor,
        )

    return heal


def find_group_work(
    instance: dg.DagsterInstance, store: LakeStore, group: SeriesGroup, healing: HealingSettings
) -> OpenWork:
    """The open work of a group, by the lake and by the runs of an instance."""
    now = store.clock()
    return find_open_work(
        store,
        group.source,
        group.resolution,
        list(group.symbols.values()),
        healing,
        asked=find_asked(instance, group, now),
        failed=find_failed(instance, group, now),
    )


def request_due(group: SeriesGroup, work: OpenWork, busy: set[str], now: datetime) -> Iterator[dg.RunRequest]:
    """The runs that ask for what is due, except of symbols that are being fetched, the newest partitions first."""
    items = work.items.filter(~pl.col("symbol").is_in(busy))
    items = items.with_columns(group.partitioning.keys(items["session"]).alias("key"))
    due, held = items.filter(pl.col("state") == State.DUE.value), items.filter(pl.col("state") != State.DUE.value)
    if due.is_empty():
        return
    existing = existing_keys(group, now)
    keys = [key for key in group.partitions.get_partition_keys(current_time=now) if key in existing]
    codes = {symbol.code: key for key, symbol in group.symbols.items()}
    last = due.group_by("symbol", "key").agg(pl.col("attempts").sum(), pl.col("last").max())
    for batch in join_batches(due, held, keys, group.source.partitions_per_run):
        yield dg.RunRequest(
            run_key=f"{group.name} {batch.first}..{batch.last} {_hash(batch, last)}",
            asset_selection=[codes[code] for code in batch.symbols],
            tags={
                RANGE_START_TAG: batch.first,
                RANGE_END_TAG: batch.last,
                HEALING_TAG: group.name,
                "dagster/priority": PRIORITY,
            },
        )


def describe_work(work: OpenWork, busy: set[str]) -> str:
    """Why nothing is requested."""
    counts = {state: work.count(state) for state in State if work.count(state)}
    if not counts:
        return "nothing is open"
    said = ", ".join(
        f"{count:,} {'being fetched' if state is State.DUE and busy else state}" for state, count in counts.items()
    )
    return said + (f"; the next is due at {work.next:%Y-%m-%d %H:%M}Z" if work.next is not None else "")


def _hash(batch: Batch, last: pl.DataFrame) -> str:
    """The same for the same attempt: two daemons of one instance, or one that died in between, request it once."""
    own = last.filter(
        pl.col("symbol").is_in(batch.symbols), pl.col("key").is_between(pl.lit(batch.first), pl.lit(batch.last))
    )
    return hashlib.sha256(repr((batch, own.sort("symbol", "key").rows())).encode()).hexdigest()[:12]


def _has_nothing_new(cursor: str | None, versions: dict[str, Any], now: float, healing: HealingSettings) -> str:
    """Why a look would find nothing; empty where it may."""
    try:
        state = json.loads(cursor) if cursor else {}
        looked, until, seen = float(state["looked"]), float(state["until"]), state["versions"]
    except (ValueError, KeyError, TypeError):
        return ""
    least = min(_LOOK_SECONDS, healing.after[0].total_seconds())
    if now < looked:
        # The clock went back.
        return ""
    if until <= now:
        return ""
    if seen == versions:
        return "the lake has not changed, and nothing is due"
    return "the lake was looked through a moment ago" if now < looked + least else ""


def _seconds(moment: datetime | None) -> float:
    return float("inf") if moment is None else moment.timestamp()
