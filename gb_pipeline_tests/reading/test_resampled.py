"""`lake.bars(..., resample=)`: longer bars by sessions, whole at both ends of a range, and nothing that has not ended."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline import ConfigError, Lake, NoDataInRange, Resolution, UnknownSeries, WindowRefused, get_calendar
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.market.resample import resample
from gb_pipeline_tests.bars import at, day, minutes


@pytest.fixture
def two_days(lake: Lake) -> Lake:
    """Two UTC days of minutes of two symbols."""
    frame = pl.concat([minutes("2024-01-02", 2880, symbol=symbol) for symbol in ("BTC-USD", "ETH-USD")])
    lake.write_bars("sim", ["BTC-USD", "ETH-USD"], "1m", day("2024-01-02", 2), frame)
    return lake


def test_longer_bars_are_exactly_those_of_the_rows(two_days):
    rows = two_days.bars(None, "1m")
    for longer in ("5m", "1h", "4h", "1d", "1w"):
        made = two_days.bars(None, "1m", resample=longer, columns=rows.columns)
        expected = resample(rows, Resolution.parse(longer), get_calendar("24/7"), resolution=Resolution.MINUTE)
        assert made.equals(expected), longer
        assert made["close"].dtype == pl.Decimal(18, 8)
    assert made["source"].unique().to_list() == ["sim"]


@pytest.mark.parametrize("symbols", ["BTC-USD", ["BTC-USD", "ETH-USD"], None])
@pytest.mark.parametrize("source", ["sim", None])
@pytest.mark.parametrize("settled_only", [False, True])
def test_some_columns_are_those_of_the_whole_answer(two_days, symbols, source, settled_only):
    asked = {"source": source, "resample": "1h", "settled_only": settled_only}
    two_days.store.clock = lambda: at("2034-01-01")
    whole = two_days.bars(symbols, "1m", "2024-01-02T05:30Z", **asked)
    for columns in (["close"], ["symbol", "timestamp"], ["volume", "source"], ["vwap", "known_at"], whole.columns):
        part = two_days.bars(symbols, "1m", "2024-01-02T05:30Z", columns=columns, **asked)
        assert part.equals(whole.select(columns)), columns


def test_floats_are_the_nearest_to_the_exact_sums(two_days):
    exact = two_days.bars("BTC-USD", "1m", resample="1h", columns=["volume"])["volume"]
    floats = two_days.bars("BTC-USD", "1m", resample="1h", columns=["volume"], as_float=True)["volume"]
    assert floats.to_list() == [float(value) for value in exact]


def test_a_range_is_one_of_opens_and_cuts_no_bar(two_days):
    whole = two_days.bars("BTC-USD", "1m", resample="1h")
    part = two_days.bars("BTC-USD", "1m", "2024-01-02T09:30Z", "2024-01-02T11:30Z", resample="1h")
    assert part["timestamp"].to_list() == [at("2024-01-02T10:00"), at("2024-01-02T11:00")]
    assert part.equals(whole.filter(pl.col("timestamp").is_in(part["timestamp"].implode())))


def test_a_bar_that_has_not_ended_is_left_out_now_and_as_of_a_moment(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 100, now=at("2024-01-02T01:40:10"))
    assert lake.bars("BTC-USD", "1m", resample="1h")["timestamp"].to_list() == [at("2024-01-02")]
    with pytest.raises(NoDataInRange):
        lake.bars("BTC-USD", "1m", resample="1d")
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 1440, now=at("2024-01-03T00:10"))
    assert lake.bars("BTC-USD", "1m", resample="1d")["volume"].to_list() == [Decimal(1440)]
    then = lake.bars("BTC-USD", "1m", resample="1h", as_of="2024-01-02T01:50Z")
    assert then["timestamp"].to_list() == [at("2024-01-02")]


def test_the_calendar_of_the_source_decides_sessions(lake, write):
    """The FX session of Wednesday begins on Tuesday at 17:00 New York."""
    write("fx", "EUR-USD", "2024-01-02", ["1.5"] * 24, resolution="1h")
    write("fx", "EUR-USD", "2024-01-03", ["1.5"] * 24, resolution="1h")
    assert lake.bars("EUR-USD", "1h", resample="1d")["volume"].to_list() == [24, 24]
    by_hand = lake.bars("EUR-USD", "1h", resample="1d", calendar="FX")
    assert dict(by_hand.select(pl.col("timestamp").dt.date(), "volume").rows()) == {
        date(2024, 1, 2): 22,
        date(2024, 1, 3): 24,
        date(2024, 1, 4): 2,
    }
    refresh_catalog(lake.store, facts=[SourceFacts("fx", calendar="FX")])
    alone = Lake.open(lake.store.storage.root)
    assert alone.bars("EUR-USD", "1h", resample="1d").equals(by_hand)
    only = alone.bars("EUR-USD", "1h", "2024-01-03", "2024-01-04", resample="1d")
    assert only["volume"].to_list() == [24]


def test_symbols_of_markets_with_different_sessions_are_each_resampled_by_their_own(lake, write):
    write("fx", "EUR-USD", "2024-01-02", ["1.5"] * 24, resolution="1h")
    write("coins", "BTC-USD", "2024-01-02", ["1.5"] * 24, resolution="1h")
    refresh_catalog(lake.store, facts=[SourceFacts("fx", calendar="FX")])
    made = lake.bars(None, "1h", resample="1d", columns=["symbol", "timestamp", "volume"])
    assert made.rows() == [
        ("BTC-USD", at("2024-01-02"), 24),
        ("EUR-USD", at("2024-01-02"), 22),
        ("EUR-USD", at("2024-01-03"), 2),
    ]


def test_a_bar_made_of_days_of_several_sources_is_one_bar_and_names_them(lake, write):
    write("alpha", "AAPL", "2024-01-02", ["1"], resolution="1d")
    write("beta", "AAPL", "2024-01-02", ["9", "2", "3"], resolution="1d", days=3)
    (week,) = lake.bars("AAPL", "1d", resample="1w").to_dicts()
    assert (week["source"], week["timestamp"], week["open"], week["close"]) == ("alpha+beta", at("2024-01-01"), 1, 3)


def test_what_cannot_be_made_is_refused(two_days):
    with pytest.raises(ConfigError, match="nothing is finer"):
        two_days.bars("BTC-USD", "1m", resample="1s")
    with pytest.raises(ConfigError, match="withdrawn"):
        two_days.bars("BTC-USD", "1m", resample="1h", columns=["withdrawn"])
    with pytest.raises(WindowRefused, match="trading hours of XNYS"):
        two_days.bars("BTC-USD", "1m", resample="1h", calendar="XNYS")
    with pytest.raises(NoDataInRange):
        two_days.bars("BTC-USD", "1m", "2024-01-05", resample="1h")
    assert two_days.bars("BTC-USD", "1m", resample="1min").equals(two_days.bars("BTC-USD", "1m"))


def test_an_open_end_reaches_as_far_as_time_does(two_days):
    first = two_days.bars(
        "BTC-USD", "1m", date.min, datetime.max.replace(tzinfo=at("2024-01-01").tzinfo), resample="1d"
    )
    assert first.height == 2
    assert two_days.bars("BTC-USD", "1m", at("2024-01-02") + timedelta(hours=30), resample="1h").height == 18


def test_who_asks_for_longer_bars_that_are_not_stored_is_told_how_they_are_made(two_days):
    with pytest.raises(UnknownSeries) as refused:
        two_days.bars("BTC-USD", "1d")
    [call] = [part for part in refused.value.fix.split(": ") if part.startswith("lake.bars(")]
    assert eval(call, {"lake": two_days}).height > 0
