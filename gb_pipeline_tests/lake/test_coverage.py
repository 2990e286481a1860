"""A window becomes one row for each series and day, and every row says what is there, what is not, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.coverage import (
    deferred_sessions,
    describe_sessions,
    ledger_frame,
)
from gb_pipeline.lake.expectation import expect
from gb_pipeline.lake.report import DESCRIBED, SessionReport, SessionStatus, WriteReport, session_reports
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult, validate
from gb_pipeline.quality.fingerprint import combine, fingerprint_text, session_fingerprints
from gb_pipeline.quality.gaps import Gap, GapReason
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.quality.runs import Integers, session_runs
from gb_pipeline.quality.session_days import Listing
from gb_pipeline_tests.bars import at, changed, day, minutes
from gb_pipeline_tests.work import counted_work

LATER = at("2030-01-01T00:00")
LENIENT = BarRules(max_bad_fraction=1.0, gap_policy=GapPolicy.NO_TRADE)
WINDOW = day("2024-01-02")
TUESDAY = date(2024, 1, 2)


def described(
    frame: pl.DataFrame,
    rules: BarRules = LENIENT,
    window: Window = WINDOW,
    symbols: tuple[str, ...] = ("BTC-USD",),
    *,
    rows: pl.DataFrame | None = None,
    listings: Mapping[str, Listing] | None = None,
    now: datetime = LATER,
    failed: bool = False,
    fingerprints: Integers | None = None,
    **changes: pl.DataFrame,
) -> pl.DataFrame:
    """What an answer amounts to where nothing was stored before."""
    validation = validate(frame, rules, window, now=now)
    nothing = validation.good.clear()
    changes = changes or {"touched": validation.good}
    found = describe_sessions(
        "sim",
        symbols,
        rules,
        expect(rules, window, now),
        validation.runs if rows is None else session_runs(rows),
        validation,
        listings=listings or {},
        failed=failed,
        fingerprints=fingerprints,
        **{name: changes.get(name, nothing) for name in ("touched", "restated", "withdrawn")},
    )
    assert found.schema == DESCRIBED
    return found


def only(frame: pl.DataFrame) -> SessionReport:
    (report,) = session_reports(frame)
    return report


def test_a_complete_day() -> None:
    found = described(minutes("2024-01-02", base=1000))
    assert only(found) == SessionReport(
        symbol="BTC-USD",
        session=TUESDAY,
        status=SessionStatus.COMPLETE,
        expected=1440,
        actual=1440,
        received=1440,
        stored=1440,
        fingerprint=fingerprint_text(found["fingerprint"]).item(),
        first=at("2024-01-02T00:00"),
        last=at("2024-01-02T23:59"),
        changed=True,
    )


def test_holes_make_a_day_partial_and_each_run_is_a_gap() -> None:
    frame = minutes("2024-01-02").filter(~pl.int_range(pl.len()).is_in([10, 11, 20]))
    report = only(described(frame))
    assert (report.status, report.expected, report.actual, report.missing) == (SessionStatus.PARTIAL, 1440, 1437, 3)
    assert report.gaps == (
        Gap(at("2024-01-02T00:10"), at("2024-01-02T00:12"), 2, GapReason.NO_TRADE),
        Gap(at("2024-01-02T00:20"), at("2024-01-02T00:21"), 1, GapReason.NO_TRADE),
    )


def test_an_answer_without_rows_is_empty_and_a_fetch_that_failed_is_not() -> None:
    whole = (at("2024-01-02T00:00"), at("2024-01-03T00:00"), 1440)
    empty = only(described(minutes("2024-01-02").clear()))
    assert (empty.status, empty.gaps) == (SessionStatus.EMPTY, (Gap(*whole, GapReason.VENDOR_EMPTY),))
    assert (empty.fingerprint, empty.first, empty.last, empty.actual) == ("", None, None, 0)
    failed = only(described(minutes("2024-01-02").clear(), failed=True))
    assert (failed.status, failed.gaps) == (SessionStatus.FAILED, (Gap(*whole, GapReason.FETCH_FAILED),))


def test_a_refused_row_is_counted_named_and_no_absence_of_trades() -> None:
    report = only(described(changed(minutes("2024-01-02", base=1000), 7, high="1", volume="-1")))
    assert (report.status, report.received, report.quarantined, report.missing) == (SessionStatus.PARTIAL, 1440, 1, 1)
    assert report.reasons == {"high_not_highest": 1, "low_not_lowest": 1, "negative_volume": 1}
    assert report.gaps[0].reason is GapReason.UNKNOWN
    (worst,) = report.worst
    assert worst["timestamp"] == "2024-01-02 00:07:00+00:00"
    assert worst["why"] == "high_not_highest, low_not_lowest, negative_volume"
    assert '"volume":"-1"' in worst["row"]


def test_a_day_without_a_good_row_is_not_answered_empty() -> None:
    bad = changed(minutes("2024-01-02", 1), 0, high="1")
    report = only(described(bad))
    assert (report.status, report.missing) == (SessionStatus.REFUSED, 1440)
    assert [gap.reason for gap in report.gaps] == [GapReason.UNKNOWN]


def test_a_refused_session_says_so_and_shows_only_a_few_rows() -> None:
    frame = minutes("2024-01-02").with_columns(high=pl.lit("1"))
    report = only(described(frame, BarRules()))
    assert (report.status, report.quarantined) == (SessionStatus.REFUSED, 1440)
    assert [row["timestamp"][11:16] for row in report.worst] == ["00:00", "00:01", "00:02", "00:03", "00:04"]


def test_suspicious_rows_are_counted_by_code() -> None:
    found = described(changed(changed(minutes("2024-01-02", base=1000), 3, volume="0"), 9, volume="0"))
    assert found["warnings"].item() == 2
    report = only(found)
    assert (report.status, report.warnings) == (SessionStatus.COMPLETE, {"zero_volume": 2})
    assert [row["row"] for row in report.worst] == ["stored", "stored"]


def test_days_come_in_order_closed_ones_among_them() -> None:
    rules = replace(LENIENT, calendar=get_calendar("XNYS"), resolution=Resolution.DAY)
    frame = minutes("2024-01-04", 2, step=86_400, symbol="B")
    found = described(frame, rules, day("2024-01-04", 5), ("B", "A"))
    closed, empty, complete = SessionStatus.CLOSED, SessionStatus.EMPTY, SessionStatus.COMPLETE
    assert found.select("symbol", "session", "status").rows() == [
        (symbol, date(2024, 1, 4 + number), status)
        for symbol, statuses in (
            ("A", [empty, empty, closed, closed, empty]),
            ("B", [complete, complete, closed, closed, empty]),
        )
        for number, status in enumerate(statuses)
    ]
    saturday = session_reports(found)[2]
    assert saturday.gaps == (Gap(at("2024-01-06T00:00"), at("2024-01-07T00:00"), 0, GapReason.CLOSED),)
    assert (saturday.expected, saturday.missing) == (0, 0)


def test_days_before_the_listing_and_after_its_end_expect_nothing() -> None:
    window = day("2024-01-02", 4)
    frame = minutes("2024-01-03", 1440)
    listings = {"BTC-USD": (date(2024, 1, 3), date(2024, 1, 5)), "ETH-USD": (None, None)}
    reports = session_reports(described(frame, window=window, symbols=("BTC-USD", "ETH-USD"), listings=listings))
    unlisted = SessionStatus.NOT_LISTED
    statuses = [unlisted, SessionStatus.COMPLETE, SessionStatus.EMPTY, unlisted]
    assert [report.status for report in reports] == statuses + [SessionStatus.EMPTY] * 4
    assert [report.expected for report in reports[:4]] == [0, 1440, 1440, 0]
    assert reports[0].gaps == (Gap(at("2024-01-02T00:00"), at("2024-01-03T00:00"), 0, GapReason.NOT_LISTED),)
    assert reports[0].missing == 0


def test_what_a_write_changed_is_told_apart_from_what_is_there() -> None:
    frame = minutes("2024-01-02", 2880)
    rows = validate(frame, LENIENT, day("2024-01-02", 3), now=LATER).good
    marks = rows.with_columns(
        pl.when(pl.int_range(pl.len()).is_in([3, 4]))
        .then(True)
        .when(pl.int_range(pl.len()) > 0)
        .then(False)
        .alias("withdrawn")
    )
    first, second, third = session_reports(
        described(frame, window=day("2024-01-02", 3), rows=marks, touched=rows[:2], restated=rows[1:2])
    )
    assert (first.changed, first.restated, first.withdrawn, first.actual) == (True, 1, 2, 1440)
    assert (second.changed, second.restated, second.withdrawn) == (False, 0, 0)
    assert (third.changed, third.status) == (False, SessionStatus.EMPTY)
    withdrew = session_reports(described(frame, window=day("2024-01-02", 3), rows=marks, withdrawn=rows[3:4]))
    assert [(report.changed, report.withdrawn) for report in withdrew] == [(True, 2), (False, 0), (False, 0)]


def test_rows_outside_the_answer_count_as_stored() -> None:
    stored = validate(minutes("2024-01-02"), LENIENT, WINDOW, now=LATER).good
    noon = Window(at("2024-01-02T12:00"), at("2024-01-02T13:00"))
    report = only(described(minutes("2024-01-02T12:00", 60), window=noon, rows=stored))
    assert (report.expected, report.actual, report.received) == (1440, 1440, 60)


def test_fingerprints_are_those_of_the_stored_rows() -> None:
    both = pl.concat([minutes("2024-01-02", 2000), minutes("2024-01-02", 2000, symbol="ETH-USD")])
    window = day("2024-01-02", 3)
    rows = validate(both, LENIENT, window, now=LATER).good
    found = described(both, window=window, symbols=("ETH-USD", "BTC-USD"))
    prints = session_fingerprints(rows, "sim", Resolution.MINUTE, LENIENT.precision)
    stored = found.filter(pl.col("actual") > 0).select("symbol", "session", "fingerprint")
    assert stored.equals(prints.drop("rows"))
    assert found.filter(pl.col("actual") == 0)["fingerprint"].to_list() == [None, None]
    known = described(
        both, window=window, symbols=("ETH-USD", "BTC-USD"), fingerprints=prints["fingerprint"].to_numpy()
    )
    assert known.equals(found)
    shuffled = described(
        both, window=window, symbols=("ETH-USD", "BTC-USD"), rows=rows.sample(fraction=1, shuffle=True, seed=1)
    )
    assert shuffled.equals(found)


def test_bars_that_are_not_closed_yet_are_not_expected() -> None:
    now = at("2024-01-02T06:00:05")
    report = only(described(minutes("2024-01-02", 360), now=now))
    assert (report.status, report.expected) == (SessionStatus.COMPLETE, 360)
    assert expect(LENIENT, WINDOW, LATER).grid.height == 1440


def test_sources_that_keep_unaligned_bars_have_gaps_although_the_count_is_right() -> None:
    rules = replace(LENIENT, allow_unaligned=True)
    moved = minutes("2024-01-02").with_columns(
        pl.when(pl.int_range(pl.len()) == 7)
        .then(pl.col("timestamp") + pl.duration(seconds=30))
        .otherwise("timestamp")
        .alias("timestamp")
    )
    report = only(described(moved, rules))
    assert (report.actual, report.expected, report.missing, report.status) == (1440, 1440, 1, SessionStatus.PARTIAL)


def test_a_window_without_a_day_has_no_rows() -> None:
    assert described(minutes("2024-01-02").clear(), window=Window.of("2024-01-02", "2024-01-02")).is_empty()
    assert described(minutes("2024-01-02").clear(), symbols=()).is_empty()


@pytest.mark.parametrize("ask", [LATER, at("2024-01-04T15:00")])
def test_deferred_days_claim_nothing(ask: datetime) -> None:
    rules = replace(LENIENT, calendar=get_calendar("XNYS"))
    window = rules.calendar.window(date(2024, 1, 4), date(2024, 1, 9), Resolution.MINUTE)
    found = deferred_sessions(["B", "A"], rules, window, ask, {"A": (date(2024, 1, 5), None)})
    assert found.schema == DESCRIBED
    a = ["not_listed", "deferred", "closed", "closed", "deferred"]
    b = ["deferred", "deferred", "closed", "closed", "deferred"]
    assert found["status"].to_list() == (a + b if ask == LATER else ["not_listed", "deferred"])
    assert found.select(pl.col(pl.Int64).exclude("fingerprint").sum()).row(0) == (0,) * 11
    assert deferred_sessions(["A"], rules, window, window.start, {}).is_empty()


def test_the_ledger_keeps_what_a_session_amounts_to() -> None:
    rules = replace(LENIENT, calendar=get_calendar("XNYS"))
    window = rules.calendar.window(date(2024, 1, 5), date(2024, 1, 9), Resolution.MINUTE)
    found = described(minutes("2024-01-05T14:30", 380), rules, window)
    rows = ledger_frame("sim", rules, found, fetched_at=LATER, version=7)
    assert rows.columns == [
        "source", "symbol", "resolution", "session", "expected", "actual", "missing", "quarantined", "warnings",
        "withdrawn", "status", "fingerprint", "first_timestamp", "last_timestamp", "gaps", "fetched_at", "precision",
        "table_version", "adjustment", "calendar",
    ]  # fmt: skip
    friday = rows.row(0, named=True)
    assert (friday["source"], friday["resolution"], friday["precision"], friday["adjustment"]) == (
        "sim",
        "1m",
        "standard",
        "raw",
    )
    assert friday["calendar"] == rules.calendar.version
    assert (friday["table_version"], friday["fetched_at"], friday["fingerprint"]) == (7, LATER, found["fingerprint"][0])
    assert friday["gaps"] == [
        {"start": at("2024-01-05T20:50"), "end": at("2024-01-05T21:00"), "missing": 10, "reason": "no_trade"}
    ]
    assert rows["fingerprint"].to_list()[1:] == [None] * 3
    same = ledger_frame("sim", rules, found.clear(), fetched_at=LATER, version=7)
    assert (same.schema, same.height) == (rows.schema, 0)


def report_of(frame: pl.DataFrame, **numbers: Any) -> WriteReport:
    counts = {"received": 1440, "stored": 1440} | {name: numbers.pop(name) for name in list(numbers) if name != "late"}
    return WriteReport(
        source="sim",
        resolution=Resolution.MINUTE,
        window=WINDOW,
        sessions_frame=frame,
        counts={"BTC-USD": RowCounts(**counts)},
        restated=0,
        withdrawn=0,
        bytes=0,
        version=None,
        **numbers,
    )


def test_a_report_makes_its_values_once() -> None:
    frame = described(minutes("2024-01-02"))
    report = report_of(frame)
    assert report.fingerprint == combine(frame.select("symbol", "session", "fingerprint"))
    assert report_of(frame.clear()).fingerprint == ""
    assert [session.session for session in report.sessions] == [TUESDAY]
    assert report.sessions is report.sessions


def test_a_report_that_loses_rows_is_a_bug_and_says_so() -> None:
    frame = described(minutes("2024-01-02"))
    assert report_of(frame, stored=1430, quarantined=10, late=3).late == 3
    with pytest.raises(
        LakeError,
        match=r"1,440 rows received: 1,430 stored, .* 7 quarantined, 2 duplicates, which makes 1,439",
    ):
        report_of(frame, stored=1430, quarantined=7, duplicates=2)
    with pytest.raises(LakeError, match="2 quarantined"):
        report_of(frame, stored=1438, quarantined=2, unplaced=3)


def test_a_session_costs_one_hash_and_nothing_else() -> None:
    def work(days: int) -> int:
        rules = replace(LENIENT, resolution=Resolution.DAY)
        frame = minutes("2020-01-01", days, step=86_400, base=1000)
        described(frame, rules, day("2020-01-01", days))
        with counted_work() as counted:
            assert described(frame, rules, day("2020-01-01", days))["actual"].sum() == days
        return counted.calls

    few, many = work(100), work(1100)
    # The hash, and its digest.
    assert many - few <= 2 * 1000


# --- the same, row by row ---------------------------------------------------------------------------------------------


def plainly(
    symbols: list[str], rules: BarRules, window: Window, rows: pl.DataFrame, validation: ValidationResult
) -> list[tuple[Any, ...]]:
    """Symbol, session, status, counts and gaps, found out with dictionaries."""
    expectation = expect(rules, window, LATER)
    stored = set(rows.select("symbol", "timestamp").iter_rows())
    refused = set(validation.bad.select("symbol", "timestamp").iter_rows())
    told = []
    for symbol in sorted(symbols):
        for session in expectation.sessions:
            bars = expectation.grid.filter(pl.col("session") == session)
            gaps: list[tuple[datetime, datetime, int, str]] = []
            absent = [stamp for stamp in bars["timestamp"] if (symbol, stamp) not in stored]
            delivered = any((symbol, stamp) in refused for stamp in absent)
            last = None
            for number, (stamp, end) in enumerate(bars.select("timestamp", "end").iter_rows()):
                if (symbol, stamp) in stored:
                    continue
                reason = "unknown" if rules.gap_policy is GapPolicy.OPEN else "no_trade"
                if len(absent) == bars.height and not delivered:
                    reason = "vendor_empty"
                if (symbol, stamp) in refused or (symbol, session) in validation.refused:
                    reason = "unknown"
                if last == (number - 1, reason):
                    gaps[-1] = (gaps[-1][0], end, gaps[-1][2] + 1, reason)
                else:
                    gaps.append((stamp, end, 1, reason))
                last = (number, reason)
            here = rows.filter((pl.col("symbol") == symbol) & (pl.col("session") == session)).height
            bad = validation.bad.filter((pl.col("symbol") == symbol) & (pl.col("session") == session)).height
            status = "partial" if gaps else "complete"
            if not here:
                status = "empty"
            if (symbol, session) in validation.refused:
                status = "refused"
            told.append((symbol, session, status, bars.height, here, len(absent), bad, gaps))
    return told


@given(st.data())
def test_columns_say_what_a_loop_over_rows_would_say(data: st.DataObject) -> None:
    rules = BarRules(
        resolution=data.draw(st.sampled_from([Resolution.HOUR, Resolution.HOUR_4])),
        max_bad_fraction=data.draw(st.sampled_from([0.05, 1.0])),
        gap_policy=data.draw(st.sampled_from(GapPolicy)),
    )
    window = day("2024-01-02", 3)
    stamps = rules.calendar.expected(TUESDAY, date(2024, 1, 5), rules.resolution)["timestamp"]
    symbols = data.draw(st.lists(st.sampled_from(["A", "B", "C"]), unique=True, max_size=3))
    step = int(rules.resolution.duration / timedelta(seconds=1))  # type: ignore[operator]
    parts = [minutes("2024-01-02", stamps.len(), symbol=symbol, step=step) for symbol in symbols]
    frame = pl.concat([minutes("2024-01-02", 1).clear(), *parts])
    places = st.lists(st.integers(0, max(frame.height - 1, 0)), max_size=30)
    holes = data.draw(st.one_of(places, st.just(list(range(20, 50)))))
    for row in data.draw(places):
        frame = changed(frame, row, high="1")
    frame = frame.filter(~pl.int_range(pl.len()).is_in(holes))
    validation = validate(frame, rules, window, now=LATER)
    found = described(frame, rules, window, tuple(symbols))
    names = ["symbol", "session", "status", "expected", "actual", "missing", "quarantined"]
    gaps = [[tuple(gap.values()) for gap in item] for item in found["gaps"].to_list()]
    told = [(*row, item) for row, item in zip(found.select(names).iter_rows(), gaps, strict=True)]
    assert told == plainly(symbols, rules, window, validation.good, validation)
    assert found["received"].sum() == frame.height
