"""Months of factor sets are computed again by themselves once the bars behind them are others, or the sets are.

The lake is asked, so what `gb fetch` or another program wrote counts as well; which months that concerns is decided in
`research.factors.due`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.private import RANGE_END_TAG, RANGE_START_TAG
from gb_pipeline.errors import GbError
from gb_pipeline.lake.datasets import FACTOR_RUNS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.assets.factors import MONTHS_PER_RUN, factors_key
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.runs import find_unfinished_runs
from gb_pipeline.portal.loading import answering_tables

NAME = "factors_follow_the_bars"
_SECONDS = 60
# Below schedules of bars, and above backfills.
_PRIORITY = "5"


def build_factors_sensor(settings: Settings, lake: LakeResource) -> dg.SensorDefinition:
    """Request the months that are due, the newest first.

    Args:
        settings: of the project.
        lake: whose ledger says what is due.
    """
    jobs = {
        name: dg.define_asset_job(
            f"factors_{name}_due",
            selection=dg.AssetSelection.assets(factors_key(name)),
            description=f"Months of the factors {name} that other bars would change.",
        )
        for name in settings.factors
    }

    @dg.sensor(
        name=NAME,
        jobs=list(jobs.values()),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks into the ledger for sessions and splits that became known since factors were computed from them, and"
        " requests these months, with those that were never computed.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        store = lake.open_store()
        versions, today = _read_versions(settings, store), store.clock().date()
        if max(versions.values()) < 0:
            return dg.SkipReason("no bars are stored")
        state, seen = _read_state(settings, store, versions, today), context.cursor
        if state == seen:
            return dg.SkipReason("nothing was stored since")
        requests: list[dg.RunRequest] = []
        reasons: list[str] = []
        for name, job in jobs.items():
            if find_unfinished_runs(context.instance, [factors_key(name)], job.name):
                reasons.append(f"{name} is being computed")
                continue
            try:
                requests += request_due(settings, lake, name, job.name, versions, today)
            except GbError as error:
                # What stands in the description of the asset keeps no other set from being computed.
                context.log.error(f"{name}: {error.what}; {error.fix}")
        if requests or reasons:
            # What is under way is looked at again when it has ended.
            skip = None if requests else dg.SkipReason("; ".join(reasons))
            return dg.SensorResult(run_requests=requests, skip_reason=skip)
        context.update_cursor(state)
        return dg.SkipReason("no month is due")

    return follow


def request_due(
    settings: Settings, lake: LakeResource, name: str, job: str, versions: Mapping[str, int], today: date
) -> Iterator[dg.RunRequest]:
    """The runs that compute what is due of a set: neighbouring months in one, the newest first.

    Args:
        versions: of the tables that months depend on.
        today: the last month is that of this day.
    """
    from gb_pipeline.research.factors.due import find_due_months
    from gb_pipeline.research.factors.sets import FactorSet

    chosen = FactorSet.of(settings, name)
    due = [month.key for month in find_due_months(lake.reader, chosen, today)]
    every = [month.key for month in chosen.months(today)]
    occasion = hashlib.sha256(f"{chosen.definition} {versions}".encode()).hexdigest()[:12]
    for part in reversed(list(_join(due, every))):
        # A failed run is not requested again until something is stored, or the set is described otherwise.
        yield dg.RunRequest(
            job_name=job,
            run_key=f"{name} {part[0]}..{part[-1]} {occasion}",
            tags={"dagster/priority": _PRIORITY, RANGE_START_TAG: part[0], RANGE_END_TAG: part[-1]},
        )


def _join(due: Sequence[str], every: Sequence[str]) -> Iterator[list[str]]:
    """Due months that follow one another, as many as a run takes."""
    part: list[str] = []
    places = {key: place for place, key in enumerate(every)}
    for key in due:
        if part and (places[key] != places[part[-1]] + 1 or len(part) >= MONTHS_PER_RUN):
            yield part
            part = []
        part.append(key)
    if part:
        yield part


def _read_versions(settings: Settings, store: LakeStore) -> dict[str, int]:
    """The versions of the tables that months depend on; what the ledger has of a commit may come later."""
    names = {name for own in settings.factors.values() for name in answering_tables(own.resolution)}
    return {name: store.tables.newest(name).version for name in sorted(names)}


def _read_state(settings: Settings, store: LakeStore, versions: Mapping[str, int], today: date) -> str:
    """Everything that decides what is due: the tables, the sets with the modules that they name, and the month."""
    from gb_pipeline.research.factors.sets import module_digest

    described = {
        name: [own.model_dump(mode="json"), module_digest(own, settings.path.parent)]
        for name, own in settings.factors.items()
    }
    computed = store.tables.newest(FACTOR_RUNS.name).version
    content = [versions, computed, described, today.strftime("%Y-%m")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
