"""Writing a window: what goes in is stored or in quarantine, once, and never lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import LakeError, WindowRefused
from gb_pipeline.lake import ledger, quarantine
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.gaps import GapReason
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline_tests.bars import at, changed, day, every_version, minutes, stored

T1, T2, T3 = at("2024-02-01T00:00"), at("2024-02-02T00:00"), at("2024-02-03T00:00")
LENIENT = BarRules(max_bad_fraction=1.0)


def versions_of(store: LakeStore) -> dict[str, int]:
    return {found.dataset.name: found.version for found in store.tables.existing()}


def test_a_day_is_stored_digit_by_digit_in_one_commit(store, write):
    frame = minutes("2024-01-02")
    report = write(store, frame)
    rows = stored(store)
    assert rows.schema == bars_dataset(Resolution.MINUTE).polars
    for name in ("open", "high", "low", "close", "volume"):
        assert rows[name].to_list() == [Decimal(text) for text in frame[name]]
    assert (report.received, report.stored, report.quarantined, report.version) == (1440, 1440, 0, 0)
    assert rows.select("known_at", "fetched_at", "superseded_at", "withdrawn").unique().rows() == [(T1, T1, None, None)]
    assert rows["period"].unique().to_list() == ["2024-01"]
    assert report.bytes == sum(path.stat().st_size for path in Path(store.storage.table("bars_1m")).rglob("*.parquet"))
    assert versions_of(store) == {"bars_1m": 0}, "what the ledger says of it is part of the same commit"


def test_the_same_content_again_commits_nothing_anywhere(store, write):
    frame = changed(minutes("2024-01-02"), 7, high="1")
    write(store, frame)
    before = versions_of(store)
    again = write(store, frame.reverse(), now=T2)
    assert versions_of(store) == before
    assert (again.version, again.unchanged, again.quarantined) == (None, 1439, 1)


def test_a_whole_clean_day_again_is_recognised_by_its_fingerprint(store, write):
    frame = minutes("2024-01-02")
    first = write(store, frame)
    before = versions_of(store)
    for path in Path(store.storage.table("bars_1m")).rglob("*.parquet"):
        path.write_bytes(b"nobody opens this")
    again = write(store, frame.reverse(), now=T2)
    assert versions_of(store) == before
    assert (again.version, again.unchanged, again.fingerprint) == (None, 1440, first.fingerprint)
    assert again.sessions[0].actual == first.sessions[0].actual == 1440


def test_a_row_that_is_refused_now_does_not_take_the_good_one_away(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    report = write(store, changed(frame, 5, high="1"), now=T2)
    assert (report.withdrawn, report.quarantined, report.version) == (0, 1, None)
    assert stored(store)["high"][5] == Decimal(frame["high"][5])


def test_refused_rows_are_kept_once_with_reasons_however_often_they_come(store, write):
    frame = minutes("2024-01-02")
    frame = pl.concat([changed(frame, 7, high="1"), frame[20:21], frame[20:21]])
    for moment in (T1, T2, T3):
        report = write(store, frame, now=moment, run_id="r1")
    assert (report.received, report.unchanged, report.quarantined, report.duplicates) == (1442, 1439, 1, 2)
    kept = quarantine.read(store.tables)
    assert sorted(kept["reasons"].list.join(",")) == ["high_not_highest,low_not_lowest"]
    assert '"high":"1"' in kept.filter(pl.col("reasons").list.len() == 2)["row"][0]
    assert kept.select("run_id", "quarantined_at").unique().rows() == [("r1", T1)]


def test_the_same_bad_line_on_two_days_is_two_refusals(store, write):
    for text in ("2024-01-02", "2024-01-03"):
        line = minutes(text, 2).with_columns(pl.lit("0,-,1,1,1,1").alias("received"))
        write(store, changed(line, 0, open="-"), day(text), rules=LENIENT)
    assert quarantine.read(store.tables)["session"].n_unique() == 2


def test_refused_rows_are_found_by_source_symbol_and_the_window_of_their_fetch(store, write):
    for text, symbol in (("2024-01-02", "BTC-USD"), ("2024-01-03", "BTC-USD"), ("2024-01-03", "ETH-USD")):
        bad = changed(minutes(text, 2, symbol=symbol), 0, open="-1")
        write(store, bad, day(text), symbols=symbol, rules=LENIENT)
    assert quarantine.read(store.tables, "sim", ["BTC-USD"]).height == 2
    assert quarantine.read(store.tables, "sim", None, day("2024-01-03"))["symbol"].sort().to_list() == [
        "BTC-USD",
        "ETH-USD",
    ]
    assert quarantine.read(store.tables, "other").is_empty()


def test_a_refused_session_stores_nothing_and_loses_nothing(store, write):
    frame = pl.concat([minutes("2024-01-02"), minutes("2024-01-03")])
    for row in range(40):
        frame = changed(frame, row, low="9999")
    report = write(store, frame, day("2024-01-02", 2))
    assert [session.status for session in report.sessions] == [SessionStatus.REFUSED, SessionStatus.COMPLETE]
    assert stored(store).height == 1440
    assert quarantine.read(store.tables).height == 1440
    assert report.sessions[0].gaps[0].reason is GapReason.UNKNOWN
    assert report.sessions[0].worst[0]["why"] == "high_not_highest, low_not_lowest"


def test_a_frame_with_wrong_columns_changes_nothing(store, write):
    with pytest.raises(WindowRefused):
        write(store, minutes("2024-01-02").drop("volume"))
    assert versions_of(store) == {}


def test_bars_that_were_open_when_the_source_was_asked_are_not_whole(store, write):
    frame = minutes("2024-01-02")
    report = write(store, frame, fetched_at=at("2024-01-02T12:00:05"), rules=LENIENT)
    assert (report.stored, report.quarantined) == (720, 720)
    reasons = quarantine.read(store.tables)["reasons"].explode().value_counts(sort=True)
    assert reasons.rows() == [("in_future", 719), ("bar_still_open", 1)]
    later = write(store, frame, now=T2)
    assert (later.stored, later.unchanged, later.sessions[0].status) == (720, 720, SessionStatus.COMPLETE)


def test_many_symbols_share_one_commit_and_an_absent_one_was_answered_empty(store, write):
    frame = pl.concat([minutes("2024-01-02", symbol=f"S{n}-USD") for n in range(5)])
    report = write(store, frame, symbols=[f"S{n}-USD" for n in range(6)])
    assert report.version == 0
    assert [session.status.value for session in report.sessions] == ["complete"] * 5 + ["empty"]
    assert report.sessions[5].gaps[0].reason is GapReason.VENDOR_EMPTY


def test_the_ledger_says_what_is_there_and_what_is_missing_and_why(store, write):
    frame = minutes("2024-01-02").filter(~pl.int_range(pl.len()).is_between(600, 609))
    report = write(store, frame, rules=replace(LENIENT, gap_policy=GapPolicy.NO_TRADE))
    row = ledger.current(store.tables).row(0, named=True)
    assert (row["expected"], row["actual"], row["missing"], row["status"]) == (1440, 1430, 10, "partial")
    assert row["gaps"] == [
        {"start": at("2024-01-02T10:00"), "end": at("2024-01-02T10:10"), "missing": 10, "reason": "no_trade"}
    ]
    assert report.sessions_frame["fingerprint"].to_list() == [row["fingerprint"]]
    assert (row["first_timestamp"], row["last_timestamp"]) == (at("2024-01-02T00:00"), at("2024-01-02T23:59"))
    assert (row["table_version"], row["known_at"], row["withdrawn"]) == (0, stored(store)["known_at"][0], 0)


def test_bars_that_come_later_close_their_gap(store, write):
    frame = minutes("2024-01-02")
    write(store, frame.head(1000))
    report = write(store, frame, now=T2)
    assert (report.restated, report.unchanged, report.sessions[0].status) == (0, 1000, SessionStatus.COMPLETE)
    assert stored(store)["known_at"].value_counts().sort("count").rows() == [(T2, 440), (T1, 1000)]
    assert ledger.current(store.tables)["missing"].to_list() == [0]


def test_parts_of_a_session_add_up_to_the_whole_session(store, write, lake_at):
    frame = minutes("2024-01-02")
    expected = write(lake_at(store.storage.root / "other"), frame).sessions[0]
    for hour in range(24):
        window = Window(
            at("2024-01-02T00:00") + timedelta(hours=hour), at("2024-01-02T00:00") + timedelta(hours=hour + 1)
        )
        part = write(store, frame[hour * 60 : hour * 60 + 60], window)
        assert part.sessions[0].actual == (hour + 1) * 60
    assert part.sessions[0].fingerprint == expected.fingerprint
    row = ledger.current(store.tables).row(0, named=True)
    assert (row["actual"], row["status"]) == (1440, "complete")


def test_closed_days_and_days_before_the_listing_are_explained(store, write):
    rules = BarRules(calendar=get_calendar("XNYS"))
    window = rules.calendar.window(at("2024-01-05T00:00").date(), at("2024-01-10T00:00").date(), Resolution.MINUTE)
    frame = minutes("2024-01-09T14:30", 390, symbol="NEW")
    listings = {"NEW": (at("2024-01-09T00:00").date(), None)}
    report = write(store, frame, window, symbols="NEW", rules=rules, listings=listings)
    found = {
        session.session.day: (session.status.value, session.expected, session.missing) for session in report.sessions
    }
    assert found == {
        5: ("not_listed", 0, 0),
        6: ("closed", 0, 0),
        7: ("closed", 0, 0),
        8: ("not_listed", 0, 0),
        9: ("complete", 390, 0),
    }


def test_a_failed_fetch_is_a_gap_that_says_so_and_takes_nothing_away(store, write):
    write(store, minutes("2024-01-02"))
    two_days = day("2024-01-02", 2)
    reports = store.record_failure("sim", ["BTC-USD"], two_days, rules=BarRules())
    assert [report.status for report in reports] == [SessionStatus.FAILED, SessionStatus.FAILED]
    found = ledger.current(store.tables)
    assert found.select("status", "missing").rows() == [("complete", 0), ("failed", 1440)]
    assert found["gaps"][1][0]["reason"] == "fetch_failed"
    write(store, pl.concat([minutes("2024-01-02"), minutes("2024-01-03")]), two_days)
    assert ledger.current(store.tables)["status"].to_list() == ["complete", "complete"]


def test_wide_numbers_go_to_the_sibling_table_and_hide_what_they_replace(store, write):
    frame = minutes("2024-01-02", 10)
    write(store, frame, rules=LENIENT)
    wide = replace(LENIENT, precision=Precision.WIDE)
    finer = changed(frame, 3, volume="1.000030000000000001")
    report = write(store, finer, rules=wide, now=T2)
    assert (report.restated, report.unchanged) == (1, 9)
    assert stored(store, "bars_1m_wide")["volume"].to_list() == [Decimal("1.000030000000000001")]
    assert write(store, finer, rules=wide, now=T3).version is None
    with pytest.raises(LakeError, match="precision"):
        write(store, frame, rules=LENIENT)


def test_daily_bars_of_all_symbols_lie_in_one_file_per_year(store, write):
    frame = pl.concat([minutes("2024-01-02", 3, symbol=code, step=86_400) for code in ("AAA", "BBB")])
    rules = BarRules(Resolution.DAY)
    write(store, frame, day("2024-01-02", 3), symbols=["AAA", "BBB"], resolution="1d", rules=rules)
    files = list(Path(store.storage.table("bars_1d")).rglob("*.parquet"))
    assert [path.parent.parent.name for path in files] == ["period=2024"]
    assert stored(store, "bars_1d")["symbol"].to_list() == ["AAA"] * 3 + ["BBB"] * 3


def test_bars_of_seconds_lie_in_a_file_per_day(store, write):
    frame = minutes("2024-01-02T23:59:58", 4, step=1)
    write(store, frame, day("2024-01-02", 2), resolution="1s", rules=BarRules(Resolution.SECOND))
    assert stored(store, "bars_1s")["period"].to_list() == ["2024-01-02"] * 2 + ["2024-01-03"] * 2


def test_a_window_across_new_year_lies_in_two_periods(store, write):
    frame = minutes("2023-12-31", 2880)
    write(store, frame, day("2023-12-31", 2))
    assert stored(store)["period"].unique().sort().to_list() == ["2023-12", "2024-01"]
    assert write(store, frame, day("2023-12-31", 2), now=T2).version is None


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(0, 2)), min_size=1, max_size=5))
def test_any_sequence_of_windows_ends_as_if_the_last_word_on_each_bar_had_been_written_at_once(
    tmp_path_factory, lake_at, write, parts
):
    store = lake_at(tmp_path_factory.mktemp("lake"))
    base = minutes("2024-01-02", 60, base=1000)
    expected: dict[int, str] = {}
    for number, (start, length, edition) in enumerate(parts):
        part = base[start : start + length].with_columns(pl.format("{}{}", "volume", pl.lit(edition + 1)))
        window = Window(
            at("2024-01-02T00:00") + timedelta(minutes=start),
            at("2024-01-02T00:00") + timedelta(minutes=start + length),
        )
        write(store, part, window, now=T1 + timedelta(days=number), rules=LENIENT)
        expected |= {start + row: text for row, text in enumerate(part["volume"])}
    rows = stored(store)
    assert rows["timestamp"].is_unique().all()
    assert {stamp.minute: volume for stamp, volume in rows.select("timestamp", "volume").iter_rows()} == {
        minute: Decimal(text) for minute, text in expected.items()
    }
    assert ledger.current(store.tables)["actual"].to_list() == [len(expected)]
    ended = every_version(store).filter(~pl.col("is_current"))
    assert (ended["superseded_at"] > ended["known_at"]).all()
