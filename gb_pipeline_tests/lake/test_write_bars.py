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
from gb_pipeline.lake import ledger, quarantine, restatements
from gb_pipeline.lake.report import SessionStatus, WriteReport
from gb_pipeline.lake.specs import TableSpec
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.gaps import GapReason
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline_tests.bars import at, changed, day, minutes

T1, T2, T3 = at("2024-02-01T00:00"), at("2024-02-02T00:00"), at("2024-02-03T00:00")
LENIENT = BarRules(max_bad_fraction=1.0)
Versions = dict[str, int]


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path)


def versions(store: LakeStore) -> Versions:
    found = {}
    for name in store.tables.existing():
        with store.tables.open(name) as table:
            assert table is not None
            found[name] = table.version()
    return found


def rows(store: LakeStore, table: str = "bars_1m") -> pl.DataFrame:
    return pl.read_delta(store.storage.table(table)).sort("symbol", "timestamp")


def write(store: LakeStore, frame: pl.DataFrame, window: Window | None = None, **how: object) -> WriteReport:
    how.setdefault("known_at", T1)
    return store.write_bars("sim", "BTC-USD", Resolution.MINUTE, window or day("2024-01-02"), frame, **how)  # type: ignore[arg-type]


def test_a_day_is_stored_digit_by_digit_in_one_commit(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    report = write(store, frame)
    stored = rows(store)
    assert stored.schema == polars_schema(bar_schema())
    for name in ("open", "high", "low", "close", "volume"):
        assert stored[name].to_list() == [Decimal(text) for text in frame[name]]
    assert (report.received, report.stored, report.quarantined, report.version) == (1440, 1440, 0, 1)
    assert stored["known_at"].unique().to_list() == [T1]
    assert stored["period"].unique().to_list() == ["2024"]
    assert report.bytes == sum(path.stat().st_size for path in Path(store.storage.table("bars_1m")).rglob("*.parquet"))


def test_the_same_content_again_commits_nothing_anywhere(store: LakeStore) -> None:
    frame = changed(minutes("2024-01-02"), 7, high="1")
    write(store, frame)
    before = versions(store)
    again = write(store, frame.reverse(), known_at=T2)
    assert versions(store) == before
    assert (again.version, again.unchanged, again.quarantined) == (None, 1439, 1)


def test_changed_content_is_a_restatement_and_keeps_the_old_row(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    write(store, frame)
    report = write(store, changed(frame, 100, close="140.5", volume="2"), known_at=T2)
    assert (report.restated, report.unchanged, report.sessions[0].restated) == (1, 1439, 1)
    found = restatements.read(store.tables).row(0, named=True)
    assert (found["old_close"], found["new_close"]) == (Decimal("140.75"), Decimal("140.5"))
    assert (found["first_known"], found["replaced_at"], found["delay"]) == (T1, T2, 86_400_000_000)
    moments = rows(store)["known_at"]
    assert (moments[100], moments[99], moments[101]) == (T2, T1, T1)


def test_rows_that_the_vendor_no_longer_returns_are_kept_and_reported(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    first = write(store, frame)
    report = write(store, frame.filter(pl.int_range(pl.len()) != 5), known_at=T2)
    assert (report.withdrawn, report.version, report.fingerprint) == (1, None, first.fingerprint)
    assert rows(store).height == 1440


def test_a_row_that_is_refused_now_does_not_take_the_good_one_away(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    write(store, frame)
    report = write(store, changed(frame, 5, high="1"), known_at=T2)
    assert (report.withdrawn, report.quarantined, report.version) == (0, 1, None)
    assert rows(store)["high"][5] == Decimal(frame["high"][5])


def test_refused_rows_are_kept_once_with_reasons_however_often_they_come(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    frame = pl.concat([changed(frame, 7, high="1"), frame[20:21], frame[20:21]])
    for _ in range(3):
        report = write(store, frame, run_id="r1")
    assert report.received == report.stored + report.quarantined == 1442
    kept = quarantine.read(store.tables)
    assert sorted(kept["reasons"].list.join(",")) == ["duplicate", "duplicate", "high_not_highest,low_not_lowest"]
    assert '"high":"1"' in kept.filter(pl.col("reasons").list.len() == 2)["row"][0]
    assert kept["run_id"].unique().to_list() == ["r1"]


def test_the_same_bad_line_on_two_days_is_two_refusals(store: LakeStore) -> None:
    for text in ("2024-01-02", "2024-01-03"):
        line = minutes(text, 2).with_columns(pl.lit("0,-,1,1,1,1").alias("received"))
        write(store, changed(line, 0, open="-"), day(text), rules=LENIENT)
    assert quarantine.read(store.tables)["session"].n_unique() == 2


def test_a_refused_session_stores_nothing_and_loses_nothing(store: LakeStore) -> None:
    frame = pl.concat([minutes("2024-01-02"), minutes("2024-01-03")])
    for row in range(40):
        frame = changed(frame, row, low="9999")
    report = write(store, frame, day("2024-01-02", 2))
    assert [session.status for session in report.sessions] == [SessionStatus.REFUSED, SessionStatus.COMPLETE]
    assert rows(store).height == 1440
    assert quarantine.read(store.tables).height == 1440
    assert report.sessions[0].gaps[0].reason is GapReason.UNKNOWN
    assert report.sessions[0].worst[0]["why"] == "high_not_highest, low_not_lowest"


def test_a_frame_with_wrong_columns_changes_nothing(store: LakeStore) -> None:
    with pytest.raises(WindowRefused):
        write(store, minutes("2024-01-02").drop("volume"))
    assert store.tables.existing() == ()


def test_many_symbols_share_one_commit_and_an_absent_one_was_answered_empty(store: LakeStore) -> None:
    frame = pl.concat([minutes("2024-01-02", symbol=f"S{n}-USD") for n in range(5)])
    codes = [f"S{n}-USD" for n in range(6)]
    report = store.write_bars("sim", codes, Resolution.MINUTE, day("2024-01-02"), frame)
    assert report.version == 1
    assert [session.status.value for session in report.sessions] == ["complete"] * 5 + ["empty"]
    assert report.sessions[5].gaps[0].reason is GapReason.VENDOR_EMPTY


def test_the_ledger_says_what_is_there_and_what_is_missing_and_why(store: LakeStore) -> None:
    frame = minutes("2024-01-02").filter(~pl.int_range(pl.len()).is_between(600, 609))
    report = write(store, frame, rules=replace(LENIENT, gap_policy=GapPolicy.NO_TRADE))
    row = ledger.current(store.tables).row(0, named=True)
    assert (row["expected"], row["actual"], row["missing"], row["status"]) == (1440, 1430, 10, "partial")
    assert row["gaps"] == [
        {"start": at("2024-01-02T10:00"), "end": at("2024-01-02T10:10"), "missing": 10, "reason": "no_trade"}
    ]
    assert row["fingerprint"] == report.sessions[0].fingerprint
    assert (row["first_timestamp"], row["last_timestamp"]) == (at("2024-01-02T00:00"), at("2024-01-02T23:59"))


def test_late_bars_close_their_gap(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    write(store, frame.head(1000))
    report = write(store, frame, known_at=T2)
    assert (report.restated, report.unchanged, report.sessions[0].status) == (0, 1000, SessionStatus.COMPLETE)
    assert rows(store)["known_at"].value_counts().sort("count")["count"].to_list() == [440, 1000]
    assert ledger.current(store.tables)["missing"].to_list() == [0]


def test_parts_of_a_session_add_up_to_the_whole_session(store: LakeStore) -> None:
    frame = minutes("2024-01-02")
    whole = LakeStore.at(store.storage.root / "other")
    expected = write(whole, frame).sessions[0]
    for hour in range(24):
        window = Window(
            at("2024-01-02T00:00") + timedelta(hours=hour), at("2024-01-02T00:00") + timedelta(hours=hour + 1)
        )
        part = write(store, frame[hour * 60 : hour * 60 + 60], window)
        assert part.sessions[0].actual == (hour + 1) * 60
    row = ledger.current(store.tables).row(0, named=True)
    assert (row["actual"], row["status"], row["fingerprint"]) == (1440, "complete", expected.fingerprint)


def test_closed_days_and_days_before_the_listing_are_explained(store: LakeStore) -> None:
    rules = BarRules(calendar=get_calendar("XNYS"))
    window = rules.calendar.window(at("2024-01-05T00:00").date(), at("2024-01-10T00:00").date(), Resolution.MINUTE)
    report = store.write_bars(
        "sim",
        "NEW",
        Resolution.MINUTE,
        window,
        minutes("2024-01-09T14:30", 390, symbol="NEW"),
        rules=rules,
        listings={"NEW": (at("2024-01-09T00:00").date(), None)},
    )
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


def test_a_failed_fetch_is_a_gap_that_says_so_and_takes_nothing_away(store: LakeStore) -> None:
    write(store, minutes("2024-01-02"))
    two_days = day("2024-01-02", 2)
    reports = store.record_failure("sim", ["BTC-USD"], two_days, rules=BarRules())
    assert [report.status for report in reports] == [SessionStatus.FAILED, SessionStatus.FAILED]
    found = ledger.current(store.tables).select("status", "missing").rows()
    assert found == [("complete", 0), ("failed", 1440)]
    assert ledger.current(store.tables)["gaps"][1][0]["reason"] == "fetch_failed"
    write(store, pl.concat([minutes("2024-01-02"), minutes("2024-01-03")]), two_days)
    assert ledger.current(store.tables)["status"].to_list() == ["complete", "complete"]


def test_wide_numbers_go_to_the_sibling_table_and_hide_what_they_replace(store: LakeStore) -> None:
    frame = minutes("2024-01-02", 10)
    write(store, frame, rules=LENIENT)
    wide = replace(LENIENT, precision=Precision.WIDE)
    finer = changed(frame, 3, volume="1.000030000000000001")
    report = write(store, finer, rules=wide, known_at=T2)
    assert (report.restated, report.unchanged) == (1, 9)
    assert rows(store, "bars_1m_wide")["volume"].to_list() == [Decimal("1.000030000000000001")]
    assert write(store, finer, rules=wide, known_at=T3).version is None
    with pytest.raises(LakeError, match="precision"):
        write(store, frame, rules=LENIENT)


def test_daily_bars_of_all_symbols_lie_in_one_file_per_period(store: LakeStore) -> None:
    frame = pl.concat([minutes("2024-01-02", 3, symbol=code, step=86_400) for code in ("AAA", "BBB")])
    store.write_bars("sim", ["AAA", "BBB"], Resolution.DAY, day("2024-01-02", 3), frame, rules=BarRules(Resolution.DAY))
    files = list(Path(store.storage.table("bars_1d")).rglob("*.parquet"))
    assert [path.parent.name for path in files] == ["period=2024"]
    assert rows(store, "bars_1d")["symbol"].to_list() == ["AAA"] * 3 + ["BBB"] * 3


def test_a_window_across_new_year_lies_in_two_periods(store: LakeStore) -> None:
    frame = minutes("2023-12-31", 2880)
    write(store, frame, day("2023-12-31", 2))
    assert rows(store)["period"].unique().sort().to_list() == ["2023", "2024"]
    assert write(store, frame, day("2023-12-31", 2), known_at=T2).version is None


def crash_before(what: str, monkeypatch: pytest.MonkeyPatch, store: LakeStore) -> None:
    """The process dies right before the bars, or the ledger, are committed."""
    commit = store.tables.replace

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def crash_on_bars(table: object, spec: TableSpec, *rest: object) -> int:
        return crash() if spec.name == "bars_1m" else commit(table, spec, *rest)  # type: ignore[arg-type,return-value]

    if what == "bars":
        monkeypatch.setattr(store.tables, "replace", crash_on_bars)
    else:
        monkeypatch.setattr(ledger, "append_changed", crash)


@pytest.mark.parametrize("what", ["bars", "ledger"])
def test_a_crash_between_commits_is_repaired_by_running_again(
    store: LakeStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    frame = minutes("2024-01-02")
    write(store, frame)
    restated = changed(frame, 100, close="140.5")
    crash_before(what, monkeypatch, store)
    with pytest.raises(KeyboardInterrupt):
        write(store, restated, known_at=T2)
    monkeypatch.undo()
    write(store, restated, known_at=T3)
    found = restatements.read(store.tables)
    # The moment of the first attempt holds: that is when this content became known.
    assert found.select("first_known", "replaced_at").rows() == [(T1, T2)]
    assert rows(store)["known_at"][100] == T2
    assert ledger.current(store.tables)["fingerprint"].to_list() == [
        write(LakeStore.at(store.storage.root / "fresh"), restated).sessions[0].fingerprint
    ]


def test_a_vendor_that_changes_its_mind_during_a_crash_leaves_one_true_record(
    store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = minutes("2024-01-02")
    write(store, frame)
    crash_before("bars", monkeypatch, store)
    with pytest.raises(KeyboardInterrupt):
        write(store, changed(frame, 100, close="140.5"), known_at=T2)
    monkeypatch.undo()
    write(store, changed(frame, 100, close="140.25"), known_at=T3)
    found = restatements.read(store.tables)
    assert found.select("new_close", "replaced_at").rows() == [(Decimal("140.25"), T3)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30), st.integers(0, 2)), min_size=1, max_size=5))
def test_any_sequence_of_windows_ends_as_if_the_last_word_on_each_bar_had_been_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[int, int, int]]
) -> None:
    store = LakeStore.at(tmp_path_factory.mktemp("lake"))
    base = minutes("2024-01-02", 60, base=1000)
    expected: dict[int, str] = {}
    for number, (start, length, edition) in enumerate(parts):
        part = base[start : start + length].with_columns(pl.format("{}{}", "volume", pl.lit(edition + 1)))
        window = Window(
            at("2024-01-02T00:00") + timedelta(minutes=start),
            at("2024-01-02T00:00") + timedelta(minutes=start + length),
        )
        write(store, part, window, known_at=T1 + timedelta(days=number), rules=LENIENT)
        expected |= {start + row: text for row, text in enumerate(part["volume"])}
    stored = rows(store)
    assert stored["timestamp"].is_unique().all()
    assert {stamp.minute: volume for stamp, volume in stored.select("timestamp", "volume").iter_rows()} == {
        minute: Decimal(text) for minute, text in expected.items()
    }
    assert ledger.current(store.tables)["actual"].to_list() == [len(expected)]
