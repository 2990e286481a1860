"""Names are validated once, at the public boundary: no text of a caller reaches a path, a predicate or another series."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, GbError, InvalidResolution, InvalidSymbol, NaiveTimestamp, WindowRefused
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import changed, day, every_version, minutes, stored
from gb_pipeline_tests.hostile_names import SOURCES, SYMBOLS

EVER = (date(2000, 1, 1), date(2030, 1, 1))
NOW = datetime(2024, 2, 1, tzinfo=UTC)


@pytest.fixture
def filled(store: LakeStore, write: Any) -> LakeStore:
    """Two series of two sources, so that there is something to be harmed."""
    write(store, minutes("2024-01-02", symbol="BTC-USD"))
    write(store, minutes("2024-01-02", symbol="ETH-USD"), source="other", symbols="ETH-USD")
    return store


def everything(store: LakeStore) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.storage.root.rglob("*") if path.is_file()}


def entries(store: LakeStore, source: Any, symbol: Any) -> list[Any]:
    """Every call by which a name can come in."""
    frame = minutes("2024-01-02").drop("symbol")
    told = received(split("2024-01-02", "2")).drop("symbol")
    return [
        lambda: store.write_bars(source, symbol, "1m", day("2024-01-02"), frame),
        lambda: store.write_bars(source, ["BTC-USD", symbol], "1m", day("2024-01-02"), minutes("2024-01-02")),
        lambda: store.write_actions(source, symbol, EVER, told),
        lambda: store.record_failure(source, [symbol], day("2024-01-02"), rules=BarRules()),
        lambda: store.record_fetches([FetchRecord(source, symbol or "..", "1m", NOW, NOW, NOW, FetchOutcome.OK)]),
    ]


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_a_source_that_a_lake_cannot_hold_is_refused_everywhere_and_touches_nothing(filled, number):
    before = everything(filled)
    for call in entries(filled, SOURCES[number], "BTC-USD"):
        with pytest.raises(ConfigError, match="not a name of a source") as caught:
            call()
        assert len(str(caught.value)) < 400
    assert everything(filled) == before


@pytest.mark.parametrize("number", range(len(SYMBOLS)))
def test_a_symbol_that_a_lake_cannot_hold_is_refused_everywhere_and_touches_nothing(filled, number):
    before = everything(filled)
    for call in entries(filled, "sim", SYMBOLS[number]):
        with pytest.raises(InvalidSymbol) as caught:
            call()
        assert len(str(caught.value)) < 400
    assert everything(filled) == before


@pytest.mark.parametrize("name", [None, 5, b"BTC-USD", ("BTC-USD",)])
def test_what_is_no_text_is_no_name(filled, name):
    before = everything(filled)
    for call in entries(filled, name, "BTC-USD"):
        with pytest.raises(ConfigError):
            call()
    with pytest.raises(InvalidSymbol):
        entries(filled, "sim", name)[1]()
    assert everything(filled) == before


def test_the_text_that_once_deleted_every_other_series_is_refused(filled):
    before = every_version(filled)
    with pytest.raises(ConfigError):
        filled.write_bars("sim' OR source <> '", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    assert every_version(filled).equals(before)


@pytest.mark.parametrize("stranger", ["../../x' --", "ETH-USD", "", None])
def test_a_row_of_a_symbol_that_was_not_asked_for_is_quarantined_under_its_own_text(filled, write, stranger):
    other = minutes("2024-01-02", 2).with_columns(pl.lit(stranger, pl.String).alias("symbol"))
    before = every_version(filled)
    report = write(filled, pl.concat([other, minutes("2024-01-02", 1440)]))
    assert (report.received, report.quarantined, report.stored, report.version) == (1442, 2, 0, None)
    assert report.counts[stranger or ""] == RowCounts(received=2, quarantined=2, unplaced=2)
    assert [session.symbol for session in report.sessions] == ["BTC-USD"]
    assert every_version(filled).equals(before)
    kept = quarantine.read(filled.tables)
    assert kept.select("symbol", "reasons").unique().rows() == [(stranger or "", ["symbol_not_asked_for"])]
    assert '"open":"100.25"' in kept["row"][0]


def test_a_column_of_symbols_that_is_no_text_is_refused(filled):
    before = everything(filled)
    frame = minutes("2024-01-02").with_columns(pl.lit(7).alias("symbol"))
    with pytest.raises(WindowRefused, match="'symbol' of the frame is Int32"):
        filled.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame)
    assert everything(filled) == before


def test_a_symbol_may_be_given_as_one(filled, write):
    report = write(filled, minutes("2024-01-02"), symbols=Symbol.crypto("btc/usd"))
    assert report.unchanged == 1440
    assert write(filled, minutes("2024-01-02"), symbols=[Symbol.crypto("BTC-USD"), "BTC-USD"]).unchanged == 1440


def test_symbols_that_differ_in_punctuation_only_are_different_series(filled, write):
    for code in ("BRK.B", "BRK-B", "BRK_B"):
        write(filled, minutes("2024-01-02", 10, symbol=code), symbols=code, rules=BarRules(max_bad_fraction=1.0))
    assert stored(filled)["symbol"].value_counts().sort("symbol").rows() == [
        ("BRK-B", 10), ("BRK.B", 10), ("BRK_B", 10), ("BTC-USD", 1440), ("ETH-USD", 1440),
    ]  # fmt: skip


def test_a_resolution_given_twice_must_agree(filled):
    before = everything(filled)
    daily = minutes("2024-01-02", 1, step=86400)
    with pytest.raises(ConfigError, match="bars of 1d cannot be validated by rules of 1m"):
        filled.write_bars("sim", "BTC-USD", "1d", day("2024-01-02"), daily, rules=BarRules())
    with pytest.raises(InvalidResolution):
        filled.write_bars("sim", "BTC-USD", "7m", day("2024-01-02"), daily)
    assert everything(filled) == before
    filled.write_bars("sim", "BTC-USD", "1d", day("2024-01-02"), daily)
    assert stored(filled, "bars_1d").height == 1


def test_a_window_may_be_a_pair_of_moments(filled):
    frame = changed(minutes("2024-01-02"), 3, volume="9")
    start, end = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)
    assert filled.write_bars("sim", "BTC-USD", "1m", (start, end), frame).restated == 1
    assert filled.write_bars("sim", "BTC-USD", "1m", (start.date(), end.date()), frame).unchanged == 1440
    assert filled.record_failure("sim", ["BTC-USD"], (start, end), rules=BarRules())[0].session == start.date()


@pytest.mark.parametrize(
    ("window", "error"),
    [
        ((datetime(2024, 1, 2), datetime(2024, 1, 3)), NaiveTimestamp),
        (("2024-01-02", "2024-01-03"), ConfigError),
        ((date(2024, 1, 3), date(2024, 1, 2)), ConfigError),
        ((date(2024, 1, 3),), ConfigError),
        ("2024-01-02", ConfigError),
        (None, ConfigError),
        (5, ConfigError),
    ],
)
def test_what_is_no_window_is_refused(filled, window, error):
    before = everything(filled)
    with pytest.raises(error):
        filled.write_bars("sim", "BTC-USD", "1m", window, minutes("2024-01-02"))
    with pytest.raises(error):
        filled.record_failure("sim", ["BTC-USD"], window, rules=BarRules())
    assert everything(filled) == before


@pytest.mark.parametrize(
    "window",
    [
        (datetime(2024, 1, 2), datetime(2024, 1, 3)),
        (date(2024, 1, 3), date(2024, 1, 2)),
        (date(2024, 1, 3),),
        "2024",
        None,
        5,
    ],
)
def test_what_is_no_range_of_ex_dates_is_refused(filled, window):
    before = everything(filled)
    with pytest.raises(GbError):
        filled.write_actions("sim", "AAPL", window, received(split("2024-01-02", "2")))
    assert everything(filled) == before


def test_a_moment_of_the_question_needs_a_zone(filled):
    with pytest.raises(NaiveTimestamp):
        filled.write_bars(
            "sim",
            "BTC-USD",
            Resolution.MINUTE,
            day("2024-01-02"),
            minutes("2024-01-02"),
            fetched_at=datetime(2024, 2, 1),
        )


def test_a_window_without_extent_stores_nothing_and_claims_nothing(filled):
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    report = filled.write_bars("sim", "BTC-USD", "1m", Window(moment, moment), minutes("2024-01-02", 1).clear())
    assert (report.version, report.withdrawn, report.sessions) == (None, 0, ())
