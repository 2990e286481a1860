"""Corporate actions in the lake: exact, never overwritten, readable as they were known."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, UnknownSeries, WindowRefused
from gb_pipeline.lake import corporate_actions, quarantine
from gb_pipeline.lake.corporate_actions import ActionsReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.actions import delisting, dividend, received, split
from gb_pipeline_tests.bars import SetClock

EVER = (date(2000, 1, 1), date(2030, 1, 1))
T0 = datetime(2024, 1, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=SetClock(T0))


def write(
    store: LakeStore,
    *rows: dict,
    at: datetime = T0,
    asked: datetime | None = None,
    symbols=("AAPL", "MSFT"),
    window=EVER,
) -> ActionsReport:
    """Write at a moment of the lake's clock; the vendor was asked at that moment unless `asked` says otherwise."""
    store.clock.now = at
    return store.write_actions("mine", symbols, window, received(*rows), fetched_at=asked)


def said(store: LakeStore, as_of: datetime | None = None, *columns: str) -> list[tuple]:
    return (
        corporate_actions.read(store.tables, "mine", as_of=as_of).select(columns or ("ex_date", "kind", "label")).rows()
    )


def test_the_same_answer_twice_is_one_commit(store: LakeStore) -> None:
    rows = [split("2020-08-31", "4"), dividend("2024-02-09", "0.24"), delisting("2029-01-02", "MSFT")]
    first = write(store, *rows)
    again = write(store, *reversed(rows), at=T0 + DAY)
    assert (first.new, first.restated, first.unchanged, first.version) == (3, 0, 0, 0)
    assert (again.new, again.restated, again.unchanged, again.version) == (0, 0, 3, None)
    assert corporate_actions.history(store.tables).height == 3


def test_an_empty_answer_about_nothing_makes_no_table(store: LakeStore) -> None:
    report = write(store)
    assert (report.received, report.version, list(store.tables.existing())) == (0, None, [])


def test_a_corrected_amount_is_a_new_version_and_the_old_one_stays_readable(store: LakeStore) -> None:
    write(store, dividend("2024-02-09", "0.24"))
    report = write(store, dividend("2024-02-09", "0.25"), at=T0 + DAY)
    assert (report.restated, report.new, report.unchanged) == (1, 0, 0)
    assert report.changed.select("amount", "fetched_at").rows() == [(Decimal("0.25"), T0 + DAY)]
    lives = corporate_actions.history(store.tables).select("amount", "known_at", "superseded_at").rows()
    assert lives == [(Decimal("0.24"), T0, T0 + DAY), (Decimal("0.25"), T0 + DAY, None)]
    assert said(store, None, "amount") == [(Decimal("0.25"),)]
    assert said(store, T0 + DAY - TICK, "amount") == [(Decimal("0.24"),)]
    assert said(store, T0 - DAY) == []


def test_a_correction_of_a_date_is_a_restatement_as_well(store: LakeStore) -> None:
    write(store, dividend("2024-02-09", "0.24", pay_date=date(2024, 2, 15)))
    report = write(store, dividend("2024-02-09", "0.24", pay_date=date(2024, 2, 16)), at=T0 + DAY)
    assert report.restated == 1


def test_what_the_vendor_no_longer_returns_is_kept_marked_and_told_once(store: LakeStore) -> None:
    write(store, split("2022-06-22", "10"), dividend("2022-01-02", "1"))
    gone = write(store, split("2022-06-29", "10"), dividend("2022-01-02", "1"), at=T0 + DAY)
    assert (gone.withdrawn, gone.new, gone.unchanged) == (1, 1, 1)
    assert [row[0] for row in said(store) if row[1] == "split"] == [date(2022, 6, 29)]
    kept = corporate_actions.read(store.tables, "mine", withdrawn=True).filter(pl.col("kind") == "split")
    assert kept.select("ex_date", "withdrawn").rows() == [(date(2022, 6, 22), True), (date(2022, 6, 29), False)]
    assert (date(2022, 6, 22), "split", "") in said(store, T0)
    again = write(store, split("2022-06-29", "10"), dividend("2022-01-02", "1"), at=T0 + 2 * DAY)
    assert (again.withdrawn, again.version) == (0, None)
    back = write(
        store, split("2022-06-22", "10"), split("2022-06-29", "10"), dividend("2022-01-02", "1"), at=T0 + 3 * DAY
    )
    assert (back.restated, back.new) == (1, 0)


def test_only_what_was_asked_for_can_be_withdrawn(store: LakeStore) -> None:
    write(store, split("2020-08-31", "4"), split("2020-08-31", "5", symbol="MSFT"))
    later = write(store, at=T0 + DAY, symbols=["AAPL"], window=(date(2021, 1, 1), date(2022, 1, 1)))
    other = write(store, split("2020-08-31", "4"), at=T0 + DAY, symbols=["AAPL"])
    assert (later.withdrawn, other.withdrawn) == (0, 0)
    assert len(said(store)) == 2


def test_two_dividends_of_one_day_and_label_are_told_apart_whatever_their_order(store: LakeStore) -> None:
    pair = [dividend("2024-02-09", "0.24"), dividend("2024-02-09", "1.50")]
    write(store, *pair)
    again = write(store, *reversed(pair), at=T0 + DAY)
    assert (again.unchanged, again.version) == (2, None)
    assert sorted(said(store, None, "label", "amount")) == [("CD", Decimal("0.24")), ("CD (2)", Decimal("1.5"))]
    corrected = write(store, pair[1], dividend("2024-02-09", "9"), at=T0 + 2 * DAY)
    assert (corrected.restated, corrected.unchanged, corrected.withdrawn) == (1, 1, 0)
    assert sorted(said(store, None, "label", "amount")) == [("CD", Decimal(9)), ("CD (2)", Decimal("1.5"))]
    alone = write(store, pair[1], at=T0 + 3 * DAY)
    assert (alone.unchanged, alone.withdrawn) == (1, 1)


def test_a_vendors_own_numbered_label_is_never_taken(store: LakeStore) -> None:
    rows = [dividend("2024-02-09", amount, label) for amount, label in (("1", "CD"), ("2", "CD"), ("3", "CD (2)"))]
    assert write(store, *rows).new == 3
    assert sorted(said(store, None, "label", "amount")) == [
        ("CD", Decimal(1)), ("CD (2)", Decimal(3)), ("CD (3)", Decimal(2)),
    ]  # fmt: skip
    assert write(store, *reversed(rows), at=T0 + DAY).version is None


def test_the_same_record_twice_counts_once(store: LakeStore) -> None:
    report = write(store, split("2020-08-31", "4"), split("2020-08-31", "4"))
    assert (report.received, report.new, report.repeated) == (2, 1, 1)
    assert report.by_symbol == {"AAPL": {"new": 1, "repeated": 1}}


BAD = {
    "split_to_not_positive": split("2020-08-31", "0"),
    "split_from_not_positive": split("2020-08-31", "4", "-1"),
    "split_to_missing_value": split("2020-08-31", None),
    "split_to_unreadable_number": split("2020-08-31", "four"),
    "split_from_too_precise": split("2020-08-31", "4", "0.0000000000000000001"),
    "split_to_too_large": split("2020-08-31", "1" + "0" * 20),
    "ratio_too_precise": split("2020-08-31", "0.000000001", "10000000000"),
    "amount_missing_value": dividend("2020-08-31", None),
    "amount_not_positive": dividend("2020-08-31", "-0.24"),
    "amount_unreadable_number": dividend("2020-08-31", "NaN"),
    "amount_too_precise": dividend("2020-08-31", "0.1234567890123456789"),
    "amount_unexpected_value": split("2020-08-31", "4") | {"amount": "1"},
    "missing_ex_date": split(None, "4"),
    "outside_window": split("2030-01-01", "4"),
    "unknown_kind": split("2020-08-31", "4") | {"kind": "spinoff"},
    "symbol_not_asked_for": split("2020-08-31", "4", symbol="TSLA"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_quarantined_with_its_reason_and_takes_nothing_with_it(store: LakeStore, reason: str) -> None:
    report = write(store, BAD[reason], dividend("2024-02-09", "0.24"))
    assert (report.reasons, report.quarantined, report.new) == ({reason: 1}, 1, 1)
    assert write(store, BAD[reason], dividend("2024-02-09", "0.24"), at=T0 + DAY).version is None
    kept = quarantine.read(store.tables, "mine")
    assert kept.select("reasons", "resolution").rows() == [([reason], "corporate_actions")]
    assert report.worst[0]["why"] == reason


def test_a_stored_action_whose_correction_is_unreadable_is_not_withdrawn(store: LakeStore) -> None:
    write(store, dividend("2024-02-09", "0.24"))
    report = write(store, dividend("2024-02-09", "n/a"), at=T0 + DAY)
    assert (report.withdrawn, report.quarantined) == (0, 1)
    assert said(store, None, "amount") == [(Decimal("0.24"),)]


def test_a_frame_of_floats_or_of_other_columns_is_refused_whole(store: LakeStore) -> None:
    frame = received(split("2020-08-31", "4"))
    for wrong in (
        frame.with_columns(pl.col("split_to").cast(pl.Float64)),
        frame.with_columns(pl.col("ex_date").cast(pl.String)),
        frame.drop("amount"),
        frame.with_columns(pl.lit("x").alias("surprise")),
    ):
        with pytest.raises(WindowRefused):
            store.write_actions("mine", ["AAPL"], EVER, wrong)
    assert list(store.tables.existing()) == []


@given(
    to=st.decimals(min_value="0.000001", max_value="1000000", places=6),
    of=st.decimals(min_value="0.000001", max_value="1000000", places=6),
)
def test_both_numbers_of_a_split_are_stored_exactly_and_the_ratio_to_the_18th_decimal(
    tmp_path_factory: pytest.TempPathFactory, to: Decimal, of: Decimal
) -> None:
    store = LakeStore.at(tmp_path_factory.mktemp("lake"))
    write(store, split("2020-08-31", str(to), str(of)))
    row = corporate_actions.read(store.tables).row(0, named=True)
    assert (row["split_to"], row["split_from"]) == (to, of)
    # In fractions: decimals of Python round a product to 28 digits.
    assert abs(Fraction(row["ratio"]) * Fraction(of) - Fraction(to)) <= Fraction(of) / (2 * 10**18)


def test_amounts_of_eighteen_decimals_survive(store: LakeStore) -> None:
    write(store, dividend("2020-08-31", "0.123456789012345678"), dividend("2020-09-01", "24e-2"))
    assert said(store, None, "amount") == [(Decimal("0.123456789012345678"),), (Decimal("0.24"),)]


def test_an_answer_that_is_late_changes_nothing_and_is_kept(store: LakeStore) -> None:
    write(store, dividend("2024-02-09", "0.25"), split("2020-08-31", "4"), at=T0 + DAY)
    late = write(store, dividend("2024-02-09", "0.24"), dividend("2021-02-09", "0.2"), at=T0 + 2 * DAY, asked=T0)
    assert (late.late, late.new, late.restated, late.withdrawn, late.quarantined) == (1, 1, 0, 0, 0)
    assert late.received == late.new + late.restated + late.unchanged + late.quarantined + late.repeated + late.late
    held = [(None,), (Decimal("0.2"),), (Decimal("0.25"),)]
    assert said(store, None, "amount") == held
    kept = quarantine.read(store.tables, "mine").row(0, named=True)
    assert (kept["reasons"], kept["session"]) == (["fetched_before_stored"], date(2024, 2, 9))
    assert json.loads(kept["row"])["amount"].rstrip("0") == "0.24"
    again = write(store, dividend("2024-02-09", "0.24"), dividend("2021-02-09", "0.2"), at=T0 + 3 * DAY, asked=T0)
    assert (again.late, again.version) == (1, None)
    assert quarantine.read(store.tables).height == 1


def test_two_contents_of_one_moment_are_told_apart(store: LakeStore) -> None:
    write(store, dividend("2024-02-09", "0.24"))
    write(store, dividend("2024-02-09", "0.25"))
    assert said(store, None, "amount") == [(Decimal("0.25"),)]
    assert said(store, T0, "amount") == [(Decimal("0.24"),)]
    assert said(store, T0 + TICK, "amount") == [(Decimal("0.25"),)]


def test_one_split_under_two_dates_is_pointed_out(store: LakeStore) -> None:
    report = write(store, split("2022-06-22", "10"), split("2022-06-29", "10"), split("2020-01-02", "10"))
    assert report.doubtful == {"AAPL": ("the same split 10:1 on 2022-06-22 and on 2022-06-29",)}


def test_thousands_of_symbols_in_one_answer(store: LakeStore) -> None:
    codes = [f"S{number:04d}" for number in range(1500)]
    rows = [dividend("2024-02-09", "0.24", symbol=code) for code in codes]
    write(store, split("2020-08-31", "4", symbol="S0700X"), symbols=["S0700X"])
    assert write(store, *rows, symbols=codes).new == 1500
    random.Random(1).shuffle(rows)
    rows[0]["amount"] = "9"
    again = write(store, *rows, symbols=codes, at=T0 + DAY)
    assert (again.restated, again.unchanged) == (1, 1499)
    assert corporate_actions.history(store.tables).height == 1502


WRITER = """
import sys
from datetime import date
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.actions import dividend, received
store = LakeStore.at(sys.argv[1])
sys.stdin.readline()
for number in range(6):
    rows = [dividend(f"2024-0{month}-09", f"0.{number}{month}") for month in range(1, 6)]
    store.write_actions("mine", ["AAPL"], (date(2000, 1, 1), date(2030, 1, 1)), received(*rows))
"""


def test_writers_of_the_same_actions_at_once_lose_and_double_nothing(store: LakeStore) -> None:
    command = [sys.executable, "-c", WRITER, str(store.storage.root)]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[2]) for _ in range(3)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    rows = corporate_actions.history(store.tables)
    key = ["ex_date", "known_at"]
    assert rows.select(key).is_duplicated().sum() == 0
    # Neighbouring versions of one action always say something different.
    repeats = rows.sort(*key).filter(pl.col("amount") == pl.col("amount").shift().over("ex_date"))
    assert repeats.is_empty()
    assert said(store, None, "amount") == [(Decimal(f"0.5{month}"),) for month in range(1, 6)]


def test_sql_has_what_holds_every_version_and_what_held(store: LakeStore) -> None:
    lake = Lake(store)
    assert lake.sql("select * from corporate_actions").is_empty()
    write(store, dividend("2024-02-09", "0.24"), split("2020-08-31", "4"), split("2020-08-30", "4"))
    write(store, dividend("2024-02-09", "0.25"), split("2020-08-31", "4"), at=T0 + DAY)
    held = lake.sql("select ex_date, kind, amount, withdrawn from corporate_actions order by ex_date")
    assert held.rows() == [
        (date(2020, 8, 31), "split", None, False),
        (date(2024, 2, 9), "cash_dividend", Decimal("0.25"), False),
    ]
    versions = lake.sql(
        "select amount, known_at, superseded_at from corporate_actions_history where kind = 'cash_dividend'"
        " order by known_at"
    )
    assert versions.rows() == [(Decimal("0.24"), T0, T0 + DAY), (Decimal("0.25"), T0 + DAY, None)]
    assert lake.sql("select count(*) from corporate_actions_history where withdrawn").item() == 1
    then = f"select amount from corporate_actions_as_of('{T0.isoformat()}') where kind = 'cash_dividend'"
    assert lake.sql(then).item() == Decimal("0.24")
    question = "select ex_date from corporate_actions where kind = 'split' order by ex_date"
    assert lake.sql(question)["ex_date"].to_list() == [date(2020, 8, 31)]
    assert lake.sql(question, as_of=T0)["ex_date"].to_list() == [date(2020, 8, 30), date(2020, 8, 31)]


def test_actions_are_found_by_symbol_kind_and_date_and_a_symbol_nobody_asked_for_is_no_empty_answer(
    store: LakeStore,
) -> None:
    write(store, dividend("2024-02-09", "0.24"), split("2020-08-31", "4"), split("2020-08-31", "2", symbol="MSFT"))
    lake = Lake(store)
    assert lake.corporate_actions().height == 3
    assert lake.corporate_actions("AAPL", kind="split")["split_to"].to_list() == [Decimal(4)]
    assert lake.corporate_actions("AAPL", start="2020-09-01")["kind"].to_list() == ["cash_dividend"]
    assert lake.corporate_actions("AAPL", end="2020-08-31").is_empty()
    assert lake.corporate_actions(as_of=T0 - DAY).is_empty()
    with pytest.raises(UnknownSeries, match="were never fetched") as caught:
        lake.corporate_actions("APPL")
    assert caught.value.near == ("AAPL",)
    with pytest.raises(UnknownSeries):
        lake.corporate_actions("AAPL", source="other")
    with pytest.raises(ConfigError, match="is not a kind"):
        lake.corporate_actions(kind="dividend")


def test_real_consolidations_of_another_vendor_keep_their_ratio(
    store: LakeStore, market_data: Callable[[str], Path]
) -> None:
    text = market_data("corporate-actions/databento-corporate-actions.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line, parse_float=str) for line in text.splitlines()]
    rows = [
        split(record["ex_date"], record["ratio_new"], record["ratio_old"], symbol=f"S{number}")
        for number, record in enumerate(records)
        if record["event"] == "RSPLT"
    ]
    report = store.write_actions("databento", [row["symbol"] for row in rows], EVER, received(*rows))
    assert (report.new, report.quarantined) == (len(rows), 0)
    first = corporate_actions.read(store.tables, "databento").row(0, named=True)
    # Bowmo Inc., a thousand old shares for one.
    assert (first["ex_date"], first["split_to"], first["split_from"]) == (date(2023, 10, 10), Decimal(1), Decimal(1000))
    assert first["ratio"] == Decimal("0.001")
