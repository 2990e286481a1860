"""A project of many series with a long history, and a Dagster that shows it as stored; for the benchmark of its pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks.dagster_stack import RESOLUTION, SOURCE, make_project
from gb_pipeline import Lake
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.orchestration.events import project_events
from gb_pipeline.orchestration.series_group import SeriesGroup

INDEX = Path(".dagster", "history", "runs", "index.db")
_PRICES = {"open": "10", "high": "11", "low": "9", "close": "10", "volume": "100"}


def make_history(folder: Path, series: int, sessions: int) -> SeriesGroup:
    """A lake that holds the newest sessions of XNYS of so many series, and Dagster's history of it.

    `gb adopt` tells Dagster of the first series; the others get the same events in the database itself, which is a hundred times
    quicker, and the same to whoever reads them.
    """
    days = get_calendar("XNYS").sessions(date(2000, 1, 1), date.today())[-sessions:]
    settings = make_project(folder, series, [str(day) for day in days], start=str(days[0]))
    lake = Lake.open(folder / "data", create=True)
    names = [symbol.code for symbol in settings.source(SOURCE).instruments]
    bars = pl.DataFrame({"date": list(days)}).with_columns(pl.lit(value).alias(name) for name, value in _PRICES.items())
    lake.put(
        pl.DataFrame({"symbol": names}).join(bars, how="cross"), source=SOURCE, resolution=RESOLUTION, calendar="XNYS"
    )
    group = SeriesGroup.of(settings, SOURCE, RESOLUTION)
    first, *others = group.symbols
    with project_events.open_instance(settings) as instance:
        project_events.adopt(instance, group, lake._store, [group.symbols[first]])
    _write(folder, partial(_copy_series, first=first.to_string(), others=[key.to_string() for key in others]))
    return group


def forget_statuses(folder: Path) -> None:
    """As a new holiday of a calendar does it: what Dagster keeps of each series is of another definition."""
    _write(folder, lambda database: database.execute("update asset_keys set cached_status_data = null"))


def _write(folder: Path, act: Callable[[sqlite3.Connection], object]) -> None:
    with sqlite3.connect(folder / INDEX, timeout=60) as database:
        act(database)
    database.close()


def _copy_series(database: sqlite3.Connection, first: str, others: list[str]) -> None:
    for table in ("event_logs", "asset_keys"):
        columns = [row[1] for row in database.execute(f"pragma table_info({table})") if row[1] != "id"]
        # The key stands in the column of that name, and in the event's own text.
        changed = ", ".join(f"replace({name}, :first, :other)" if name in _TEXTS else name for name in columns)
        database.executemany(
            f"insert into {table} ({', '.join(columns)}) select {changed} from {table} where asset_key = :first order by id",
            [{"first": first, "other": other} for other in others],
        )
    newest = "(select max(id) from event_logs where event_logs.asset_key = asset_keys.asset_key)"
    # Of which event it is the status.
    database.execute(
        f"update asset_keys set last_materialization = json_set(last_materialization, '$.storage_id', {newest}),"
        f" cached_status_data = json_set(cached_status_data, '$.latest_storage_id', {newest})"
        " where cached_status_data is not null"
    )


_TEXTS = {"event", "asset_key", "last_materialization"}
