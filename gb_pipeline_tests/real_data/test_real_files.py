"""Real files through the CSV provider: every line once, every digit as in the file."""

from __future__ import annotations

import asyncio
import csv
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.csv.provider import CsvProvider
from gb_pipeline_tests.real_data import bcolz_reader
from gb_pipeline_tests.real_data.real_series import Series, daily_series, dirty_series, lean_series
from gb_pipeline_tests.work import counted_work

Find = Callable[[str], Path]
FAMILIES = {"daily": daily_series, "lean": lean_series, "dirty": dirty_series}
NUMBERS = (*PRICES, "volume")


async def read(series: Series, root: Path) -> pl.DataFrame:
    """The whole series, asked for in windows that touch, as a backfill does."""
    source = series.settings(root)
    provider = CsvProvider.from_settings(source)
    parts = []
    for window in windows(series, root):
        fetched = await provider.fetch_bars(source.instruments[0], window, Resolution.parse(series.resolution))
        stamps = fetched.frame["timestamp"].drop_nulls()
        assert stamps.is_sorted()
        assert all(stamp in window for stamp in stamps.unique())
        parts.append(fetched.frame)
    # Only parts with refused rows have a column `fault`.
    return pl.concat(parts, how="diagonal")


def windows(series: Series, root: Path) -> list[Window]:
    """Local days of minutes, months of anything longer."""
    days = series.days(root)
    if series.resolution != "1m":
        first = days[0].replace(day=1)
        months = pl.date_range(first, days[-1] + timedelta(days=62), "1mo", eager=True).to_list()
        return [Window.of(*pair) for pair in pairwise(months)]
    zone = ZoneInfo(series.zone)
    edges = [(day, day + timedelta(days=1)) for day in days]
    return [Window.of(*(datetime.combine(edge, time(), zone) for edge in pair)) for pair in edges]


@pytest.mark.parametrize(("family", "count"), [("daily", 29), ("lean", 16), ("dirty", 35)])
async def test_every_line_comes_out_once_with_every_digit(family: str, count: int, market_data: Find) -> None:
    manifest = market_data("MANIFEST.csv")
    with manifest.open(encoding="utf-8", newline="") as file:
        said = {line["file"]: line["rows"] for line in csv.DictReader(file)}
    root = manifest.parent
    found = FAMILIES[family](root)
    assert len(found) == count
    for series in found:
        frame = await read(series, root)
        out = Counter(zip(frame["timestamp"].to_list(), frame.select(NUMBERS).rows(), strict=True))
        assert out == Counter((row.stamp, row.numbers) for row in series.rows(root)), series.name
        if "ask_close" in frame.columns:
            asks = Counter(zip(frame["timestamp"].to_list(), frame["ask_close"].to_list(), strict=True))
            assert asks == Counter((row.stamp, row.ask_close) for row in series.rows(root)), series.name
        # Futures have several contracts in one file; the manifest counts them together.
        if not series.member.startswith("_"):
            assert frame.height == sum(int(re.match(r"\d+", said[file])[0]) for file in series.files), series.name  # type: ignore[index]


def series_named(name: str, found: list[Series]) -> Series:
    return next(series for series in found if series.name == name)


async def test_the_flash_crash_of_2017_is_there(market_data: Find) -> None:
    root = market_data("MANIFEST.csv").parent
    frame = await read(series_named("Coinbase days", lean_series(root)), root)
    assert frame.filter(pl.col("low") == "0.06")["timestamp"].to_list() == [datetime(2017, 4, 15, tzinfo=UTC)]


@pytest.mark.parametrize(("name", "rows", "crossed"), [("FXCM days", 3487, 123), ("fxcm minutes", 2873, 62)])
async def test_crossed_quotes_can_be_seen(name: str, rows: int, crossed: int, market_data: Find) -> None:
    root = market_data("MANIFEST.csv").parent
    frame = await read(series_named(name, lean_series(root)), root)
    asks, bids = frame["ask_close"].cast(pl.Decimal(18, 8)), frame["close"].cast(pl.Decimal(18, 8))
    assert frame.height == rows
    assert (asks < bids).sum() == crossed


async def test_a_line_that_is_not_a_number_comes_out_as_it_stands(market_data: Find) -> None:
    root = market_data("MANIFEST.csv").parent
    frame = await read(series_named("orcl-2010-googlefinance-malformed.csv", dirty_series(root)), root)
    assert frame.filter(pl.col("open") == "-")["received"].to_list() == ["30-Dec-10,-,31.58,31.21,31.29,12989495"]


async def test_minutes_that_stand_twice_come_out_twice(market_data: Find) -> None:
    root = market_data("MANIFEST.csv").parent
    frame = await read(series_named("FESXM24", lean_series(root)), root)
    assert (frame.height, frame["timestamp"].n_unique()) == (2304 + 504, 1152 + 252)


async def test_a_zipline_bundle_reads_exactly(market_data: Find, tmp_path: Path) -> None:
    bundle = market_data("zipline-bundle/test")
    table = next(bundle.glob("*/daily_equities.bcolz"))
    count = bcolz_reader.write_csv(table, 3, tmp_path / "DELL.csv")
    source = bcolz_reader.source(tmp_path)
    window = Window.of(date(2000, 1, 1), date(2020, 1, 1))
    frame = (await CsvProvider.from_settings(source).fetch_bars(Symbol.equity("DELL"), window, Resolution.DAY)).frame
    assert frame.height == count == 2494
    lines = (tmp_path / "DELL.csv").read_text().splitlines()[1:]
    for row, line in zip(frame.select("timestamp", *NUMBERS).rows(), lines, strict=True):
        day, *prices, volume = map(int, line.split(","))
        assert row[0] == datetime.fromtimestamp(day, UTC)
        assert [Decimal(text) for text in row[1:5]] == [Decimal(price).scaleb(-3) for price in prices]
        assert row[5] == str(volume)


def test_twelve_years_of_hours_are_read_by_columns_and_once(market_data: Find) -> None:
    root = market_data("MANIFEST.csv").parent
    source = series_named("Oanda hours", lean_series(root)).settings(root)
    provider = CsvProvider.from_settings(source)
    whole = Window.of("2007-01-01", "2019-01-01")
    calls = []
    for _ in range(2):
        with counted_work() as work:
            fetched = asyncio.run(provider.fetch_bars(source.instruments[0], whole, Resolution.HOUR))
        calls.append(work.calls)
    # The first time the libraries are imported as well; the second time nothing is parsed.
    assert calls[0] < 2 * fetched.frame.height
    assert calls[1] < fetched.frame.height / 10
