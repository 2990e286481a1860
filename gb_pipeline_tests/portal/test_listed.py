"""What a symbol means to a strategy: who stands under it at the clock, without what came to be known later."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from gb_pipeline import ConfigError, DataPortal, LookAhead, SimulationClock, UnknownSeries
from gb_pipeline_tests.bars import at

FIGI = "BBG000MM2P62"
NAMES = pl.DataFrame(
    {
        "symbol": ["FB", "META", "META"],
        "valid_from": ["2012-05-18", "2022-06-09", "2021-06-30"],
        "valid_until": ["2022-06-09", None, "2022-01-31"],
        "name": ["Facebook", "Meta", "Roundhill"],
        "composite_figi": [FIGI, FIGI, "BBG011K55GD7"],
    }
)


def portal_at(lake, now, **options):
    clock = SimulationClock(now)
    return DataPortal(lake, clock, ["FB"], "1d", calendar="XNYS", **options), clock


def test_a_symbol_means_who_stands_under_it_at_the_clock(lake):
    lake.store.write_instruments(NAMES)
    portal, clock = portal_at(lake, "2021-12-31T21:00Z")
    assert portal.symbol("META").name == "Roundhill"
    before = portal.symbol("FB")
    assert (before.name, before.valid_until) == ("Facebook", None)
    clock.advance_to("2022-06-09T02:00Z")
    assert portal.symbol("FB").name == "Facebook", "it is still the evening before in New York"
    clock.advance_to("2022-06-09T14:00Z")
    assert portal.symbol("META").instrument == before.instrument
    assert portal.symbol("FB", "2022-06-08").valid_until == date(2022, 6, 9)
    with pytest.raises(UnknownSeries, match="no instrument stood under FB on 2022-06-09"):
        portal.symbol("FB")


def test_a_later_change_is_not_there_and_asking_for_it_is_listed(lake):
    lake.store.write_instruments(NAMES)
    portal, clock = portal_at(lake, "2022-06-01T14:00Z")
    with pytest.raises(UnknownSeries) as caught:
        portal.symbol("META")
    assert "2022-06-09" not in caught.value.fix
    with pytest.raises(LookAhead, match="symbol was asked for META"):
        portal.symbol("META", "2022-06-09")
    assert portal.audit().select("method", "symbols", "answer").rows() == [("symbol", "META", "refused")]
    clipped, _ = portal_at(lake, "2022-06-01T14:00Z", clip=True)
    assert clipped.symbol("FB", "2022-06-20").name == "Facebook"
    assert clipped.audit()["answer"].to_list() == ["clipped"]
    assert clock.now == at("2022-06-01T14:00")


def test_strictly_only_what_the_lake_knew_at_the_clock_is_there(lake):
    lake.store.clock.now = at("2022-06-05T00:00")
    lake.store.write_instruments(
        NAMES.head(1).with_columns(valid_until=pl.lit(None, pl.String()), name=pl.lit("FB Inc"))
    )
    lake.store.clock.now = at("2022-07-01T00:00")
    lake.store.write_instruments(NAMES)
    portal, clock = portal_at(lake, "2022-06-10T14:00Z", strict=True)
    assert portal.symbol("FB").name == "FB Inc"
    clock.advance_to("2022-07-02T14:00Z")
    assert portal.symbol("META").name == "Meta"
    early, _ = portal_at(lake, "2022-06-01T14:00Z", strict=True)
    with pytest.raises(UnknownSeries):
        early.symbol("FB")


def test_what_a_portal_answers_was_known_when_it_was_made(lake):
    lake.store.write_instruments(NAMES)
    portal, _ = portal_at(lake, "2021-12-31T21:00Z")
    lake.store.clock.now += timedelta(days=1)
    lake.store.write_instruments(NAMES.with_columns(name=pl.lit("another")))
    assert portal.symbol("FB").name == "Facebook"
    assert portal_at(lake, "2021-12-31T21:00Z")[0].symbol("FB").name == "another"


def test_a_pin_has_no_instruments(lake):
    frame = pl.DataFrame(
        {"date": [date(2024, 1, 2)], "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}
    )
    lake.put(frame, source="mine", resolution="1d", symbol="FB", calendar="XNYS")
    replay = lake.replay(lake.pin("then", "FB", "1d"))
    portal = DataPortal(replay, SimulationClock("2024-01-03T21:00Z"), ["FB"], "1d", calendar="XNYS")
    with pytest.raises(ConfigError, match="no instruments"):
        portal.symbol("FB")
