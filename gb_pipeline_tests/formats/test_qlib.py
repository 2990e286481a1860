"""Qlib's data folders: 32-bit floats placed by a calendar, adjusted prices said to be adjusted."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, FormatRefused, NaiveTimestamp
from gb_pipeline.formats.importing import import_bars

DAYS = ["2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05"]
FIELDS = ("open", "high", "low", "close", "volume")


def write(
    folder: Path, symbol: str, start: int, closes: list[float], factor: float = 1.0, frequency: str = "day"
) -> None:
    """As Qlib's dump_bin does: the place of the first value, and the values."""
    features = folder / "features" / symbol.lower()
    features.mkdir(parents=True, exist_ok=True)
    values = dict.fromkeys(("open", "high", "low", "close"), closes)
    values |= {
        "volume": [float("nan") if np.isnan(close) else 1000.5 for close in closes],
        "factor": [factor] * len(closes),
    }
    for name, numbers in values.items():
        np.hstack([start, numbers]).astype("<f4").tofile(features / f"{name}.{frequency}.bin")


def write_calendar(folder: Path, frequency: str, lines: list[str]) -> None:
    (folder / "calendars").mkdir(parents=True, exist_ok=True)
    (folder / "calendars" / f"{frequency}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "us_data"
    write_calendar(folder, "day", DAYS)
    write(folder, "AAPL", 1, [21.1, float("nan"), 22.25])
    return folder


def test_values_stand_where_the_calendar_puts_them_and_no_price_is_no_bar(lake, data):
    report = import_bars(lake, "qlib", data, source="qlib", calendar="XNYS")
    assert report.total.received == report.total.stored == 2 and report.adjustment == "raw"
    bars = lake.bars("AAPL", "1d", source="qlib")
    assert bars["timestamp"].dt.date().to_list() == [date(2024, 7, 2), date(2024, 7, 5)]
    # The shortest decimal that reads back as the same 32-bit float.
    assert bars["close"].to_list() == [Decimal("21.1"), Decimal("22.25")]
    assert (
        bars["close"].cast(pl.Float64).cast(pl.Float32).to_list()
        == pl.Series([21.1, 22.25], dtype=pl.Float32).to_list()
    )


def test_prices_with_factors_are_stored_as_adjusted(lake, data):
    write(data, "MSFT", 0, [1.5, 1.25], factor=0.25)
    report = import_bars(lake, "qlib", data, source="qlib", calendar="XNYS")
    assert report.adjustment == "all" and any("adjusted" in note for note in report.notes)
    assert lake.coverage("qlib")["adjustment"].unique().to_list() == ["all"]


def test_chinese_codes_name_their_exchange_and_minutes_need_a_zone(lake, tmp_path):
    folder = tmp_path / "cn_data"
    write_calendar(folder, "1min", ["2024-01-02 09:30:00", "2024-01-02 09:31:00"])
    write(folder, "SH600000", 0, [6.61, 6.62], frequency="1min")
    with pytest.raises(NaiveTimestamp, match="its times have no zone"):
        import_bars(lake, "qlib", folder, source="qlib")
    report = import_bars(lake, "qlib", folder, source="qlib", timezone="Asia/Shanghai")
    assert report.calendar == "XSHG" and report.total.stored == 2
    assert lake.bars("SH600000", "1m", source="qlib")["timestamp"][0] == datetime(2024, 1, 2, 1, 30, tzinfo=UTC)


def test_other_exchanges_have_to_be_named(lake, data):
    with pytest.raises(ConfigError, match="does not name the exchange"):
        import_bars(lake, "qlib", data, source="qlib")


def cut(data):
    file = data / "features" / "aapl" / "close.day.bin"
    file.write_bytes(file.read_bytes()[:-2])


def begin_late(data):
    write(data, "AAPL", 3, [1.0, 2.0])


def begin_nowhere(data):
    np.array([np.nan, 1.0], dtype="<f4").tofile(data / "features" / "aapl" / "close.day.bin")


def turn_back(data):
    write_calendar(data, "day", [*DAYS, DAYS[0]])


def write_no_date(data):
    write_calendar(data, "day", [*DAYS[:3], "soon"])


DAMAGES = {
    cut: "close.day.bin: it has 14 bytes, no whole number of 32-bit floats",
    begin_late: "2 values from place 3 on do not fit a calendar of 4",
    begin_nowhere: "1 values from place nan on do not fit",
    turn_back: "day.txt: its times go back",
    write_no_date: "day.txt: line 4: 'soon' is no time",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_named(lake, data, damage):
    damage(data)
    try:
        said = str(import_bars(lake, "qlib", data, source="qlib", calendar="XNYS").errors)
    except FormatRefused as error:
        said = str(error)
    assert re.search(DAMAGES[damage], said)


def test_an_instrument_that_lacks_a_field_is_named(lake, data):
    (data / "features" / "msft").mkdir()
    (data / "features" / "aapl" / "close.day.bin").rename(data / "features" / "msft" / "close.day.bin")
    with pytest.raises(ConfigError, match="AAPL day: there is no close"):
        import_bars(lake, "qlib", data, source="qlib", calendar="XNYS")
