"""A corrected bar stays corrected whatever the vendor says, and what it said last comes back when the correction is taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import SetClock, at, changed, day, minutes, stored

T1, T2, T3, T4 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3, 4))
BAR = at("2024-01-02T00:05")


def close(store: LakeStore, as_of=None) -> Decimal:
    rows = Lake(store).bars("BTC-USD", "1m", BAR, at("2024-01-02T00:06"), as_of=as_of)
    return rows["close"].item()


def correct(store: LakeStore, now, values: dict | None, **how):
    store.clock.now = now
    return store.override("sim", "BTC-USD", "1m", BAR, values, "a bad tick", **how)


def test_fetching_the_old_value_again_changes_nothing(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    report = correct(store, T2, {"close": "105.5"})
    assert (report.restated, report.version) == (1, 1)
    assert (close(store), close(store, T1)) == (Decimal("105.5"), Decimal("105.75"))
    again = write(store, frame, now=T3)
    assert (again.version, again.unchanged, again.restated) == (None, 1440, 0)
    assert Lake(store).fingerprint("sim", verify=True).is_proved
    assert Lake(store).restatements().is_empty(), "the vendor changed nothing"
    assert Lake(store).changes(T1)["kind"].to_list() == ["corrected"]
    [row] = Lake(store).overrides().to_dicts()
    assert (row["vendor_close"], row["corrected_close"], row["reason"]) == (
        Decimal("105.75"),
        Decimal("105.5"),
        "a bad tick",
    )


def test_taken_back_it_is_what_the_vendor_said_last(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    correct(store, T2, {"close": "105.5"})
    assert write(store, changed(frame, 5, close="105.25"), now=T3).version is None
    # An answer that was fetched earlier and comes later is not the last one.
    write(store, changed(frame, 5, close="106"), now=T4, fetched_at=T2)
    assert close(store) == Decimal("105.5")
    correct(store, T4, None)
    assert (close(store), close(store, T3)) == (Decimal("105.25"), Decimal("105.5"))
    assert Lake(store).overrides()["withdrawn"].to_list() == [False, True]
    with pytest.raises(ConfigError, match="is not corrected"):
        correct(store, T4, None)


def test_whether_the_vendor_returns_a_bar_is_no_matter_of_its_correction(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    write(store, frame.filter(frame["timestamp"] != BAR), now=T2)
    for values in ({"close": "105.5"}, {"close": "105.25"}, None):
        correct(store, T3, values)
        assert Lake(store).withdrawn()["timestamp"].to_list() == [BAR]
    assert Lake(store).coverage()["withdrawn"].to_list() == [1]
    assert write(store, frame, now=T4).restated == 0
    assert Lake(store).withdrawn().is_empty()


def test_what_is_recorded_of_a_session_outlives_its_corrections(store, write):
    """A row in quarantine, the calendar, the policy of gaps: a correction knows nothing of them."""
    rules = BarRules(calendar=get_calendar("FX"), gap_policy=GapPolicy.NO_TRADE)
    # After 17:00 in New York it is the next day's session.
    window = Window(at("2024-01-02T22:00"), at("2024-01-03T22:00"))
    frame = changed(minutes("2024-01-02", 2880), 1330, close="1000").filter(
        pl.col("timestamp").is_between(window.start, window.end, closed="left")
    )
    write(store, frame.gather_every(2), rules=rules, window=window)
    before = Lake(store).coverage().drop("fingerprint", "known_at", "table_version", strict=False)
    assert (before["session"].to_list(), before["quarantined"].to_list()) == ([date(2024, 1, 3)], [1])
    for values in ({"close": "101"}, None):
        store.override("sim", "BTC-USD", "1m", at("2024-01-02T23:00"), values, "a bad tick")
        assert Lake(store).coverage().drop("fingerprint", "known_at", "table_version", strict=False).equals(before)
        assert Lake(store).fingerprint("sim", verify=True).is_proved


def test_taking_back_what_the_vendor_corrected_itself_changes_no_number(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    correct(store, T2, {"close": "105.5"})
    write(store, changed(frame, 5, close="105.5"), now=T3)
    correct(store, T4, None)
    assert close(store) == Decimal("105.5")
    write(store, changed(frame, 5, close="105.25"), now=at("2024-02-05T00:00"))
    assert close(store) == Decimal("105.25")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"close": "105.123456789"}, "name a value that fits"),
        ({"close": "1e400"}, "close 1.000000e\\+400 "),
        ({"close": "1000"}, "would be refused"),
        ({"close": "abc"}, "is not a number"),
        ({"close": "NaN"}, "is not a number"),
        ({"closing": "1"}, "cannot be corrected"),
        ({"close": "105.75"}, "already"),
        ({}, "no value"),
        ({"volume": "-1"}, "would be refused"),
    ],
)
def test_what_makes_no_bar_is_refused(store, write, values, problem):
    write(store, minutes("2024-01-02"))
    with pytest.raises(ConfigError, match=problem):
        correct(store, T2, values)
    assert stored(store).height == 1440
    assert Lake(store).overrides().is_empty()


def test_only_a_stored_bar_can_be_corrected(store, write):
    write(store, minutes("2024-01-02", 5))
    with pytest.raises(UnknownSeries, match="has no 1m bar"):
        correct(store, T2, {"close": "105.5"})


def test_wide_bars_keep_their_digits(store, write):
    rules = BarRules(precision=Precision.WIDE)
    frame = minutes("2024-01-02")
    write(store, frame, rules=rules)
    correct(store, T2, {"close": "105.500000000000000001"})
    assert write(store, frame, now=T3, rules=rules).version is None
    assert close(store) == Decimal("105.500000000000000001")


def test_bars_of_before_a_series_went_wide_can_be_corrected(store, write):
    frame = minutes("2024-01-02", 10)
    write(store, frame)
    write(store, frame.head(1), rules=BarRules(precision=Precision.WIDE), window=Window(frame["timestamp"][0], BAR))
    correct(store, T2, {"close": "105.500000000000000001"})
    assert (close(store), close(store, T1)) == (Decimal("105.500000000000000001"), Decimal("105.75"))
    assert Lake(store).fingerprint("sim", verify=True).is_proved


ACTS = st.one_of(
    st.tuples(st.just("vendor"), st.sampled_from(["105.25", "105.5", "105.75", "106"])),
    st.tuples(st.just("override"), st.sampled_from(["105.25", "105.5", "105.75", "106"])),
    st.tuples(st.just("withdraw"), st.none()),
)


@settings(max_examples=12, deadline=None)
@given(acts=st.lists(ACTS, max_size=8))
def test_at_every_moment_the_newest_correction_holds_or_else_the_vendor(tmp_path_factory, acts):
    store = LakeStore.at(tmp_path_factory.mktemp("lake"), clock=SetClock(T1))
    frame = minutes("2024-01-02", 10)
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame)
    vendor, corrected = Decimal("105.75"), None
    known = {T1: vendor}
    for number, (act, value) in enumerate(acts, 1):
        store.clock.now = now = at(f"2024-02-02T{number:02}:00")
        holds = vendor if corrected is None else corrected
        if act == "vendor":
            vendor = Decimal(value)
            store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), changed(frame, 5, close=value))
        elif act == "override" and Decimal(value) != holds:
            corrected = Decimal(value)
            correct(store, now, {"close": value})
        elif act == "withdraw" and corrected is not None:
            corrected = None
            correct(store, now, None)
        known[now] = vendor if corrected is None else corrected
    assert {moment: close(store, moment) for moment in known} == known
    others = [name for name in CONTENT if name != "close"]
    before = Lake(store).bars("BTC-USD", "1m", as_of=T1).select(others)
    assert Lake(store).bars("BTC-USD", "1m").select(others).equals(before)


KILLED = """
import sys
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at
store = LakeStore.at(sys.argv[1], clock=SetClock(at("2024-02-02T00:00")))
store.override("sim", "BTC-USD", "1m", at("2024-01-02T00:05"), {"close": "105.5"}, "a bad tick")
"""
# The first commit is that of `overrides`, the second that of the bars.
BEFORE = ["file_written:1", "committed:1", "before_files:2", "files_synced:2", "entry_written:2"]
AFTER = ["committed:2", "before_ledger"]


@pytest.mark.parametrize("point", [*BEFORE, *AFTER])
def test_killed_anywhere_a_bar_is_corrected_as_a_whole_or_not_at_all(store, write, point):
    frame = minutes("2024-01-02", 10)
    write(store, frame)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, store.storage.root],
        env={**os.environ, "GB_FAULT_POINT": point},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == -9, "the point was reached"
    again = LakeStore.at(store.storage.root, clock=SetClock(T3))
    is_corrected = point in AFTER
    assert Lake(again).overrides().height == is_corrected
    assert close(again) == Decimal("105.5" if is_corrected else "105.75")
    write(again, frame, now=T3)
    assert close(again) == Decimal("105.5" if is_corrected else "105.75")
    if not is_corrected:
        correct(again, T4, {"close": "105.5"})
    assert close(again) == Decimal("105.5")
    assert Lake(again).fingerprint("sim", verify=True).is_proved
