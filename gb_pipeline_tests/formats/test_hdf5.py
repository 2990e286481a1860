"""Frames of pandas in HDF5: every layout that `to_hdf` writes, and nothing that a hostile store wants to be run."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import h5py
import pandas as pd
import pytest

from gb_pipeline.errors import ConfigError, FormatRefused, NaiveTimestamp
from gb_pipeline.formats.importing import import_bars

OPEN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)


def minutes(zone: str | None = "UTC", rows: int = 5) -> pd.DataFrame:
    index = pd.date_range(OPEN, periods=rows, freq="min", name="date").tz_convert(zone)
    return pd.DataFrame({"open": 1.1, "high": 2.0, "low": 1.0, "close": 1.25, "volume": range(rows)}, index=index)


LAYOUTS = {
    "fixed": {"format": "fixed"},
    "table": {"format": "table"},
    "data columns": {"format": "table", "data_columns": True},
    "compressed": {"format": "table", "complevel": 9, "complib": "blosc"},
}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bars(lake, tmp_path, layout, zone):
    minutes(zone).to_hdf(tmp_path / "bars.h5", key="minute/AAPL", **LAYOUTS[layout])
    report = import_bars(lake, "hdf5", tmp_path / "bars.h5", source="store", calendar="XNYS")
    assert report.whole and report.total.stored == 5
    bars = lake.bars("AAPL", "1m", source="store")
    assert bars["timestamp"][0] == OPEN and bars["open"][0] == Decimal("1.1")
    assert bars["volume"].to_list() == [0, 1, 2, 3, 4]


def test_times_in_a_column_and_without_a_zone(lake, tmp_path):
    local = minutes("America/New_York").tz_localize(None).reset_index()
    local.to_hdf(tmp_path / "AAPL.h5", key="df", format="table")
    with pytest.raises(ConfigError, match="does not say how long its bars are"):
        import_bars(lake, "hdf5", tmp_path / "AAPL.h5", source="store", calendar="XNYS")
    with pytest.raises(NaiveTimestamp, match="its times have no zone"):
        import_bars(lake, "hdf5", tmp_path / "AAPL.h5", source="store", calendar="XNYS", resolution="1m")
    report = import_bars(
        lake,
        "hdf5",
        tmp_path / "AAPL.h5",
        source="store",
        calendar="XNYS",
        resolution="1m",
        timezone="America/New_York",
    )
    assert report.total.stored == 5 and lake.bars("AAPL", "1m", source="store")["timestamp"][0] == OPEN


def test_days_are_sessions_and_adjusted_prices_are_said_to_be(lake, tmp_path):
    index = pd.DatetimeIndex(["2024-07-02", "2024-07-03", "2024-07-05"])
    frame = pd.DataFrame({"Open": 1.5, "High": 2.0, "Low": 1.0, "Close": [1.0, 1.25, 1.5], "Volume": 7}, index=index)
    for symbol in ("AAPL", "MSFT"):
        frame.to_hdf(tmp_path / "bars.h5", key=f"daily/{symbol}", format="fixed")
    report = import_bars(lake, "hdf5", tmp_path, source="store", calendar="XNYS", adjustment="all")
    assert [series.counts.stored for series in report.series] == [3, 3] and report.adjustment == "all"
    assert lake.coverage("store")["adjustment"].unique().to_list() == ["all"]
    assert lake.bars("MSFT", "1d", source="store")["close"].to_list() == [Decimal("1"), Decimal("1.25"), Decimal("1.5")]


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.write_text, (self.place, "boom"))


def test_nothing_is_unpickled(lake, tmp_path):
    file = tmp_path / "hostile.h5"
    minutes().to_hdf(file, key="minute/AAPL", format="table")
    with h5py.File(file, "a") as store:
        store["minute/AAPL"].attrs["info"] = pickle.dumps(Bomb(tmp_path / "boom"), protocol=0)
        store["minute/AAPL/table"].attrs["values_block_0_kind"] = pickle.dumps(Bomb(tmp_path / "boom"), protocol=0)
    report = import_bars(lake, "hdf5", file, source="store", calendar="XNYS")
    assert not report.whole and not (tmp_path / "boom").exists()


def test_data_of_other_files_is_not_read(lake, tmp_path):
    other, file = tmp_path / "other.h5", tmp_path / "bars.h5"
    minutes().to_hdf(other, key="minute/MSFT", format="table")
    minutes().to_hdf(file, key="minute/AAPL", format="table")
    with h5py.File(file, "a") as store:
        store["minute/MSFT"] = h5py.ExternalLink(str(other), "/minute/MSFT")
        store["minute/AAPL"].move("table", "was")
        store["minute/AAPL/table"] = h5py.ExternalLink(str(other), "/minute/MSFT/table")
    report = import_bars(lake, "hdf5", file, source="store", calendar="XNYS")
    assert [series.symbol for series in report.series] == ["AAPL"]
    assert "table is not there, or a link" in str(report.errors) and report.total.received == 0


def test_a_store_that_is_damaged_or_empty_is_refused(lake, tmp_path):
    minutes(rows=5000).to_hdf(tmp_path / "cut.h5", key="minute/AAPL", format="table")
    body = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(body[: len(body) // 2])
    with pytest.raises(FormatRefused, match=r"cut.h5: "):
        import_bars(lake, "hdf5", tmp_path / "cut.h5", source="store", calendar="XNYS")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FormatRefused, match="has no frame of pandas"):
        import_bars(lake, "hdf5", tmp_path / "empty.h5", source="store", calendar="XNYS")


# A week before and after the clock changes in New York, Berlin and Lord Howe; of Tokyo it never does.
SESSIONS = ["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12", "2024-03-28", "2024-04-02", "2024-04-08"]
ZONES = {"America/New_York": "XNYS", "Europe/Berlin": "XETR", "Asia/Tokyo": "XTKS"}


def days(index: pd.DatetimeIndex) -> pd.DataFrame:
    return pd.DataFrame({"open": 1.5, "high": 2.0, "low": 1.0, "close": 1.25, "volume": range(len(index))}, index=index)


@pytest.mark.parametrize("layout", ["fixed", "table"])
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kept", ["in its zone", "in UTC", "in UTC without saying so", "as another zone"])
def test_midnights_of_an_exchange_are_its_sessions(lake, tmp_path, layout, zone, kept):
    index = pd.DatetimeIndex(SESSIONS).tz_localize(zone)
    known = {
        "in its zone": index,
        "in UTC": index.tz_convert("UTC"),
        "in UTC without saying so": index.tz_convert("UTC").tz_localize(None),
        "as another zone": index.tz_convert("Australia/Lord_Howe"),
    }[kept]
    days(known).to_hdf(tmp_path / "bars.h5", key="daily/AAPL", **LAYOUTS[layout])
    # What the file says itself needs no calendar of that zone.
    calendar = "24/5" if kept == "in its zone" else ZONES[zone]
    report = import_bars(lake, "hdf5", tmp_path, source="store", calendar=calendar, timezone="UTC")
    assert report.whole and report.total.stored == len(SESSIONS)
    bars = lake.bars("AAPL", "1d", source="store")
    assert bars["timestamp"].dt.strftime("%F %T").to_list() == [f"{day} 00:00:00" for day in SESSIONS]
    assert bars["volume"].to_list() == list(range(len(SESSIONS)))


def test_days_that_are_stamped_at_no_midnight_are_refused_as_a_whole_and_one_of_many_by_itself(lake, tmp_path):
    noons = pd.DatetimeIndex(SESSIONS).tz_localize("UTC") + pd.Timedelta(hours=14, minutes=30)
    days(noons).to_hdf(tmp_path / "bars.h5", key="daily/NOON", format="fixed")
    mixed = pd.DatetimeIndex(SESSIONS).tz_localize("America/New_York").tz_convert("UTC")
    days(mixed.append(noons[-1:])).to_hdf(tmp_path / "bars.h5", key="daily/SOME", format="fixed")
    report = import_bars(lake, "hdf5", tmp_path, source="store", calendar="XNYS", max_bad_fraction=0.5)
    noon, some = report.series
    assert "stamped 14:30 UTC, which is no midnight of UTC or America/New_York" in noon.error
    assert "--calendar" in noon.error and noon.counts.received == 0
    assert (some.counts.stored, some.reasons) == (len(SESSIONS), {"misaligned": 1})


def test_an_offset_without_a_name_is_read_in_utc(lake, tmp_path):
    index = pd.DatetimeIndex(SESSIONS[:2]).tz_localize(timezone(timedelta(hours=-5)))
    days(index).to_hdf(tmp_path / "bars.h5", key="daily/AAPL", format="fixed")
    report = import_bars(lake, "hdf5", tmp_path, source="store", calendar="XNYS")
    assert report.total.stored == 2
    assert lake.bars("AAPL", "1d")["timestamp"].dt.strftime("%F").to_list() == SESSIONS[:2]
