"""Reading the lake as it was known at a moment."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gb_pipeline import BarRules, Lake, LakeStore, NoDataInRange, Precision, Resolution, UnknownSeries, Window
from gb_pipeline_tests.bars import SetClock

DAY = datetime(2024, 1, 2, tzinfo=UTC)
LEARNT = datetime(2024, 6, 1, tzinfo=UTC)
LATER = LEARNT + timedelta(days=1)
TICK = timedelta(microseconds=1)
RULES = BarRules(max_bad_fraction=1.0)
WIDE = BarRules(max_bad_fraction=1.0, precision=Precision.WIDE)
COLUMNS = ["timestamp", "close", "withdrawn", "known_at", "fetched_at", "superseded_at"]


def frame(closes: dict[int, str]) -> pl.DataFrame:
    stamps = pl.Series([DAY + timedelta(minutes=minute) for minute in closes], dtype=pl.Datetime("us", "UTC"))
    text = pl.Series(list(closes.values()), dtype=pl.String)
    return pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close", "volume"), text)})


def store(lake: Lake, closes: dict[int, str], moment: datetime, rules: BarRules = RULES) -> None:
    lake.store.clock = SetClock(moment)
    window = Window(DAY, DAY + timedelta(days=1))
    lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, window, frame(closes), rules=rules)


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
    store(lake, {0: "1", 1: "5"}, LATER)
    assert known(lake, LEARNT) == {0: 1, 1: 2}
    assert known(lake, LATER - TICK) == {0: 1, 1: 2}
    assert known(lake, LATER) == {0: 1, 1: 5}
    assert known(lake, LEARNT - TICK) == {}


def test_a_bar_that_came_late_is_not_there_before(lake):
    store(lake, {0: "1"}, LEARNT)
    store(lake, {0: "1", 1: "2"}, LATER)
    assert known(lake, LEARNT) == {0: 1}


def test_a_bar_is_withdrawn_from_the_moment_on_at_which_it_was(lake):
    store(lake, {0: "1", 1: "2"}, LEARNT)
    store(lake, {0: "1"}, LATER)
    assert known(lake, LATER) == known(lake, LATER - TICK) == {0: 1, 1: 2}
    marks = [lake.bars("BTC-USD", "1m", as_of=t, columns=["withdrawn"]).to_series() for t in (LATER - TICK, LATER)]
    assert [mark.to_list() for mark in marks] == [[None, None], [None, True]]


def test_nothing_tells_of_what_came_later(lake):
    store(lake, {0: "1"}, LEARNT)
    before = lake.bars("BTC-USD", "1m", columns=COLUMNS)
    said = lake.coverage(), lake.gaps(), lake.symbols().drop("bytes")
    store(lake, {0: "5"}, LATER)
    store(lake, {}, LATER + timedelta(days=1))
    assert lake.bars("BTC-USD", "1m", columns=COLUMNS, as_of=LATER - TICK).equals(before)
    again = lake.coverage(as_of=LEARNT), lake.gaps(as_of=LEARNT), lake.symbols(as_of=LEARNT).drop("bytes")
    assert all(then.equals(now) for then, now in zip(again, said, strict=True))


def test_what_was_known_survives_vacuum_and_compaction(lake, write):
    for day in range(1, 6):
        write("sim", "BTC-USD", f"2024-01-0{day}", ["1", "2"], now=LEARNT)
    for day in range(1, 6):
        write("sim", "BTC-USD", f"2024-01-0{day}", ["1", "9"], now=LATER)
    before = lake.bars("BTC-USD", "1m", as_of=LEARNT, columns=COLUMNS)
    covered = lake.coverage(as_of=LEARNT)
    assert lake.store.compact(*lake.store.compaction_candidates(min_files=2))
    lake.store.clock = SetClock(datetime.now(UTC) + timedelta(days=60))
    assert sum(report.files for report in lake.store.vacuum(dry_run=False)) >= 10
    for reader in (lake, Lake.open(lake.store.storage.root)):
        assert reader.bars("BTC-USD", "1m", as_of=LEARNT, columns=COLUMNS).equals(before)
        assert reader.coverage(as_of=LEARNT).equals(covered)


def test_content_from_before_a_series_went_wide_is_still_known(lake):
    store(lake, {0: "1", 1: "2"}, LEARNT)
    store(lake, {0: "1", 1: "0.000000000000000001"}, LATER, WIDE)
    assert known(lake, LEARNT) == {0: 1, 1: 2}
    assert known(lake, LATER) == {0: 1, 1: Decimal("1E-18")}


def test_other_columns_and_floats_follow(lake):
    store(lake, {0: "1.1"}, LEARNT)
    store(lake, {0: "2.2"}, LATER)
    assert lake.bars("BTC-USD", "1m", as_of=LEARNT, columns=["close"], as_float=True).rows() == [(1.1,)]
    assert lake.scan_bars("BTC-USD", "1m", as_of=LEARNT, columns=["close"]).collect().rows() == [(Decimal("1.1"),)]
    with pytest.raises(NoDataInRange, match="as known at") as caught:
        lake.bars("BTC-USD", "1m", as_of="2024-01-01")
    # What is known now is no account of that moment, and fetching would not change what was known then.
    assert "session" not in caught.value.what
    assert "leave as_of out" in caught.value.fix
    assert "fetch" not in caught.value.fix


def test_coverage_gaps_and_symbols_say_what_was_known_of_them(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 1000, now=LEARNT)
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 1440, now=LATER)
    write("sim", "ETH-USD", "2024-01-02", ["1"] * 10, now=LATER)
    for moment, actual in ((LEARNT, 1000), (LATER - TICK, 1000), (LATER, 1440)):
        assert lake.coverage("sim", "BTC-USD", as_of=moment)["actual"].to_list() == [actual]
        assert lake.gaps("sim", "BTC-USD", as_of=moment)["missing"].sum() == 1440 - actual
        assert lake.symbols(as_of=moment)["record_count"][0] == actual
    assert lake.symbols(as_of=LEARNT)["symbol"].to_list() == ["BTC-USD"]
    assert lake.symbols(as_of=LEARNT)["end"].to_list() == [DAY + timedelta(minutes=999)]
    assert lake.coverage(as_of=LEARNT - TICK).is_empty()
    assert lake.symbols(as_of=LEARNT - TICK).is_empty()
    with pytest.raises(UnknownSeries):
        lake.coverage("sim", "SOL-USD", as_of=LATER)


revision = st.dictionaries(st.integers(0, 5), st.sampled_from(["1", "2", "3"]), max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(revision, min_size=1, max_size=6), st.integers(1, 7))
def test_every_moment_reads_what_the_lake_said_then(history, went_wide_at):
    """The law: as_of(t) now is the plain read at t, withdrawals and what is known of sessions included."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(LakeStore.at(folder))
        said = []
        for step, closes in enumerate(history):
            moment = LEARNT + timedelta(days=step)
            store(lake, closes, moment, WIDE if step >= went_wide_at else RULES)
            said.append((moment, read(lake), lake.coverage()))
        for moment, answer, covered in said:
            for instant in (moment, moment + timedelta(hours=23)):
                again = read(lake, instant)
                assert (again.is_empty() and answer.is_empty()) or again.cast(answer.schema).equals(answer)
                assert lake.coverage(as_of=instant).equals(covered)


def read(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    return lake.scan_bars("BTC-USD", "1m", columns=COLUMNS, as_of=as_of).collect()


@settings(max_examples=8, deadline=None)
@given(st.lists(revision, min_size=2, max_size=5), st.integers(1, 6))
def test_sql_says_of_every_moment_what_a_read_says(history, went_wide_at):
    """The macro, the view of all versions under the documented filter, and the view of restatements."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(LakeStore.at(folder))
        moments = [LEARNT + timedelta(days=step) for step in range(len(history))]
        for step, closes in enumerate(history):
            store(lake, closes, moments[step], WIDE if step >= went_wide_at else RULES)
        assume("bars_1m" in [found.dataset.name for found in lake.store.tables.existing()])
        names = "timestamp, close, withdrawn, known_at, fetched_at"
        for moment in moments:
            then = read(lake, moment).drop("superseded_at")
            literal = f"timestamptz '{moment.isoformat()}'"
            macro = lake.sql(f"select {names} from bars_1m_as_of({literal}) order by timestamp")
            held = f"known_at <= {literal} and (superseded_at is null or superseded_at > {literal})"
            view = lake.sql(f"select {names} from bars_1m_history where {held} order by timestamp")
            whole = lake.sql(f"select {names} from bars_1m order by timestamp", as_of=moment)
            assert all(rows.cast(then.schema).equals(then) for rows in (macro, view, whole))
        order = "source, resolution, symbol, timestamp, replaced_at"
        shown = lake.sql(f"select * from restatements order by {order}")
        # What follows from both versions (`change_close`, `relative_close`, ...) is computed on reading only.
        restated = lake.restatements().select(shown.columns)
        assert {"old_close", "new_close", "first_known", "replaced_at"} < set(shown.columns)
        assert shown.cast(restated.schema).equals(restated)
        until = lake.sql(f"select * from restatements order by {order}", as_of=moments[-2])
        assert until.cast(restated.schema).equals(restated.filter(pl.col("replaced_at") <= moments[-2]))
