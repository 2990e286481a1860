"""This module finds deferred partitions and requests them again: what the calls of a vendor's day did not suffice for comes by
itself another day. Calls are counted in `providers.http.quota`, and `ingest` decides what is deferred.

A run of which something is deferred succeeds, carries two tags, and has an observation per deferred partition. The sensor
remembers such runs in its cursor, and once the vendor's next day has begun requests what is still missing of them: the
oldest run first, one run's worth at a time. When the calls end again, those runs are deferred themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import dagster as dg

from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG, UNTIL_FORMAT, UNTIL_TAG, parse_until
from gb_pipeline.orchestration.runs import find_unfinished_runs
from gb_pipeline.orchestration.series_group import SeriesGroup

_SECONDS = 60
# A run is updated a moment after it ended, so each look overlaps the one before.
_OVERLAP = timedelta(hours=1)


def build_deferred_sensor(group: SeriesGroup) -> dg.SensorDefinition:
    """Request the deferred partitions of a group once the vendor's next day has begun."""
    job = dg.define_asset_job(
        group.deferred_name,
        selection=dg.AssetSelection.assets(*group.symbols),
        description=f"Partitions of {group.name} that were deferred because the calls of the vendor's day were used up.",
    )

    @dg.sensor(
        name=group.deferred_name,
        job=job,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for runs that deferred partitions, and requests these once the vendor's next day has begun: one"
        " run after the other, as long as the calls suffice.",
    )
    def resume(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        waiting, seen, after = _read_cursor(context.cursor)
        after = _add_ended_runs(context.instance, group, waiting, seen, after)
        requests: list[dg.RunRequest] = []
        reason = f"nothing of {group.name} is deferred"
        now = datetime.now(UTC)
        if waiting and (until := max(waiting.values())) > now:
            reason = f"{len(waiting)} runs are deferred until {until:%Y-%m-%d %H:%M}Z"
        elif waiting and find_unfinished_runs(context.instance, group.symbols, group.deferred_name):
            reason = f"{len(waiting)} runs are deferred, and {group.name} is being fetched"
        else:
            while waiting and not requests:
                run_id = next(iter(waiting))
                requests = list(_request_missing(context.instance, group, run_id, waiting.pop(run_id)))
        cursor = json.dumps(
            {
                "waiting": {run_id: moment.strftime(UNTIL_FORMAT) for run_id, moment in waiting.items()},
                "seen": seen,
                "after": after,
            }
        )
        return dg.SensorResult(
            run_requests=requests, skip_reason=None if requests else dg.SkipReason(reason), cursor=cursor
        )

    return resume


def _read_cursor(cursor: str | None) -> tuple[dict[str, datetime], dict[str, float], float]:
    state = json.loads(cursor) if cursor else {}
    waiting = {run_id: parse_until(text) for run_id, text in state.get("waiting", {}).items()}
    return waiting, state.get("seen", {}), state.get("after", 0.0)


def _add_ended_runs(
    instance: dg.DagsterInstance, group: SeriesGroup, waiting: dict[str, datetime], seen: dict[str, float], after: float
) -> float:
    """Add runs that ended since the last look, oldest first; returns when the newest of them ended."""
    records = instance.get_run_records(
        dg.RunsFilter(
            tags={DEFERRED_TAG: group.name},
            # What a person cancelled is not wanted.
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            updated_after=datetime.fromtimestamp(after, UTC) - _OVERLAP if after else None,
        )
    )
    for record in sorted(records, key=lambda item: item.create_timestamp):
        run, ended = record.dagster_run, record.update_timestamp.timestamp()
        after = max(after, ended)
        if run.run_id not in seen and UNTIL_TAG in run.tags:
            waiting[run.run_id] = parse_until(run.tags[UNTIL_TAG])
            seen[run.run_id] = ended
    for run_id in [run_id for run_id, ended in seen.items() if ended < after - 2 * _OVERLAP.total_seconds()]:
        del seen[run_id]
    return after


def _request_missing(
    instance: dg.DagsterInstance, group: SeriesGroup, run_id: str, until: datetime
) -> Iterator[dg.RunRequest]:
    """Neighbouring partitions of the same series make one run; what came meanwhile is left out."""
    missing = find_missing(instance, group, run_id)
    position = {key: index for index, key in enumerate(group.partitions.get_partition_keys())}
    for keys, series in _join_neighbours(missing, position, group.source.partitions_per_run):
        names = hashlib.sha256(repr(series).encode()).hexdigest()[:12]
        yield dg.RunRequest(
            # One per deferral: asked for again after the next one only.
            run_key=f"{group.name} {keys[0]}..{keys[-1]} {names} {until.strftime(UNTIL_FORMAT)}",
            asset_selection=series,
            tags={RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]},
        )


def find_missing(instance: dg.DagsterInstance, group: SeriesGroup, run_id: str) -> dict[str, set[dg.AssetKey]]:
    """Series by partition that a run deferred, that nobody has materialised since, and that gb.yaml still wants."""
    deferred: dict[dg.AssetKey, dict[str, float]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION):
        event = entry.dagster_event
        seen = event.asset_observation_data.asset_observation if event is not None else None
        if seen is not None and seen.partition is not None and seen.metadata["status"].value == "deferred":
            deferred.setdefault(seen.asset_key, {})[seen.partition] = entry.timestamp
    missing: dict[str, set[dg.AssetKey]] = {}
    for key, partitions in deferred.items():
        if key not in group.symbols:
            continue
        wanted = dg.AssetRecordsFilter(
            asset_key=key, asset_partitions=list(partitions), after_timestamp=min(partitions.values())
        )
        materialized_since = {
            item.partition_key for item in instance.fetch_materializations(wanted, limit=10_000).records
        }
        for partition in partitions.keys() - materialized_since:
            missing.setdefault(partition, set()).add(key)
    return missing


def _join_neighbours(
    missing: Mapping[str, set[dg.AssetKey]], position: Mapping[str, int], most: int
) -> Iterator[tuple[Sequence[str], Sequence[dg.AssetKey]]]:
    # A partition that lies outside the source's days by now has no position.
    keys = sorted((key for key in missing if key in position), key=position.__getitem__)
    numbered = enumerate(keys)
    for (_, series), group in groupby(
        numbered, lambda item: (position[item[1]] - item[0], frozenset(missing[item[1]]))
    ):
        run = [key for _, key in group]
        for begin in range(0, len(run), most):
            yield run[begin : begin + most], sorted(series)
