"""Reading the lake as it was known at a moment."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import BarRules, Lake, NoDataInRange, Precision, Resolution, Window
from gb_pipeline.lake import restatements

DAY = datetime(2024, 1, 2, tzinfo=UTC)
LEARNT = datetime(2024, 6, 1, tzinfo=UTC)
RULES = BarRules(max_bad_fraction=1.0)
WIDE = BarRules(max_bad_fraction=1.0, precision=Precision.WIDE)


def frame(closes: dict[int, str]) -> pl.DataFrame:
    stamps = pl.Series([DAY + timedelta(minutes=minute) for minute in closes], dtype=pl.Datetime("us", "UTC"))
    text = pl.Series(list(closes.values()), dtype=pl.String)
    return pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close", "volume"), text)})


def store(lake: Lake, closes: dict[int, str], moment: datetime, rules: BarRules = RULES) -> None:
    window = Window(DAY, DAY + timedelta(days=1))
    lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, window, frame(closes), rules=rules, known_at=moment)


def known(lake: Lake, moment: datetime) -> dict[int, Decimal]:
    try:
        bars = lake.bars("BTC-USD", "1m", as_of=moment)
    except NoDataInRange:
        return {}
    assert bars["timestamp"].is_sorted() and bars["timestamp"].is_unique().all()
    assert (bars["known_at"] <= moment).all()
    minutes = ((bars["timestamp"] - DAY).dt.total_minutes()).to_list()
    return {minute: value.normalize() for minute, value in zip(minutes, bars["close"], strict=True)}


def test_a_restated_bar_has_its_old_content_before_and_its_new_content_after(lake):
    store(lake, {0: "1", 1: "2"}, LEARNT)
    store(lake, {0: "1", 1: "5"}, LEARNT + timedelta(days=1))
    assert known(lake, LEARNT) == {0: 1, 1: 2}
    assert known(lake, LEARNT + timedelta(hours=23)) == {0: 1, 1: 2}
    assert known(lake, LEARNT + timedelta(days=1)) == {0: 1, 1: 5}
    assert known(lake, LEARNT - timedelta(microseconds=1)) == {}


def test_a_bar_that_came_late_is_not_there_before(lake):
    store(lake, {0: "1"}, LEARNT)
    store(lake, {0: "1", 1: "2"}, LEARNT + timedelta(days=1))
    assert known(lake, LEARNT) == {0: 1}


def test_what_was_known_survives_vacuum_and_compaction(lake, write):
    for day in range(1, 6):
        write("sim", "BTC-USD", f"2024-01-0{day}", ["1", "2"], known_at=LEARNT)
        write("sim", "BTC-USD", f"2024-01-0{day}", ["1", "9"], known_at=LEARNT + timedelta(days=1))
    before = lake.bars("BTC-USD", "1m", as_of=LEARNT)
    lake.store.compact("bars_1m", "sim", "BTC-USD", "2024")
    with lake.store.tables.open("bars_1m") as table:
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert lake.bars("BTC-USD", "1m", as_of=LEARNT).equals(before)


def test_a_crash_between_the_record_and_the_bar_doubles_nothing(lake):
    store(lake, {0: "1"}, LEARNT)
    stored = lake.bars("BTC-USD", "1m")
    contents = ["open", "high", "low", "close", "volume", "trade_count", "vwap"]
    changed = stored.select(
        "symbol",
        "timestamp",
        *(pl.col(name) if name in {"trade_count", "vwap"} else (pl.col(name) * 2).alias(name) for name in contents),
        *(pl.col(name).alias(f"old_{name}") for name in [*contents, "known_at"]),
    )
    later = LEARNT + timedelta(days=1)
    restatements.record(lake.store.tables, "sim", Resolution.MINUTE, changed, later)
    assert known(lake, LEARNT) == {0: 1}
    assert known(lake, later) == {0: 1}, "the writer died before the bar was replaced"
    store(lake, {0: "2"}, later + timedelta(days=1))
    assert known(lake, LEARNT) == {0: 1}
    assert known(lake, later + timedelta(days=1)) == {0: 2}


def test_content_from_before_a_series_went_wide_is_still_known(lake):
    later = LEARNT + timedelta(days=1)
    store(lake, {0: "1", 1: "2"}, LEARNT)
    store(lake, {0: "1", 1: "0.000000000000000001"}, later, WIDE)
    assert known(lake, LEARNT) == {0: 1, 1: 2}
    assert known(lake, later) == {0: 1, 1: Decimal("1E-18")}


def test_other_columns_and_floats_follow(lake):
    store(lake, {0: "1.1"}, LEARNT)
    store(lake, {0: "2.2"}, LEARNT + timedelta(days=1))
    assert lake.bars("BTC-USD", "1m", as_of=LEARNT, columns=["close"], as_float=True).rows() == [(1.1,)]
    with pytest.raises(NoDataInRange, match="as known at"):
        lake.bars("BTC-USD", "1m", as_of="2024-01-01")


revision = st.dictionaries(st.integers(0, 5), st.sampled_from(["1", "2", "3"]), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(revision, min_size=1, max_size=6), st.integers(1, 7))
def test_every_moment_reads_what_the_lake_said_then(history, went_wide_at):
    """The law: as_of(t) now is the plain read at t."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(folder, create=True)
        said = []
        for step, closes in enumerate(history):
            moment = LEARNT + timedelta(days=step)
            store(lake, closes, moment, WIDE if step >= went_wide_at else RULES)
            said.append((moment, lake.bars("BTC-USD", "1m", columns=["timestamp", "close", "known_at"])))
        for moment, answer in said:
            for instant in (moment, moment + timedelta(hours=23)):
                again = lake.bars("BTC-USD", "1m", columns=["timestamp", "close", "known_at"], as_of=instant)
                assert again.cast(answer.schema).equals(answer)
