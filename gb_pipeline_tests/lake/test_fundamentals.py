"""Fundamentals and listings in the lake: exact, never overwritten, and never known before they were published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.lake import fundamentals, listings, quarantine
from gb_pipeline.lake.fundamentals import FundamentalsReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.fundamentals import Q2, listing, listing_frame, told, told_frame

T0 = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
REPORTED = date(2024, 4, 24)
# 00:00 of the next day in New York, in summer.
END_OF_REPORT_DAY = datetime(2024, 4, 25, 4, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=SetClock(T0))


def write(
    store: LakeStore, *rows: dict, at: datetime = T0, asked: datetime | None = None, symbol: str = "IBM"
) -> FundamentalsReport:
    store.clock.now = at
    report = store.write_fundamentals("av", symbol, told_frame(*rows), fetched_at=asked or at)
    parts = (report.new, report.restated, report.unchanged, report.quarantined, report.repeated, report.late)
    assert report.received == len(rows) == sum(parts)
    return report


def held(store: LakeStore, *columns: str, as_of: datetime | None = None, versions: bool = False) -> list[tuple]:
    return fundamentals.read(store.tables, "av", as_of=as_of, versions=versions, withdrawn=True).select(columns).rows()


def test_numbers_are_exact_and_none_is_never_zero(store: LakeStore) -> None:
    spellings = ["None", "-", "", "null"]
    rows = [told("12345678901234567.890123456789012345"), told("0", item="zero"), told("-1.50", item="loss")]
    rows += [told(text, item=f"absent_{number}") for number, text in enumerate(spellings)]
    assert write(store, *rows).new == 7
    found = dict(held(store, "item", "value"))
    assert found["total_revenue"] == Decimal("12345678901234567.890123456789012345")
    assert (found["zero"], found["loss"]) == (Decimal(0), Decimal("-1.5"))
    assert [found[f"absent_{number}"] for number in range(4)] == [None] * 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (told("n/a"), "value_unreadable_number"),
        (told("1e-30"), "value_too_precise"),
        (told("1e30"), "value_too_large"),
        (told("1", period=None), "missing_period"),
        (told("1", period=date(2024, 6, 2)), "period_not_over"),
        (told("1", item=""), "missing_item"),
        (told("1", currency="dollars"), "unknown_currency"),
        (told("1", statement="gossip"), "unknown_statement"),
        (told("1", kind="weekly"), "unknown_kind"),
        (told("1", unit="bananas"), "unknown_unit"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_nothing_of_it_is_lost(
    store: LakeStore, row: dict, reason: str
) -> None:
    report = write(store, row, told("7", item="good"))
    assert (report.new, report.quarantined) == (1, 1)
    [refused] = quarantine.read(store.tables).rows(named=True)
    assert (refused["resolution"], refused["reasons"]) == ("fundamentals", [reason])
    assert json.loads(refused["row"])["value"] == row["value"]
    assert held(store, "item") == [("good",)]


def test_the_same_answer_twice_is_one_commit_in_any_order(store: LakeStore) -> None:
    rows = [
        told("1"),
        told("2", Q2 - DAY * 31),
        told(None, None, "sector", statement="overview", kind="snapshot", unit="text", text="TECH"),
    ]
    assert write(store, *rows).version == 0
    again = write(store, *reversed(rows), at=T0 + DAY)
    assert (again.unchanged, again.version) == (3, None)


def test_equal_rows_are_named_and_contradicting_ones_are_both_refused(store: LakeStore) -> None:
    report = write(store, told("1"), told("1"), told("1", item="a"), told("2", item="a"))
    assert (report.new, report.repeated, report.quarantined) == (1, 1, 2)


def test_a_restatement_keeps_both_versions_and_is_published_when_it_was_seen(store: LakeStore) -> None:
    write(store, told("100", reported=REPORTED))
    report = write(store, told("90", reported=REPORTED), at=T0 + DAY)
    assert (report.restated, report.new) == (1, 0)
    assert held(store, "value", "published_at", "known_at", "superseded_at", versions=True) == [
        (Decimal(100), END_OF_REPORT_DAY, T0, T0 + DAY),
        (Decimal(90), T0 + DAY, T0 + DAY, None),
    ]
    assert held(store, "value", as_of=T0) == [(Decimal(100),)]


def test_without_a_day_of_the_report_it_was_published_when_it_was_seen_and_a_later_day_moves_it_back(
    store: LakeStore,
) -> None:
    write(store, told("100"))
    assert held(store, "published_at") == [(T0,)]
    write(store, told("100", reported=REPORTED), at=T0 + DAY)
    assert held(store, "published_at", "known_at") == [(END_OF_REPORT_DAY, T0 + DAY)]
    # A question about fewer statements does not take the day away.
    assert write(store, told("100"), at=T0 + 2 * DAY).unchanged == 1


@pytest.mark.parametrize("first_day", [None, REPORTED - DAY])
def test_a_day_of_the_report_that_is_told_later_does_not_move_a_restatement_back(
    store: LakeStore, first_day: date | None
) -> None:
    write(store, told("100", reported=first_day), told("None", item="filled_late", reported=first_day))
    write(store, told("90", reported=first_day), told("4", item="filled_late", reported=first_day), at=T0 + DAY)
    write(store, told("90", reported=REPORTED), told("4", item="filled_late", reported=REPORTED), at=T0 + 2 * DAY)
    newest = fundamentals.read(store.tables, "av")
    assert newest["reported_date"].to_list() == [REPORTED] * 2
    assert newest["published_at"].to_list() == [T0 + DAY] * 2


def test_a_report_from_before_the_end_of_its_period_was_published_when_it_was_seen(store: LakeStore) -> None:
    write(store, told("100", date(2024, 3, 31), reported=date(2024, 3, 30)))
    assert held(store, "published_at", "reported_date") == [(T0, date(2024, 3, 30))]


def test_an_empty_place_that_is_filled_by_the_report_was_published_with_it(store: LakeStore) -> None:
    before, after = datetime(2024, 4, 20, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
    write(store, told("None", reported=REPORTED), told("None", item="late"), at=before)
    write(store, told("3", reported=REPORTED), told("4", item="late"), at=after)
    published = dict(held(store, "item", "published_at"))
    assert published == {"total_revenue": END_OF_REPORT_DAY, "late": after}


def test_a_snapshot_was_published_when_it_was_seen(store: LakeStore) -> None:
    row = told(
        "15.2", None, "pe_ratio", statement="overview", kind="snapshot", unit="ratio", currency=None, reported=REPORTED
    )
    write(store, row)
    write(store, row | {"value": "15.3"}, at=T0 + DAY)
    assert held(store, "value", "published_at", versions=True) == [(Decimal("15.2"), T0), (Decimal("15.3"), T0 + DAY)]


def test_what_the_vendor_no_longer_says_is_withdrawn_but_old_periods_and_other_statements_are_not(
    store: LakeStore,
) -> None:
    write(store, told("1", date(2004, 3, 31)), told("2"), told("3", item="ebit"), told("4", statement="cash_flow"))
    report = write(store, told("2"), at=T0 + DAY)
    assert (report.unchanged, report.withdrawn) == (1, 1)
    assert dict(held(store, "item", "withdrawn"))["ebit"] is True
    assert sum(row[0] for row in held(store, "withdrawn")) == 1
    # It comes back with what it said.
    assert write(store, told("2"), told("3", item="ebit"), at=T0 + 2 * DAY).restated == 1


def test_an_empty_answer_takes_nothing_away(store: LakeStore) -> None:
    write(store, told("1"))
    assert write(store, at=T0 + DAY).withdrawn == 0
    assert len(held(store, "value")) == 1


def test_a_refused_row_is_not_taken_for_a_withdrawn_one(store: LakeStore) -> None:
    write(store, told("1"), told("2", item="ebit"))
    report = write(store, told("1"), told("??", item="ebit"), at=T0 + DAY)
    assert (report.withdrawn, report.quarantined) == (0, 1)
    assert dict(held(store, "item", "value"))["ebit"] == Decimal(2)


def test_an_answer_that_was_fetched_earlier_never_replaces_a_later_one(store: LakeStore) -> None:
    write(store, told("2"), told("5", item="ebit"))
    report = write(store, told("1"), at=T0 + DAY, asked=T0 - DAY)
    assert (report.late, report.withdrawn, report.version) == (1, 0, None)
    assert sorted(held(store, "value")) == [(Decimal(2),), (Decimal(5),)]
    assert quarantine.read(store.tables)["reasons"].to_list() == [["fetched_before_stored"]]


def test_a_currency_that_changes_is_a_restatement(store: LakeStore) -> None:
    write(store, told("100", currency="USD", reported=REPORTED))
    assert write(store, told("100", currency="EUR", reported=REPORTED), at=T0 + DAY).restated == 1
    assert held(store, "currency", "published_at", versions=True)[1] == ("EUR", T0 + DAY)


def test_compaction_changes_nothing_that_is_read(store: LakeStore) -> None:
    snapshot = told("15", None, "pe_ratio", statement="overview", kind="snapshot", unit="ratio", currency=None)
    for number in range(6):
        write(
            store, told(str(number)), snapshot | {"value": str(number)}, at=T0 + number * DAY, symbol=f"S{number % 3}"
        )
    columns = fundamentals.FUNDAMENTALS_STORED.names()
    before = held(store, *columns, versions=True)
    store.compact(*store.compaction_candidates(min_files=2))
    assert held(store, *columns, versions=True) == before


def test_a_frame_of_other_columns_or_floats_is_refused(store: LakeStore) -> None:
    frame = told_frame(told("1"))
    for wrong in (frame.drop("unit"), frame.with_columns(x=1), frame.with_columns(pl.lit(1.5).alias("value"))):
        with pytest.raises(WindowRefused):
            store.write_fundamentals("av", "IBM", wrong)
    with pytest.raises(ConfigError):
        store.write_fundamentals("av", [], frame)


def answers() -> st.SearchStrategy[list[list[tuple[str, str | None, bool]]]]:
    item = st.sampled_from(["a", "b", "c"])
    value = st.sampled_from(["1", "2", "None"])
    answer = st.lists(st.tuples(item, value, st.booleans()), max_size=3, unique_by=lambda row: row[0])
    return st.lists(answer, min_size=1, max_size=5)


@settings(max_examples=25)
@given(answers=answers())
def test_nothing_is_known_before_it_was_told_and_no_later_answer_changes_what_was_known(
    answers: list[list[tuple[str, str | None, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = LakeStore.at(tmp_path_factory.mktemp("lake"), clock=SetClock(T0))
    moments = [T0 + number * DAY for number in range(len(answers))]
    seen: list[list[tuple]] = []
    for moment, answer in zip(moments, answers, strict=True):
        rows = [told(value, item=item, reported=REPORTED if dated else None) for item, value, dated in answer]
        write(store, *rows, at=moment)
        seen.append(held(store, "item", "value", "published_at", as_of=moment))
    for moment, then in zip(moments, seen, strict=True):
        assert held(store, "item", "value", "published_at", as_of=moment) == then
    for (key, *_), versions in _by_item(store):
        assert all(end == begin for (_, _, end), (_, begin, _) in pairwise(versions)), key
        # A content that differs from the one before, and fills no empty place, is never dated back.
        for (before, _, _), (after, _, _) in pairwise(versions):
            if before[0] not in {None, after[0]}:
                assert after[1] >= after[2]


def _by_item(store: LakeStore) -> Iterator[tuple[tuple, list[tuple]]]:
    rows = fundamentals.read(store.tables, "av", versions=True, withdrawn=True)
    for key, versions in rows.group_by("item", maintain_order=True):
        columns = versions.select("value", "published_at", "known_at", "superseded_at").rows()
        yield key, [((value, published, known), known, ended) for value, published, known, ended in columns]


# --- listings ---------------------------------------------------------------------------------------------------------


def write_list(store: LakeStore, *rows: dict, at: datetime = T0, asked: datetime | None = None) -> FundamentalsReport:
    store.clock.now = at
    report = store.write_listings("av", listing_frame(*rows), fetched_at=asked or at)
    parts = (report.new, report.restated, report.unchanged, report.quarantined, report.repeated, report.late)
    assert report.received == len(rows) == sum(parts)
    return report


def test_a_delisting_is_known_from_then_on_and_not_before(store: LakeStore) -> None:
    ibm, gone = listing("IBM", date(1962, 1, 2)), listing("TWTR", date(2013, 11, 7))
    write_list(store, ibm, gone)
    report = write_list(store, ibm, gone | {"status": "delisted", "delisting_date": date(2022, 10, 28)}, at=T0 + DAY)
    assert (report.restated, report.unchanged) == (1, 1)
    assert listings.read(store.tables, "av", as_of=T0)["status"].to_list() == ["active", "active"]
    assert listings.read(store.tables, "av")["status"].to_list() == ["active", "delisted"]


def test_a_code_that_was_given_again_has_two_listings_and_one_without_a_day_is_kept(store: LakeStore) -> None:
    rows = [
        listing("META", date(2011, 1, 3), date(2020, 1, 3)),
        listing("META", date(2022, 6, 9)),
        listing("NODAY", None),
    ]
    assert write_list(store, *rows).new == 3
    assert write_list(store, *reversed(rows), at=T0 + DAY).version is None
    assert listings.read(store.tables, "av", ["META"]).height == 2


def test_who_is_no_longer_listed_is_withdrawn_unless_the_list_is_older(store: LakeStore) -> None:
    write_list(store, listing("A", date(2000, 1, 3)), listing("B", date(2000, 1, 3)))
    assert write_list(store, listing("A", date(2000, 1, 3)), at=T0 + DAY, asked=T0 - DAY).withdrawn == 0
    assert write_list(store, listing("A", date(2000, 1, 3)), at=T0 + DAY).withdrawn == 1
    assert listings.read(store.tables, "av")["symbol"].to_list() == ["A"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (listing(None, date(2000, 1, 3)), "no_canonical_code"),
        (listing("A", date(2000, 1, 3), status="Sleeping"), "unknown_status"),
        (listing("A", date(2000, 1, 3), date(1999, 1, 4)), "delisted_before_listed"),
    ],
)
def test_a_bad_listing_is_refused_with_its_reason(store: LakeStore, row: dict, reason: str) -> None:
    assert write_list(store, row, listing("OK", date(2000, 1, 3))).quarantined == 1
    [refused] = quarantine.read(store.tables).rows(named=True)
    assert (refused["resolution"], refused["reasons"]) == ("listings", [reason])
