"""Minutes of a bundle: a slot for each minute of each session, placed by the calendar, across half days and summer time."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from numcodecs.blosc import compress

from gb_pipeline.formats.importing import import_bars
from gb_pipeline.market.calendar import get_calendar

# The day before Thanksgiving, the half day behind it, and two days around the change to summer time.
FIRST, LAST = date(2023, 11, 22), date(2024, 3, 12)
CHUNK = 1000


def write_column(folder: Path, values: np.ndarray) -> None:
    """As bcolz does: chunks of Blosc behind 16 bytes, sizes and type as JSON."""
    (folder / "data").mkdir(parents=True)
    (folder / "meta").mkdir()
    (folder / "meta" / "sizes").write_text(json.dumps({"shape": [len(values)], "nbytes": values.nbytes, "cbytes": 0}))
    (folder / "meta" / "storage").write_text(
        json.dumps({"dtype": "uint32", "chunklen": CHUNK, "expectedlen": CHUNK, "dflt": 0})
    )
    for number, start in enumerate(range(0, len(values), CHUNK)):
        header = b"blpk\x01\0\0\0" + (1).to_bytes(8, "little")
        body = compress(values[start : start + CHUNK].astype("<u4").tobytes(), b"lz4", 5, 1)
        (folder / "data" / f"__{number}.blp").write_bytes(header + body)


@pytest.fixture
def minutes(own_bundle: Path) -> tuple[Path, list[datetime]]:
    """AAPL's minutes in a bundle, and the opens of those that were traded in."""
    schedule = get_calendar("XNYS").schedule(FIRST, LAST + timedelta(days=1))
    opens, closes = schedule["open"].to_list(), schedule["close"].to_list()
    slots = [opened + timedelta(minutes=n) for opened in opens for n in range(390)]
    ends = [closed for closed in closes for _ in range(390)]
    # A half day leaves its afternoon empty, and some minutes have no trade.
    traded = (
        np.array([slot < end and number % 97 for number, (slot, end) in enumerate(zip(slots, ends, strict=True))]) > 0
    )
    # Price and volume of a sid that has begun only on the third day.
    traded[: 2 * 390] = False
    folder = own_bundle / "minute_equities.bcolz"
    table = folder / "00" / "00" / "000007.bcolz"
    for name, value in {"open": 10_125, "high": 11_500, "low": 9_001, "close": 10_250, "volume": 100}.items():
        write_column(table / name, np.where(traded, value, 0))
    about = {"version": 3, "ohlc_ratio": 1000, "minutes_per_day": 390, "calendar_name": "NYSE"}
    about |= {"start_session": str(FIRST), "end_session": str(LAST)}
    (folder / "metadata.json").write_text(json.dumps(about), encoding="utf-8")
    # The days of the bundle are of other years.
    shutil.rmtree(own_bundle / "daily_equities.bcolz")
    return own_bundle, [slot for slot, there in zip(slots, traded, strict=True) if there]


def list_opens(bundle: Path) -> None:
    """As zipline did before it looked its calendar up: the label of each session's first minute, which is its end."""
    file = bundle / "minute_equities.bcolz" / "metadata.json"
    opens = get_calendar("XNYS").schedule(FIRST, LAST + timedelta(days=1))["open"].dt.epoch("s") // 60 + 1
    about = json.loads(file.read_text(encoding="utf-8")) | {"market_opens": opens.to_list()}
    file.write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize("listed", [True, False])
def test_minutes_are_placed_by_their_slots(lake, minutes, listed):
    bundle, opens = minutes
    if listed:
        list_opens(bundle)
    (series,) = import_bars(lake, "zipline", bundle, source="bundle").series
    assert (series.counts.stored, series.counts.quarantined) == (len(opens), 0)
    bars = lake.bars("AAPL", "1m", source="bundle")
    assert bars["timestamp"].to_list() == opens
    assert bars["low"].unique().to_list() == [Decimal("9.001")]
    # 14:30 in winter, 13:30 in summer, both in UTC.
    assert {opened.hour for opened in opens if opened.date() == LAST} >= {13} and datetime(
        2024, 3, 11, 19, 59, tzinfo=UTC
    ) in opens


def test_more_minutes_than_the_sessions_have_are_refused(lake, minutes):
    bundle, _ = minutes
    file = bundle / "minute_equities.bcolz" / "metadata.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(about | {"end_session": "2023-12-01"}), encoding="utf-8")
    report = import_bars(lake, "zipline", bundle, source="bundle")
    assert "29,250 minutes, and its 7 sessions have room for 2,730" in str(report.errors)
    file.write_text(json.dumps(about | {"ohlc_ratio": 300}), encoding="utf-8")
    assert "prices of 1/300" in str(import_bars(lake, "zipline", bundle, source="bundle").errors)
