"""This module tells Dagster which days of which feeds have other rows than it knows of: one materialisation for each flushed day.

The lake is asked, not a collector: what `gb import` or a collector elsewhere stored counts as well. Each state of a day is told
once, whatever dies in between: what Dagster was told last is compared with what is stored. The feed's checks are told with it, and
the first rows of a feed have the standing checks look, which would not before their next hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.stream_evidence import measure_stored, read_watermarks
from gb_pipeline.market.schema import Precision
from gb_pipeline.orchestration.health import assets as health
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.streams.checks import evaluate_feeds
from gb_pipeline.orchestration.streams.feeds import Feed
from gb_pipeline.storage.dataset import PERIOD
from gb_pipeline.storage.log import Entry
from gb_pipeline.storage.table import Tables

NAME = "streams_follow_the_lake"
ROWS = "dagster/partition_row_count"
_SECONDS = 30
# Of one tick; the next one goes on.
_MOST = 200
# After an instance was made anew, days as old as this are compared although it shows them.
_RECENT_DAYS = 31


def build_streams_sensor(settings: Settings, lake: LakeResource, feeds: Sequence[Feed]) -> dg.SensorDefinition:
    """Report what collectors have committed."""

    @dg.sensor(
        name=NAME,
        job_name=health.HOURLY,
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks into the logs of the tables of trades and order books, and tells of every day of a feed that has other"
        " rows than before, with its checks; the first rows of a feed start the standing checks as well.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        store = lake.open_store()
        tables, today = store.tables.view(), store.clock().date().isoformat()
        names = sorted({feed.table for feed in feeds})
        versions = {name: _versions(tables, name) for name in names}
        seen = json.loads(context.cursor) if context.cursor else {}
        changed = [name for name in names if versions[name] != seen.get(name)]
        if not changed:
            return dg.SkipReason("nothing was committed")
        events: list[dg.AssetMaterialization] = []
        told: list[Feed] = []
        for feed in feeds:
            if feed.table in changed:
                days = find_changed_days(context.instance, tables, feed, seen.get(feed.table) or {})
                # A clock of an exchange that is ahead: such a day is told once it has begun.
                days = days.filter(pl.col("day") <= today)
                other = list(_of_other_rows(context.instance, feed, days, _MOST - len(events)))
                events += _describe(tables, feed, other)
                told += [feed] if other else []
            if len(events) >= _MOST:
                # The cursor stays, and what was told is not told again.
                break
        cursor = context.cursor if len(events) >= _MOST else json.dumps(versions)
        if not events:
            context.update_cursor(cursor)
            return dg.SkipReason("no day has other rows than before")
        latest = context.instance.get_latest_materialization_event
        first = [feed.key.to_user_string() for feed in told if latest(feed.key) is None]
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"first rows of {', '.join(first)}")] if first else [],
            # In this order: a check is that of the newest rows where it is told after them.
            asset_events=[*events, *evaluate_feeds(settings, store, told)],
            cursor=cursor,
        )

    return follow


def find_changed_days(
    instance: dg.DagsterInstance, tables: Tables, feed: Feed, seen: Mapping[str, int]
) -> pl.DataFrame:
    """The days of a feed that may have other rows than Dagster was told.

    Args:
        instance: that was told.
        tables: of the lake.
        feed: whose days.
        seen: the versions of the table and of its sibling of wide numbers that were looked at last; empty where none were.

    Returns:
        `day` (String, as 2024-01-31), `symbols, rows, bytes, files`; those that Dagster shows nothing of first, then the newest.
    """
    stored = measure_stored(tables, feed.source).filter(pl.col("table") == feed.table)
    days = stored.group_by("day").agg(
        pl.col("symbol").n_unique().alias("symbols"), pl.col("rows", "bytes", "files").sum()
    )
    days = days.filter(pl.col("day") >= feed.start.isoformat())
    shown = instance.get_materialized_partitions(feed.key)
    days = days.with_columns(pl.col("day").is_in(list(shown)).alias("shown"))
    touched = _touched_days(tables, feed, seen)
    if touched is None:
        newest = pl.col("day").rank("ordinal", descending=True) <= _RECENT_DAYS
        days = days.filter(~pl.col("shown") | newest)
    else:
        days = days.filter(~pl.col("shown") | pl.col("day").is_in(touched))
    return days.sort("shown", "day", descending=[False, True]).drop("shown")


def _touched_days(tables: Tables, feed: Feed, seen: Mapping[str, int]) -> list[str] | None:
    """The days in which entries since some versions added or removed files of a feed; None where the entries cannot tell."""
    days: set[str] = set()
    for precision in Precision:
        table = tables[stream_dataset(feed.table, precision).name]
        newest = tables.newest(table.name).version
        last = seen.get(table.name, -1)
        if newest < 0:
            continue
        if last < 0 or last > newest:
            return None
        try:
            entries = table.entries(last + 1, newest)
        except LakeError:
            # A vacuum has removed them since.
            return None
        days |= _days_of(feed, entries)
    return sorted(days)


def _days_of(feed: Feed, entries: Sequence[Entry]) -> set[str]:
    """Compaction is left out: it changes no rows."""
    actions = [
        action for entry in entries for action in (*entry.adds, *entry.removes) if action.get("dataChange", True)
    ]
    values = [action.get("partitionValues") or {} for action in actions]
    return {value[PERIOD] for value in values if value.get("source") == feed.source and value.get(PERIOD)}


def _of_other_rows(
    instance: dg.DagsterInstance, feed: Feed, days: pl.DataFrame, most: int
) -> Iterator[dict[str, int | str]]:
    """Of some days, those that were told with another number of rows, or never."""
    found = 0
    for day in days.iter_rows(named=True):
        if found >= most:
            return
        wanted = dg.AssetRecordsFilter(feed.key, asset_partitions=[day["day"]])
        records = instance.fetch_materializations(wanted, limit=1).records
        told = records[0].asset_materialization if records else None
        if told is None or ROWS not in told.metadata or told.metadata[ROWS].value != day["rows"]:
            found += 1
            yield day


def _describe(tables: Tables, feed: Feed, days: Sequence[Mapping[str, int | str]]) -> Iterator[dg.AssetMaterialization]:
    if not days:
        return
    marks = read_watermarks(tables, feed.source).filter(pl.col("dataset") == feed.dataset.value)["through_time"]
    through = marks.max()
    watermark = {} if through is None else {"watermark": dg.MetadataValue.timestamp(int(through) / 1e9)}  # type: ignore[arg-type]
    for day in sorted(days, key=lambda day: str(day["day"])):
        yield dg.AssetMaterialization(
            feed.key,
            partition=str(day["day"]),
            description=f"{day['rows']:,} rows of {day['symbols']:,} instruments",
            metadata={
                ROWS: day["rows"],
                "symbols": day["symbols"],
                "bytes": day["bytes"],
                "files": day["files"],
                "table_version": tables.newest(feed.table).version,
                **watermark,
            },
        )


def _versions(tables: Tables, name: str) -> dict[str, int]:
    snapshots = [tables.newest(stream_dataset(name, precision).name) for precision in Precision]
    return {snapshot.dataset.name: snapshot.version for snapshot in snapshots}
