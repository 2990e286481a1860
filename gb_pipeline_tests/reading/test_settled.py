"""Finality: which bars are settled, how the lag of a source is learned, and which readers can leave provisional bars out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.source_facts import SourceFacts, read_facts
from gb_pipeline.errors import ConfigError, NoDataInRange, UnknownSeries
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.reading.conftest import Write

FIRST = datetime(2024, 1, 3, tzinfo=UTC)


def later(lake: Lake, **distance: float) -> datetime:
    """Let time pass since the first day was stored; the new present."""
    now = FIRST + timedelta(**distance)
    lake.store.clock = SetClock(now)
    return now


def lag(lake: Lake, **named: object) -> timedelta:
    found: timedelta = lake.settled(**named)["lag"].item(0)  # type: ignore[arg-type]
    return found


def test_a_bar_is_provisional_until_the_floor_has_passed(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.6"], now=FIRST)
    later(lake, days=3, microseconds=-1)
    with pytest.raises(NoDataInRange, match="settled"):
        lake.bars("BTC-USD", "1m", settled_only=True)
    assert lake.scan_bars("BTC-USD", "1m", settled_only=True).collect().is_empty()
    later(lake, days=3)
    assert lake.bars("BTC-USD", "1m", settled_only=True).equals(lake.bars("BTC-USD", "1m"))
    assert lake.scan_bars("BTC-USD", "1m", settled_only=True).collect().height == 2
    # What could be known of finality is part of what was known at a moment.
    with pytest.raises(NoDataInRange, match="settled"):
        lake.bars("BTC-USD", "1m", settled_only=True, as_of=FIRST + timedelta(days=2))
    with pytest.raises(NoDataInRange):
        lake.bars("BTC-USD", "1m", settled_only=True, as_of="0001-01-01")


def test_a_range_without_any_bar_says_so_as_always(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5"], now=FIRST)
    with pytest.raises(NoDataInRange, match="no bars of"):
        lake.bars("BTC-USD", "1m", "2025-01-01", settled_only=True)


def test_the_lag_is_the_longest_time_after_which_the_source_restated_a_bar(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.6"], now=FIRST)
    write("calm", "BTC-USD", "2024-01-02", ["1.5", "1.6"], now=FIRST)
    assert lag(lake, source="sim") == timedelta(days=3)
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.7"], now=FIRST + timedelta(days=4))
    # Counted from when the bar became known, not from its last change.
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.8"], now=FIRST + timedelta(days=9))
    assert lag(lake, source="sim") == timedelta(days=9)
    assert lag(lake, source="calm") == timedelta(days=3)
    # It holds for other series of the source, and not before it was seen.
    write("sim", "ETH-USD", "2024-01-12", ["5"], resolution="1d", now=FIRST + timedelta(days=10, hours=1))
    assert lag(lake, source="sim", symbols="ETH-USD") == timedelta(days=9)
    assert lag(lake, source="sim", symbols="BTC-USD", as_of=FIRST + timedelta(days=5)) == timedelta(days=4)
    assert lag(lake, source="sim", symbols="BTC-USD", as_of=FIRST + timedelta(days=3)) == timedelta(days=3)


def test_what_happened_longer_than_a_year_ago_is_forgotten(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5"], now=FIRST)
    write("sim", "BTC-USD", "2024-01-02", ["1.6"], now=FIRST + timedelta(days=30))
    later(lake, days=30 + 364)
    assert lag(lake) == timedelta(days=30)
    later(lake, days=30 + 366)
    assert lag(lake) == timedelta(days=3)


def test_a_correction_of_ours_says_nothing_about_the_source(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.6"], now=FIRST)
    later(lake, days=30)
    values = dict.fromkeys(("open", "high", "low", "close"), "1.7")
    lake.store.override("sim", "BTC-USD", "1m", datetime(2024, 1, 2, tzinfo=UTC), values, "a bad tick")
    assert lake.bars("BTC-USD", "1m")["close"][0] == Decimal("1.7")
    assert lag(lake) == timedelta(days=3)


def test_a_bar_that_changes_is_provisional_again_and_its_neighbours_are_not(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.6", "1.7"], now=FIRST)
    write("sim", "BTC-USD", "2024-01-02", ["1.5", "9", "1.7"], now=FIRST + timedelta(days=5))
    later(lake, days=6)
    bars = lake.bars("BTC-USD", "1m", settled_only=True, as_float=True, columns=["close"])
    assert bars["close"].to_list() == [1.5, 1.7]
    (row,) = lake.settled("sim", "BTC-USD", "1m").to_dicts()
    assert (row["settled_until"], row["provisional"]) == (datetime(2024, 1, 2, 0, 1, tzinfo=UTC), 1)
    later(lake, days=10)
    (row,) = lake.settled("sim", "BTC-USD", "1m").to_dicts()
    assert (row["settled_until"], row["provisional"]) == (datetime(2024, 1, 2, 0, 3, tzinfo=UTC), 0)


def test_every_series_is_told_and_before_its_end_every_bar_is_settled(lake: Lake, write: Write) -> None:
    for day in range(2, 12):
        now = datetime(2024, 1, day + 1, 1, tzinfo=UTC)
        for symbol in ("BTC-USD", "ETH-USD"):
            write("sim", symbol, f"2024-01-{day:02}", [f"{day}", f"{day}.5"], now=now)
            write("sim", symbol, f"2024-01-{day:02}", [f"{day}"], resolution="1d", now=now)
    later(lake, days=9, hours=2)
    found = lake.settled()
    assert found.schema["settled_until"] == pl.Datetime("us", "UTC")
    assert found.select("symbol", "resolution").rows() == [
        ("BTC-USD", "1d"), ("ETH-USD", "1d"), ("BTC-USD", "1m"), ("ETH-USD", "1m"),
    ]  # fmt: skip
    for row in found.to_dicts():
        assert row["settled_until"] == datetime(2024, 1, 9, tzinfo=UTC)
        names = row["symbol"], row["resolution"]
        assert lake.bars(*names, settled_only=True).equals(lake.bars(*names, end=row["settled_until"]))
    with pytest.raises(UnknownSeries):
        lake.settled("sim", "BTC-UDS")


def test_all_shapes_and_longer_bars_leave_provisional_ones_out(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5"] * 120, now=FIRST)
    write("sim", "BTC-USD", "2024-01-02", [*["1.5"] * 119, "9"], now=FIRST + timedelta(days=1))
    later(lake, days=3, hours=12)
    hours = lake.bars("BTC-USD", "1m", resample="1h", settled_only=True)
    assert hours["timestamp"].to_list() == [datetime(2024, 1, 2, tzinfo=UTC)]
    assert lake.wide("close", "BTC-USD", "1m", settled_only=True).height == 119
    assert lake.arrow("BTC-USD", "1m", settled_only=True).num_rows == 119
    with pytest.raises(NoDataInRange, match="settled"):
        lake.bars("BTC-USD", "1m", resample="1d", settled_only=True)


def test_the_floor_of_each_source_is_remembered_by_the_catalog_and_by_a_pin(lake: Lake, write: Write) -> None:
    write("sim", "BTC-USD", "2024-01-02", ["1.5"], now=FIRST)
    write("other", "BTC-USD", "2024-01-02", ["1.5"], now=FIRST)
    refresh_catalog(lake.store, facts=[SourceFacts("sim", settle_days=0), SourceFacts("other", settle_days=20)])
    later(lake, days=10)
    alone = Lake(lake.store)
    lags = dict(alone.settled().select("source", "lag").rows())
    assert lags == {"sim": timedelta(), "other": timedelta(days=20)}
    pin = alone.pin("now", ["sim:BTC-USD", "other:BTC-USD"], "1m")
    assert {fact.name: fact.settle_days for fact in pin.sources} == {"sim": 0, "other": 20}
    assert alone.replay("now").bars("BTC-USD", "1m", source="sim", settled_only=True).height == 1
    with pytest.raises(NoDataInRange, match="settled"):
        alone.replay("now").bars("BTC-USD", "1m", source="other", settled_only=True)


@pytest.mark.parametrize(("text", "days"), [("7", 7), ('"0"', 0), ("", 3), ("-1", 0), ("99999999", 3650)])
def test_the_floor_is_read_from_gb_yaml_also_where_the_source_cannot_fetch(
    tmp_path: Path, text: str, days: int
) -> None:
    (tmp_path / "gb.yaml").write_text(
        f"lake: data\nsources:\n  sim:\n    provider: none\n    settle_days: {text}\n", "utf-8"
    )
    assert [fact.settle_days for fact in read_facts(tmp_path / "gb.yaml")] == [days]
    (tmp_path / "gb.yaml").write_text("sources: {sim: {settle_days: soon}}\n", "utf-8")
    with pytest.raises(ConfigError, match="source sim: settle_days is not a number"):
        read_facts(tmp_path / "gb.yaml")
