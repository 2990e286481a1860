"""Windows that are remembered are those that Dagster finds by itself, and finding them costs once what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.definition import time_window as module
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import Grain
from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.dagster_runtime.known_windows import KnownWindows, remember_windows
from gb_pipeline.dagster_runtime.private import TimeWindowPartitionsSubset
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.orchestration.partitions import Partitioning

CLASS: Any = dg.TimeWindowPartitionsDefinition
REPLACED = (
    "_iterate_time_windows", "_reverse_iterate_time_windows", "is_window_start_excluded", "filter_valid_partition_keys",
    "get_partition_keys", "__hash__",
)  # fmt: skip
CACHES = (
    "time_window_for_partition_key", "time_windows_for_partition_keys", "_get_first_partition_window",
    "_get_last_partition_window", "get_partition_keys_in_time_window",
)  # fmt: skip
START = date(2023, 12, 20)
DAYS = [str(START + timedelta(days=day)) for day in range(-5, 120)]
days = st.sampled_from(DAYS)
moments = st.integers(-40 * 24, 130 * 24).map(
    lambda hours: datetime(2023, 12, 20, 0, 30, tzinfo=UTC) + timedelta(hours=hours)
)


@pytest.fixture(autouse=True)
def _remember() -> None:
    remember_windows()


@contextmanager
def dagsters_own() -> Iterator[None]:
    """As Dagster does it without us."""
    ours = {(CLASS, name): getattr(CLASS, name) for name in REPLACED}
    ours[TimeWindowPartitionsSubset, "_add_partitions_to_time_windows"] = (
        TimeWindowPartitionsSubset._add_partitions_to_time_windows
    )
    try:
        for (kind, name), method in ours.items():
            setattr(kind, name, method.__wrapped__)
        yield
    finally:
        for (kind, name), method in ours.items():
            setattr(kind, name, method)


@cache
def define(calendar: str, end: date | None) -> dg.TimeWindowPartitionsDefinition:
    return Partitioning(get_calendar(calendar), Grain.DAY, START, end).definition


def ask_everything(definition: Any, now: datetime, keys: list[str], moment: datetime) -> list[Any]:
    """What Dagster's pages and its daemon ask of a definition."""
    for name in CACHES:
        getattr(CLASS, name).cache_clear()
    when = moment.timestamp()
    with partition_loading_context(effective_dt=now) as context:
        valid = sorted(definition.filter_valid_partition_keys(set(keys)))
        many = sorted(definition.filter_valid_partition_keys(set(DAYS)))
        holes = [
            definition.empty_subset().with_partition_keys(set(days) - set(keys))
            for days in (many, DAYS if many else [])
        ]
        subset = definition.empty_subset().with_partition_keys(valid)
        before = list(islice(definition._reverse_iterate_time_windows(when), 4))
        after = list(islice(definition._iterate_time_windows(when), 4))
        return [
            definition.get_partition_keys(), definition.get_first_partition_key(), definition.get_last_partition_key(),
            definition.get_num_partitions(), valid, many, subset.serialize(),
            [(one.serialize(), one.included_time_windows, one.get_partition_keys()) for one in holes],
            list(subset.get_partition_keys()), subset.get_partition_keys_not_in_subset(definition),
            [definition.has_partition_key(key) for key in keys],
            [definition.time_window_for_partition_key(key) for key in valid], before, after,
            [definition.is_window_start_excluded(window.start) for window in [*before, *after]],
            [definition.is_window_start_excluded(moment.astimezone(definition.start.tzinfo))],
            [definition.get_paginated_partition_keys(context, 5, ascending) for ascending in (True, False)],
            definition.get_partition_key_for_timestamp(when),
        ]  # fmt: skip


# Dagster's own answers take a while: it is what this is about.
@settings(max_examples=30)
@given(
    calendar=st.sampled_from(["XNYS", "XTKS", "CMES", "XLON"]),
    end=st.sampled_from([None, date(2024, 1, 18)]),
    now=moments,
    keys=st.lists(days, max_size=8),
    moment=moments,
)
def test_the_answers_are_dagsters_own(
    calendar: str, end: date | None, now: datetime, keys: list[str], moment: datetime
) -> None:
    definition = define(calendar, end)
    with dagsters_own():
        expected = ask_everything(definition, now, keys, moment)
    assert ask_everything(definition, now, keys, moment) == expected


def test_windows_are_found_once_for_all_series_however_many_days_they_have(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that nobody has opened since an upgrade looks at every day of every series."""
    walked = 0

    def walk(*arguments: Any, **named: Any) -> Iterator[datetime]:
        nonlocal walked
        for tick in original(*arguments, **named):
            walked += 1
            yield tick

    original = module.cron_string_iterator
    monkeypatch.setattr(module, "cron_string_iterator", walk)
    series = [dg.AssetKey(["series", str(number)]) for number in range(3)]
    # Equal, and not the same: the webserver makes one for each series.
    definitions = [
        Partitioning(get_calendar("XTKS"), Grain.DAY, date(2023, 1, 2), date(2023, 6, 1)).definition for _ in series
    ]
    keys = definitions[0].get_partition_keys()
    with together(instance):
        for key in series:
            for day in keys:
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))
    costs = []
    for key, definition in zip(series, definitions, strict=True):
        walked = 0
        keep_status_warm(instance, [key], definition)
        costs.append(walked)

    assert len(keys) > 90
    assert instance.get_status_by_partition(series[-1], keys, definitions[-1]) is not None
    assert costs[1:] == [0, 0]


def test_threads_that_ask_at_once_see_the_same_windows() -> None:
    definition = define("XNYS", None)
    with dagsters_own():
        made = list(islice(definition._iterate_time_windows(definition.start_timestamp), 500))

    def ask(known: KnownWindows) -> list[dg.TimeWindow]:
        return list(islice(known.from_moment(definition.start_timestamp), 400))

    for _ in range(20):
        known = KnownWindows(iter(made))
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, [known] * 8)) == [made[:400]] * 8
