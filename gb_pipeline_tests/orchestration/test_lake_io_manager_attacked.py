"""Inputs from lakes of other calendars, grains, precisions and places."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg
import polars as pl
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.orchestration.lake_io_manager import LakeIOManager
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.reading.lake import Lake


def read(settings: Settings, source: str, resolution: str, symbol: str, *keys: str, io: LakeIOManager | None = None):
    """The input of an asset with the very partitions of its source, in one run over all keys."""
    group = SeriesGroup.of(settings, source, resolution)
    key = dg.AssetKey([source, group.resolution.table, symbol])
    context = dg.build_input_context(
        asset_key=key,
        name="bars",
        asset_partitions_def=group.partitions,
        asset_partition_key_range=dg.PartitionKeyRange(keys[0], keys[-1]),
        dagster_type=dg.DagsterType(lambda _, value: value is not None, "frame", typing_type=pl.DataFrame),
    )
    return (io or LakeIOManager.of(settings)).load_input(context)


def make(folder, **source) -> tuple[Settings, Lake]:
    body = {"provider": "csv", "symbols": ["AAPL"], "gap_policy": "no_trade"} | source
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"mine": body}}), encoding="utf-8")
    settings = Settings.load(folder)
    return settings, Lake.open(settings.lake, create=True)


def put(lake: Lake, settings: Settings, resolution: str, start: str, end: str, close: str = "10") -> pl.DataFrame:
    """A bar at every expected time of the sessions [start, end)."""
    source = settings.source("mine")
    calendar = get_calendar(source.calendar)
    group = SeriesGroup.of(settings, "mine", resolution)
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    stamps = calendar.expected(first, last, group.resolution, source.alignment)["timestamp"]
    numbers = {name: [close] * stamps.len() for name in ("open", "high", "low", "close", "volume")}
    frame = pl.DataFrame({"timestamp": stamps, **numbers})
    window = calendar.window(first, last, group.resolution)
    report = lake.put(
        frame,
        source="mine",
        resolution=resolution,
        symbol="AAPL",
        calendar=calendar,
        window=window,
        precision=source.precision,
    )
    assert report.stored == stamps.len()
    return frame


def test_the_first_month_of_a_source_that_starts_in_the_middle_of_it(tmp_path):
    settings, lake = make(tmp_path, calendar="XNYS", start="2024-01-16", end="2024-03-01", resolutions=["1d"])
    put(lake, settings, "1d", "2024-01-16", "2024-03-01")

    assert read(settings, "mine", "1d", "AAPL", "2024-01").height == 12
    assert read(settings, "mine", "1d", "AAPL", "2024-01", "2024-02").height == 32


@pytest.mark.parametrize(
    ("calendar", "day", "first"),
    [
        ("XNYS", "2024-01-03", datetime(2024, 1, 3, 14, 30, tzinfo=UTC)),
        ("XTKS", "2024-01-05", datetime(2024, 1, 5, 0, 0, tzinfo=UTC)),
        # The session of the 3rd begins on the evening before.
        ("FX", "2024-01-03", datetime(2024, 1, 2, 22, 0, tzinfo=UTC)),
        ("CMES", "2024-01-03", datetime(2024, 1, 2, 23, 0, tzinfo=UTC)),
    ],
)
def test_a_day_is_the_session_of_the_calendar_and_no_day_of_utc(tmp_path, calendar, day, first):
    settings, lake = make(tmp_path, calendar=calendar, start="2024-01-02", end="2024-01-09", resolutions=["1h"])
    put(lake, settings, "1h", "2024-01-04" if calendar == "XTKS" else "2024-01-02", "2024-01-09")

    bars = read(settings, "mine", "1h", "AAPL", day)
    assert bars["timestamp"].min() in {first, first.replace(minute=0)}
    assert bars["timestamp"].max() - bars["timestamp"].min() < timedelta(days=1)
    sessions = SeriesGroup.of(settings, "mine", "1h").partitioning.calendar.expected(
        date.fromisoformat(day),
        date.fromisoformat(day) + timedelta(days=1),
        SeriesGroup.of(settings, "mine", "1h").resolution,
    )
    assert bars["timestamp"].to_list() == sessions["timestamp"].to_list()


def test_wide_numbers_arrive_digit_by_digit(tmp_path):
    settings, lake = make(
        tmp_path, calendar="24/7", start="2024-01-01", end="2024-01-03", resolutions=["1h"], precision="wide", asset_class="crypto",
        symbols=["AAPL"],
    )  # fmt: skip
    put(lake, settings, "1h", "2024-01-01", "2024-01-03", "0.000000000000000123")

    bars = read(settings, "mine", "1h", "AAPL", "2024-01-01", "2024-01-02")
    assert bars["close"].dtype == pl.Decimal(38, 18)
    assert bars["close"][0] == Decimal("0.000000000000000123")
    assert bars.height == 48


def test_several_resolutions_of_a_source_are_inputs_side_by_side(tmp_path):
    settings, lake = make(tmp_path, calendar="XNYS", start="2024-01-02", end="2024-02-01", resolutions=["1h", "1d"])
    put(lake, settings, "1h", "2024-01-02", "2024-01-05")
    put(lake, settings, "1d", "2024-01-02", "2024-02-01")

    assert read(settings, "mine", "1h", "AAPL", "2024-01-02", "2024-01-04")["timestamp"].dt.date().n_unique() == 3
    assert read(settings, "mine", "1d", "AAPL", "2024-01").height == 21


def test_a_partition_outside_of_the_span_of_its_source_is_no_quiet_day(tmp_path):
    settings, lake = make(tmp_path, calendar="XNYS", start="2024-01-02", end="2024-01-10", resolutions=["1h"])
    put(lake, settings, "1h", "2024-01-02", "2024-01-10")
    narrow = LakeIOManager(root=str(settings.lake), config=str(settings.path), spans={"mine": ["2024-01-08", None]})

    with pytest.raises(ConfigError, match="the partition 2024-01-03 lies outside of the span of source mine"):
        read(settings, "mine", "1h", "AAPL", "2024-01-03", io=narrow)
    assert (
        read(settings, "mine", "1h", "AAPL", "2024-01-03", "2024-01-08", io=narrow)["timestamp"].dt.date().n_unique()
        == 1
    )
