"""What a symbol meant on a day, and the bars of one instrument under all the symbols that it had."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline_tests.actions import received as actions
from gb_pipeline_tests.actions import split
from gb_pipeline_tests.bars import at

FIGI = "BBG000MM2P62"
NAMES = pl.DataFrame(
    {
        "symbol": ["FB", "META", "META", "FB"],
        "valid_from": ["2012-05-18", "2022-06-09", "2021-06-30", "2025-01-02"],
        "valid_until": ["2022-06-09", None, "2022-01-31", None],
        "name": ["Facebook, Inc.", "Meta Platforms, Inc.", "Roundhill Ball Metaverse ETF", "Fly By"],
        "composite_figi": [FIGI, FIGI, "BBG011K55GD7", "BBG0FLYBY001"],
    }
)


@pytest.fixture
def traded(lake, write):
    """Days of FB and META: of Facebook around its change of ticker, of the fund before, and of the other FB after."""
    lake.store.write_instruments(NAMES)
    write("massive", "META", "2022-01-27", ["15", "14"], resolution="1d", days=2)
    write("massive", "FB", "2022-06-07", ["195", "196"], resolution="1d", days=2)
    write("massive", "META", "2022-06-09", ["184", "175"], resolution="1d", days=2)
    write("massive", "FB", "2025-01-02", ["3", "4"], resolution="1d", days=2)
    return lake


def facebook(lake, *span, **how):
    bars = lake.instrument_bars(lake.symbol("FB", "2020-01-02"), "1d", *span, **how)
    return bars.select("symbol", pl.col("timestamp").dt.date(), pl.col("close").cast(pl.Float64)).rows()


BOTH = [
    ("FB", date(2022, 6, 7), 195),
    ("FB", date(2022, 6, 8), 196),
    ("META", date(2022, 6, 9), 184),
    ("META", date(2022, 6, 10), 175),
]


def test_a_symbol_means_who_stood_under_it_on_the_day(traded):
    assert traded.symbol("FB", "2022-06-08").name == "Facebook, Inc."
    assert traded.symbol("META", "2022-06-09").name == "Meta Platforms, Inc."
    assert traded.symbol("FB", "2022-06-08").instrument == traded.symbol("META", "2022-06-09").instrument
    assert traded.symbol("META", "2021-12-31").name == "Roundhill Ball Metaverse ETF"
    assert traded.symbol("FB", "2025-01-02").name == "Fly By"
    [series] = traded.symbol("FB", "2022-06-08").series
    assert (series.source, series.symbol, series.resolution) == ("massive", "FB", "1d")
    with pytest.raises(UnknownSeries, match="no instrument stood under META on 2022-03-01") as caught:
        traded.symbol("META", "2022-03-01")
    assert "2021-06-30 .. 2022-01-31" in caught.value.fix
    with pytest.raises(UnknownSeries) as caught:
        traded.symbol("MEAT", "2022-03-01")
    assert caught.value.near == ("META",)


def test_the_bars_of_an_instrument_go_on_across_its_symbols_and_never_into_somebody_elses(traded):
    assert facebook(traded) == BOTH
    assert facebook(traded, "2022-06-08", "2022-06-10") == BOTH[1:3]
    fund = traded.instrument_bars(traded.symbol("META", "2021-12-31").instrument, "1d")
    assert fund["close"].cast(pl.Float64).to_list() == [15, 14]
    with pytest.raises(NoDataInRange, match="no 1d bar of I-"):
        facebook(traded, "2024-01-01")
    with pytest.raises(UnknownSeries, match="no instrument has the id I-X"):
        traded.instrument_bars("I-X", "1d")


def test_renaming_a_series_moves_its_bars_and_no_meaning(traded):
    before = facebook(traded)
    traded.store.rename("massive", "FB", "FB-OLD", reason="the code is somebody else's")
    moved = [(code.replace("FB", "FB-OLD"), *rest) for code, *rest in before]
    assert facebook(traded) == moved
    assert traded.symbol("FB", "2022-06-08").series[0].symbol == "FB-OLD"
    assert traded.instrument_bars(traded.symbol("FB", "2025-01-03"), "1d")["symbol"].unique().to_list() == ["FB-OLD"]


def test_what_renaming_moved_to_somebody_elses_symbol_stays_whose_it_was(lake, write):
    """The whole history of FB under META, as who does not know of the fund would want it."""
    lake.store.write_instruments(NAMES)
    write("massive", "FB", "2022-01-27", ["294", "301"], resolution="1d", days=2)
    write("massive", "META", "2022-06-09", ["184"], resolution="1d")
    lake.store.rename("massive", "FB", "META", reason="the ticker changed")
    assert [row[::2] for row in facebook(lake)] == [("META", 294), ("META", 301), ("META", 184)]
    with pytest.raises(NoDataInRange):
        lake.instrument_bars(lake.symbol("META", "2022-01-27"), "1d")
    assert [item.symbol for item in lake.symbol("FB", "2022-01-27").series] == ["META"]
    assert lake.symbol("META", "2022-01-27").series == ()


def test_what_was_known_at_a_moment_is_what_is_read(lake, write):
    early, late = datetime(2022, 6, 1, tzinfo=UTC), datetime(2022, 7, 1, tzinfo=UTC)
    write("massive", "FB", "2022-05-30", ["195"], resolution="1d", now=early)
    lake.store.write_instruments(NAMES.head(1).with_columns(valid_until=pl.lit(None, pl.String())))
    write("massive", "META", "2022-06-09", ["184"], resolution="1d", now=late)
    lake.store.write_instruments(NAMES.head(2))
    known = early + timedelta(days=1)
    assert lake.symbol("FB", "2022-06-20", as_of=known).instrument == lake.symbol("META", "2022-06-20").instrument
    with pytest.raises(UnknownSeries):
        lake.symbol("FB", "2022-06-20")
    assert [row[0] for row in facebook(lake)] == ["FB", "META"]
    assert [row[0] for row in facebook(lake, as_of=known)] == ["FB"]
    assert lake.instruments("FB", versions=True).height == 3


def test_intraday_bars_change_their_symbol_at_midnight_of_the_exchange(lake, write, received):
    """Hours of FB until 04:00 UTC, midnight in New York, are still its own."""
    from gb_pipeline.config.source_facts import SourceFacts
    from gb_pipeline.reading.lake import Lake

    lake.store.write_instruments(NAMES.head(2))
    for code in ("FB", "META"):
        write("massive", code, "2022-06-09", ["1"] * 24, resolution="1h")
    there = Lake(lake.store, facts=[SourceFacts("massive", calendar="XNYS")])
    hours = there.instrument_bars(there.symbol("META", "2022-06-09"), "1h", columns=["timestamp", "symbol"])
    first = hours.filter(pl.col("symbol") == "META")["timestamp"].min()
    assert first == at("2022-06-09T04:00")
    assert hours.filter(pl.col("symbol") == "FB").height == 4


def test_splits_are_those_of_the_instrument_under_whichever_symbol(traded):
    window = (date(2010, 1, 1), date(2026, 1, 1))
    told = [split("2022-06-10", "2", symbol="META"), split("2025-01-03", "10", symbol="FB")]
    traded.store.write_actions("massive", ["FB", "META"], window, actions(*told))
    assert [row[2] for row in facebook(traded, adjustment="splits")] == [97.5, 98, 92, 175]
    assert [row[2] for row in facebook(traded, adjustment="none")] == [195, 196, 184, 175]
    closes = traded.instrument_bars(traded.symbol("META"), "1d", adjustment="splits", columns=["close"], as_float=True)
    assert closes["close"].to_list() == [97.5, 98, 92, 175]
    with pytest.raises(ConfigError, match="across symbols"):
        facebook(traded, adjustment="splits+dividends")


def test_splits_that_nobody_asked_for_are_not_taken_for_none(traded):
    with pytest.raises((ReadError, UnknownSeries), match=r"never fetched|not known|unknown"):
        facebook(traded, adjustment="splits")


def test_what_the_user_says_holds_for_every_source_and_before_what_vendors_say(lake):
    store = lake.store
    vendor = NAMES.head(2).with_columns(valid_from=pl.Series(["2012-05-18", "2022-06-11"]))
    vendor = vendor.with_columns(valid_until=pl.Series(["2022-06-11", None]))
    store.write_instruments(vendor, source="massive")
    assert lake.symbol("FB", "2022-06-10").source == "massive"
    store.write_instruments(NAMES.head(2))
    for source in (None, "massive"):
        assert lake.symbol("META", "2022-06-10", source=source).source == "own"
        with pytest.raises(UnknownSeries):
            lake.symbol("FB", "2022-06-10", source=source)


def test_sources_that_disagree_are_both_named(lake):
    for source, exchange in (("kraken", "kraken"), ("coinbase", "coinbase")):
        frame = pl.DataFrame({"symbol": ["BTC-USD"], "asset_class": ["crypto"], "exchange": [exchange]})
        lake.store.write_instruments(frame, source=source)
    with pytest.raises(
        ReadError, match=r"several instruments .* \(kraken\) of kraken and .*|.* of coinbase and .* of kraken"
    ):
        lake.symbol("BTC-USD")
    assert lake.symbol("BTC-USD", source="kraken").exchange == "kraken"
    with pytest.raises(UnknownSeries):
        lake.symbol("BTC-USD", source="binance")


def test_bars_of_one_venue_are_not_taken_for_those_of_another(lake, write):
    for source in ("kraken", "coinbase"):
        write(source, "BTC-USD", "2024-01-02", ["1" if source == "kraken" else "2"], resolution="1d")
    pair = {"symbol": ["BTC-USD"], "asset_class": ["crypto"], "exchange": ["kraken"]}
    lake.store.write_instruments(pl.DataFrame(pair), source="kraken")
    pairs = lake.instrument_bars(lake.symbol("BTC-USD"), "1d", as_float=True)
    assert pairs["close"].to_list() == [1]
    own = lake.store.write_instruments(pl.DataFrame({**pair, "exchange": ["some venue"]})).instruments[0]
    with pytest.raises(ReadError, match="coinbase and kraken have bars under a symbol of I-"):
        lake.instrument_bars(own, "1d")
    assert lake.instrument_bars(own, "1d", source="coinbase", as_float=True)["close"].to_list() == [2]


def test_contracts_of_a_root_come_from_the_instruments(lake, write):
    chain = {
        "symbol": ["ESH14", "ESZ13"],
        "root": ["ES", "ES"],
        "expiry": ["2014-03-21", "2013-12-20"],
        "tick_size": ["0.25", "0.25"],
        "multiplier": ["50", "50"],
        "currency": ["USD", "USD"],
    }
    lake.store.write_instruments(pl.DataFrame(chain))
    contracts = lake.contracts("ES")
    assert contracts.select("symbol", "expiry", "multiplier").rows() == [
        ("ESZ13", date(2013, 12, 20), Decimal(50)),
        ("ESH14", date(2014, 3, 21), Decimal(50)),
    ]
    for code, closes in (("ESZ13", ["1800"] * 5), ("ESH14", ["1790"] * 5)):
        write("cme", code, "2013-12-16", closes, resolution="1d", days=5)
    ours = lake.continuous("ES", "1d", days_before=1, calendar="CMES", join="difference")
    given = lake.continuous(
        contracts.select("symbol", "expiry"), "1d", days_before=1, calendar="CMES", join="difference"
    )
    assert ours.equals(given)
    own = pl.DataFrame({"session": [date(2013, 12, 18)], "from_symbol": ["ESZ13"], "to_symbol": ["ESH14"]})
    with pytest.raises(UnknownSeries, match="no table of rolls of ES"):
        lake.continuous("ES", "1d", roll="stored", calendar="CMES")
    lake.store.write_rolls("ES", own)
    stored = lake.continuous("ES", "1d", roll="stored", calendar="CMES")
    assert stored.equals(lake.continuous("ES", "1d", roll=own, calendar="CMES"))
    assert stored["symbol"].to_list() == ["ESZ13"] * 2 + ["ESH14"] * 3
    with pytest.raises(UnknownSeries, match="no contract of 'NQ'"):
        lake.contracts("NQ")
