"""The tools themselves write what is imported, each in an environment of its own: they cannot live beside this package.

Long, because they are installed first.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gb_pipeline.formats.importing import import_bars

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]


def run_with(packages: list[str], code: str, *arguments: Path, editable: bool = False) -> str:
    """What a script prints that runs with these packages installed, and with this one where it is wanted."""
    command = ["uv", "run", "--no-project", "--python", "3.11", *(f"--with={name}" for name in packages)]
    command += [f"--with-editable={ROOT}"] if editable else []
    done = subprocess.run(
        [*command, "python", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


NAUTILUS = """
import sys
import pandas as pd
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.test_kit.providers import TestInstrumentProvider

catalog = ParquetDataCatalog(sys.argv[1])
catalog.write_data([TestInstrumentProvider.equity(symbol="AAPL", venue="XNAS"), TestInstrumentProvider.btcusdt_binance()])
minute = 60_000_000_000

def write(text, first, step, price, digits, size, size_digits, count):
    moment = pd.Timestamp(first, tz="UTC").value
    kind = BarType.from_str(text)
    catalog.write_data([
        Bar(kind, Price(price, digits), Price(price + 1, digits), Price(price - 1, digits), Price(price, digits),
            Quantity(size, size_digits), moment + number * step, moment + number * step)
        for number in range(count)
    ])

write("AAPL.XNAS-1-MINUTE-LAST-EXTERNAL", "2024-01-02 14:31", minute, 185.17, 2, 100, 0, 390)
write("AAPL.XNAS-1-DAY-LAST-EXTERNAL", "2024-01-02 21:00", 1440 * minute, 185.17, 2, 1000, 0, 2)
write("BTCUSDT.BINANCE-1-HOUR-LAST-EXTERNAL", "2024-01-01 01:00", 60 * minute, 42000.12, 2, 1.234567, 6, 24)
"""


def test_a_catalog_that_nautilus_trader_wrote(lake, tmp_path):
    run_with(["nautilus_trader==1.221.0"], NAUTILUS, tmp_path / "catalog")
    shares = import_bars(lake, "nautilus", tmp_path / "catalog", source="shares", asset_class="equity")
    assert (shares.total.stored, shares.total.quarantined) == (392, 0) and shares.calendar == "XNYS"
    minutes = lake.bars("AAPL", "1m", source="shares")
    assert minutes["timestamp"][0] == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert minutes["close"].unique().to_list() == [Decimal("185.17")]
    assert [series.missing for series in shares.series] == [0, 0]
    pairs = import_bars(lake, "nautilus", tmp_path / "catalog", source="pairs", asset_class="crypto")
    assert pairs.total.stored == 24
    assert lake.bars("BTC-USDT", "1h", source="pairs")["volume"].unique().to_list() == [Decimal("1.234567")]


ZIPLINE = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from zipline.assets import AssetDBWriter
from zipline.data.adjustments import SQLiteAdjustmentWriter
from zipline.data.bcolz_daily_bars import BcolzDailyBarWriter
from zipline.data.bcolz_minute_bars import BcolzMinuteBarWriter
from zipline.utils.calendar_utils import get_calendar

root = Path(sys.argv[1])
root.mkdir()
calendar = get_calendar("XNYS")
# A half day, and the change to summer time.
first, last = pd.Timestamp("2023-11-22"), pd.Timestamp("2024-03-12")
sessions = calendar.sessions_in_range(first, last)
minutes = calendar.sessions_minutes(first, last)
frame = lambda index: pd.DataFrame(
    {"open": 10.125, "high": 11.5, "low": 9.001, "close": 10.0 + np.arange(len(index)) % 7 / 100, "volume": 100}, index=index
)
(root / "minute_equities.bcolz").mkdir()
writer = BcolzMinuteBarWriter(str(root / "minute_equities.bcolz"), calendar, first, last, 390)
# Minutes without a trade.
writer.write([(0, frame(minutes).drop(minutes[5:8]))])
BcolzDailyBarWriter(str(root / "daily_equities.bcolz"), calendar, first, last).write([(0, frame(sessions))])
AssetDBWriter(str(root / "assets-8.sqlite")).write(
    equities=pd.DataFrame(
        {"symbol": ["AAA"], "asset_name": ["A"], "start_date": [first], "end_date": [last], "exchange": ["NYSE"]}, index=[0]
    ),
    exchanges=pd.DataFrame({"exchange": ["NYSE"], "canonical_name": ["NYSE"], "country_code": ["US"]}),
)
SQLiteAdjustmentWriter(str(root / "adjustments.sqlite"), None, overwrite=True).write(
    splits=pd.DataFrame({"sid": [0], "effective_date": [pd.Timestamp("2024-01-03")], "ratio": [0.25]})
)
opens = minutes - pd.Timedelta(minutes=1)
print(pd.Series(opens.astype("int64")).drop([5, 6, 7]).to_json(orient="values"))
"""


def test_a_bundle_that_zipline_wrote_with_its_minutes(lake, tmp_path):
    said = run_with(["zipline-reloaded==3.2.1"], ZIPLINE, tmp_path / "bundle")
    opens = json.loads(said.strip().splitlines()[-1])
    report = import_bars(lake, "zipline", tmp_path / "bundle", source="bundle")
    days, minutes = report.series
    assert (str(days.resolution), days.counts.quarantined, days.missing) == ("1d", 0, 0)
    assert (minutes.counts.stored, minutes.counts.quarantined) == (len(opens), 0)
    unit = 10 ** (len(str(opens[0])) - 10)
    assert lake.bars("AAA", "1m", source="bundle")["timestamp"].dt.epoch("s").to_list() == [
        item // unit for item in opens
    ]
    split = lake.corporate_actions(kind="split").row(0, named=True)
    assert (split["split_to"], split["split_from"]) == (Decimal(4), Decimal(1))


ARCTIC = """
import sys
import arcticdb
import pandas as pd
from gb_pipeline import Lake, import_bars
from gb_pipeline.errors import LakeError

arctic = arcticdb.Arctic("lmdb://" + sys.argv[1])
days = pd.DatetimeIndex(["2024-07-02", "2024-07-03", "2024-07-05"])
frame = pd.DataFrame({"open": 1.5, "high": 2.0, "low": 1.0, "close": [1.1, 1.25, 1.3], "volume": [1, 2, 3]}, index=days)
library = arctic.get_library("daily", create_if_missing=True)
library.write("AAPL", frame)
library.write("AAPL", frame * 2)
library.write("MSFT", frame.tz_localize("America/New_York"))
library.write("NOTES", pd.DataFrame({"text": ["no", "bars"]}))
local = pd.date_range("2024-07-03 09:30", periods=210, freq="min", tz="America/New_York")
minutes = pd.DataFrame({"open": 1.5, "high": 2.0, "low": 1.0, "close": 1.25, "volume": 7}, index=local)
arctic.get_library("1m", create_if_missing=True).write("AAPL", minutes)
lake = Lake.open(sys.argv[2], create=True)
report = import_bars(lake, "arctic", sys.argv[1], source="arctic", calendar="XNYS")
assert report.whole, report.errors
assert [(str(s.resolution), s.counts.stored, s.missing) for s in report.series] == [
    ("1d", 3, 0), ("1m", 210, 0), ("1d", 3, 0)
], report
assert list(report.skipped) == ["daily NOTES"], report.skipped
assert [str(close) for close in lake.bars("AAPL", "1d")["close"]] == ["2.20000000", "2.50000000", "2.60000000"]
assert lake.bars("MSFT", "1d")["timestamp"].dt.hour().to_list() == [0, 0, 0]
again = import_bars(lake, "arctic", sys.argv[1], source="arctic", calendar="XNYS")
assert again.total.unchanged == 216
# A version of the same size is another content.
library.write("AAPL", frame * 3)
try:
    import_bars(lake, "arctic", sys.argv[1], source="arctic", calendar="XNYS", dry_run=True)
except LakeError as error:
    assert "before they changed" in str(error)
    print("done")
"""


def test_libraries_that_arcticdb_wrote(tmp_path):
    assert "done" in run_with(["arcticdb==6.28.2"], ARCTIC, tmp_path / "store", tmp_path / "lake", editable=True)
