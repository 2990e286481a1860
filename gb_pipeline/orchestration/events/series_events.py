"""This module makes the events of series and datasets out of outcomes. Writing them is up to `reporter` and `project_events`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision
from gb_pipeline.orchestration.assets.dataset import describe_dataset
from gb_pipeline.orchestration.events.dataset_check import Findings
from gb_pipeline.orchestration.events.outcome import NOT_STORED, PartitionOutcome, describe_deferral
from gb_pipeline.orchestration.events.red_days import RedDays
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.storage import reading


def describe_series(
    key: dg.AssetKey, outcomes: Sequence[PartitionOutcome], rows: Mapping[str, int], red: RedDays
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """The event of each partition of a series: that it is stored, or why it is not; the page of a red day would be blank otherwise.

    Args:
        key: asset of the series.
        outcomes: in order.
        rows: bars of whole series by symbol.
        red: told of the outcomes; what it knows is said by the newest event of what is stored, which the page of the series shows.
    """
    for outcome in outcomes:
        red.add(outcome)
    newest = next((one for one in reversed(outcomes) if one.stored), None)
    for outcome in outcomes:
        if (why := outcome.deferred) is not None:
            sentence, metadata = describe_deferral(why), outcome.deferral_metadata(why)
            yield dg.AssetObservation(key, description=sentence, metadata=metadata, partition=outcome.key)
        elif not outcome.stored:
            metadata = outcome.failure_metadata()
            yield dg.AssetObservation(key, description=outcome.why, metadata=metadata, partition=outcome.key)
        else:
            metadata = outcome.materialization_metadata(rows.get(outcome.job.symbol.code, 0))
            if outcome is newest and (others := red.describe(key)) is not None:
                metadata = {NOT_STORED: others, **metadata}
            yield dg.AssetMaterialization(key, description=outcome.sentence, metadata=metadata, partition=outcome.key)


def describe_open(group: SeriesGroup, series: Iterable[dg.AssetKey], key: str) -> Iterator[dg.AssetObservation]:
    """What is said of a day whose session is not over, for each series."""
    sentence = describe_close(group, key)
    # The page of the day shows the metadata, and no description.
    metadata: dict[str, Any] = {"status": sentence, "closes": dg.MetadataValue.timestamp(_close_of(group, key))}
    for one in sorted(series):
        yield dg.AssetObservation(one, description=sentence, metadata=metadata, partition=key)


def describe_close(group: SeriesGroup, key: str) -> str:
    """Until when a day cannot be stored, and what happens then."""
    return f"the session is not over before {_close_of(group, key):%Y-%m-%d %H:%M}Z; the schedule fetches it then"


def _close_of(group: SeriesGroup, key: str) -> datetime:
    """When the last bar of a day counts as closed."""
    closes = group.partitioning.closes(*group.partitioning.sessions(key)).values()
    return max(closes) + timedelta(seconds=group.source.grace_seconds)


def describe_run(
    store: LakeStore, group: SeriesGroup, rows: Mapping[str, int], findings: Findings
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What a dataset holds after a run, and what the run found."""
    yield describe_dataset(store, group, rows, findings.sentence)
    yield findings.evaluate(group.dataset_key)


def count_series_rows(store: LakeStore, group: SeriesGroup) -> dict[str, int]:
    """How many bars each stored symbol of a group has."""
    files_of = {}
    for precision in Precision:
        snapshot = store.tables.newest(bars_dataset(group.resolution, precision).name)
        files_of[precision] = reading.current_files(snapshot, snapshot.select({"source": group.source.name}))
    standard, wide = files_of[Precision.STANDARD], files_of[Precision.WIDE]
    if group.resolution.intraday and (standard.is_empty() or wide.is_empty()):
        # Every symbol has files of its own, and the log counts their rows.
        counts = pl.concat([files.select("symbol", "rows") for files in files_of.values()])
        return dict(counts.group_by("symbol").agg(pl.col("rows").sum()).iter_rows())
    keys = ["symbol", "timestamp"]
    rows = [
        reading.scan(store.storage, bars_dataset(group.resolution, precision), files, keys)
        for precision, files in files_of.items()
        if files.height
    ]
    if not rows:
        return {}
    # A wide row takes the place of its standard sibling.
    each = rows[0] if len(rows) == 1 else pl.concat(rows).unique()
    return dict(each.group_by("symbol").len().collect().iter_rows())
