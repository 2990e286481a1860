"""Bars that were deleted are in no answer of now and in every answer of before, and nobody brings them back by accident."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, LakeError, NoDataInRange, UnknownSeries
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import at, changed, day, every_version, minutes, stored

T1, T2, T3, T4 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3, 4))
# Later than all that was stored on the first day.
NOON = at("2024-02-01T12:00")
WEEK = [f"2024-01-0{number}" for number in (2, 3, 4)]


def fill(store, write, **how):
    for text in WEEK:
        write(store, minutes(text, 10), day(text), **how)


def delete(store, now=T2, symbol="BTC-USD", **how):
    store.clock.now = now
    return store.delete("sim", symbol, reason="not licensed", **how)


def heights(store, **how) -> tuple[int, ...]:
    lake = Lake(store)
    try:
        bars = lake.bars("BTC-USD", "1m", **how).height
    except NoDataInRange:
        bars = 0
    sql = lake.sql("select count(*) as bars from bars_1m where symbol = 'BTC-USD'", **how)["bars"].item()
    ledger = int(lake.coverage("sim", "BTC-USD", **how)["actual"].sum())
    lazy = lake.scan_bars("BTC-USD", "1m", **how).collect().height
    return bars, lazy, sql, ledger


def test_it_is_in_no_answer_of_now_and_in_every_answer_of_before(store, write):
    fill(store, write)
    write(store, minutes(WEEK[0], 10, symbol="ETH-USD"), symbols="ETH-USD")
    told = delete(store)
    assert told["bars"].to_list() == [30]
    assert heights(store) == (0, 0, 0, 0)
    assert heights(store, as_of=NOON) == (30, 30, 30, 30)
    lake = Lake(store)
    assert lake.bars("ETH-USD", "1m").height == 10
    assert lake.symbols()["symbol"].to_list() == ["ETH-USD"]
    assert lake.restatements().is_empty()
    changes = lake.changes(NOON)
    assert changes["kind"].unique().to_list() == ["removed"]
    assert changes.height == 30
    assert changes["new_close"].null_count() == 30
    [row] = lake.removals().to_dicts()
    assert (row["action"], row["bars"], row["sessions"], row["reason"]) == ("deleted", 30, 3, "not licensed")
    assert (row["first_session"], row["last_session"], row["known_at"]) == (date(2024, 1, 2), date(2024, 1, 4), T2)
    assert lake.fingerprint(verify=True).is_proved
    assert lake.fingerprint(as_of=NOON, verify=True).is_proved
    assert verify(store).ok
    # Rows of every version stay, as other engines read them.
    assert every_version(store).filter(pl.col("symbol") == "BTC-USD").height == 30


def test_some_sessions_go_and_the_others_stay(store, write):
    fill(store, write)
    assert delete(store, start=date(2024, 1, 3), end=date(2024, 1, 4))["bars"].to_list() == [10]
    assert heights(store) == (20, 20, 20, 20)
    gaps = Lake(store).gaps("sim", "BTC-USD").filter(pl.col("session") == date(2024, 1, 3))
    assert gaps.select("missing", "reason").rows() == [(1440, "removed")]
    assert stored(store).height == 20
    assert Lake(store).fingerprint(verify=True).is_proved
    assert verify(store).ok
    with pytest.raises(ConfigError, match="no bar of sim:BTC-USD is stored from 2024-01-03"):
        delete(store, start=date(2024, 1, 3), end=date(2024, 1, 4))


def test_what_is_not_there_is_said(store, write):
    fill(store, write)
    with pytest.raises(UnknownSeries, match="BTC-USX") as caught:
        delete(store, symbol="BTC-USX")
    assert caught.value.near == ("sim:BTC-USD",)
    with pytest.raises(ConfigError, match="a reason"):
        store.delete("sim", "BTC-USD", reason=" ")
    with pytest.raises(ConfigError, match="no session lies"):
        delete(store, start=date(2024, 1, 3), end=date(2024, 1, 3))
    assert store.delete("sim", "BTC-USD", reason="", dry_run=True)["sessions"].to_list() == [3]
    assert heights(store) == (30, 30, 30, 30)
    assert Lake(store).removals().is_empty()


def test_daily_bars_of_others_in_the_same_file_stay(store, write):
    for symbol in ("AAA", "BBB"):
        frame = minutes("2024-01-02", 3, symbol=symbol, step=86_400)
        write(store, frame, day("2024-01-02", 3), symbols=symbol, resolution="1d")
    delete(store, symbol="AAA", start=date(2024, 1, 3))
    lake = Lake(store)
    assert lake.bars(["AAA", "BBB"], "1d")["symbol"].value_counts(sort=True).rows() == [("BBB", 3), ("AAA", 1)]
    assert lake.bars(["AAA", "BBB"], "1d", as_of=NOON).height == 6
    assert lake.fingerprint(verify=True).is_proved
    assert verify(store).ok


def test_a_wide_series_ends_in_both_tables_and_no_hidden_bar_comes_to_light(store, write):
    fill(store, write)
    wide = BarRules(precision=Precision.WIDE)
    write(store, changed(minutes(WEEK[1], 10), 5, close="105.750000000000000001"), day(WEEK[1]), now=T2, rules=wide)
    before = Lake(store).restatements()
    assert before.height == 1
    told = delete(store, T3)
    assert told.select("precision", "bars").rows() == [("standard", 29), ("wide", 1)]
    assert heights(store) == (0, 0, 0, 0)
    assert heights(store, as_of=at("2024-02-02T12:00")) == (30, 30, 30, 30)
    assert Lake(store).restatements().equals(before)
    assert Lake(store).changes(at("2024-02-02T12:00"))["kind"].value_counts().rows() == [("removed", 30)]
    assert Lake(store).fingerprint(verify=True).is_proved
    assert Lake(store).fingerprint(as_of=at("2024-02-02T12:00"), verify=True).is_proved
    assert verify(store).ok


def test_a_correction_ends_with_its_bar(store, write):
    fill(store, write)
    bar = at("2024-01-02T00:05")
    store.clock.now = T2
    store.override("sim", "BTC-USD", "1m", bar, {"close": "105.5"}, "a bad tick")
    delete(store, T3)
    write(store, minutes(WEEK[0], 10), now=T4)
    assert Lake(store).bars("BTC-USD", "1m").height == 10
    assert "105.5" not in [str(value) for value in Lake(store).bars("BTC-USD", "1m")["close"]]
    assert Lake(store).overrides()["withdrawn"].to_list() == [False, True]
    assert Lake(store).changes(at("2024-02-02T12:00"), until=T3)["kind"].unique().to_list() == ["removed"]


def test_what_was_asked_for_before_and_comes_after_stays_out(store, write):
    fill(store, write)
    delete(store, T2)
    report = write(store, minutes(WEEK[0], 10), now=T3, fetched_at=T1, planned_at=T1)
    assert (report.stored, report.quarantined, report.version) == (0, 10, None)
    assert report.sessions_frame["status"].to_list() == ["removed"]
    assert quarantine.read(store.tables)["reasons"].to_list() == [["removed_meanwhile"]] * 10
    assert heights(store) == (0, 0, 0, 0)
    report = write(store, minutes(WEEK[0], 10), now=T4)
    assert report.stored == 10
    assert heights(store) == (10, 10, 10, 10)
    assert Lake(store).restatements().is_empty()


def test_a_failed_fetch_says_nothing_new_of_removed_sessions(store, write):
    fill(store, write)
    delete(store, T2)
    store.record_failure("sim", ["BTC-USD"], day(WEEK[0]), rules=BarRules(), now=T3)
    assert Lake(store).coverage("sim", "BTC-USD")["status"].unique().to_list() == ["removed"]


def test_restored_sessions_are_missing_again_and_no_bar_comes_back(store, write):
    fill(store, write)
    delete(store, T2)
    store.clock.now = T3
    assert store.restore("sim", "BTC-USD", start=date(2024, 1, 3), reason="a mistake") == 2
    coverage = Lake(store).coverage("sim", "BTC-USD")
    assert coverage["status"].to_list() == ["removed", "empty", "empty"]
    assert Lake(store).gaps("sim", "BTC-USD")["reason"].to_list() == ["removed", "unknown", "unknown"]
    assert heights(store) == (0, 0, 0, 0)
    assert Lake(store).removals()["action"].to_list() == ["deleted", "restored"]
    store.restore("sim", "BTC-USD")
    with pytest.raises(ConfigError, match="no session of sim:BTC-USD is removed"):
        store.restore("sim", "BTC-USD")


def test_purged_no_moment_shows_it_and_everything_else_stays(store, write):
    fill(store, write)
    bad = changed(minutes(WEEK[0], 200), 5, close="1000")
    write(store, bad, now=at("2024-02-01T06:00"))
    assert quarantine.read(store.tables).height == 1
    write(store, minutes(WEEK[0], 10, symbol="ETH-USD"), symbols="ETH-USD")
    others = Lake(store).fingerprint("sim", "ETH-USD").whole
    delete(store, T2, start=date(2024, 1, 2), end=date(2024, 1, 4), purge=True)
    for moment in (None, NOON):
        assert heights(store, as_of=moment) == (10, 10, 10, 10)
    assert every_version(store)["symbol"].value_counts(sort=True).rows() == [("BTC-USD", 10), ("ETH-USD", 10)]
    assert quarantine.read(store.tables).is_empty()
    lake = Lake(store)
    assert lake.changes(NOON).is_empty()
    assert lake.coverage("sim", "BTC-USD")["status"].to_list() == ["removed", "removed", "partial"]
    assert lake.coverage("sim", "BTC-USD", as_of=NOON)["status"].to_list() == ["partial"]
    assert lake.fingerprint("sim", "ETH-USD").whole == others
    assert lake.fingerprint(verify=True).is_proved
    assert lake.fingerprint(as_of=NOON, verify=True).is_proved
    assert verify(store).ok
    assert lake.removals()["action"].to_list() == ["deleted", "purged"]
    # Deleted before, and purged later.
    delete(store, T3, start=date(2024, 1, 4))
    delete(store, T4, purge=True)
    assert every_version(store)["symbol"].unique().to_list() == ["ETH-USD"]
    assert Lake(store).fingerprint(verify=True).is_proved
    # It may be fetched again.
    assert store.restore("sim", "BTC-USD") == 3
    write(store, minutes(WEEK[0], 10), now=at("2024-02-05T00:00"))
    assert heights(store) == (10, 10, 10, 10)
    assert verify(store).ok


def test_what_a_pin_holds_is_not_purged_and_what_is_deleted_can_be_replayed(store, write):
    fill(store, write)
    pin = Lake(store).pin("research", "sim:BTC-USD", "1m", as_of=NOON)
    delete(store, T2, start=date(2024, 1, 3))
    assert Lake(store).replay("research").bars("BTC-USD", "1m").height == 30
    with pytest.raises(LakeError, match="pin research holds") as caught:
        delete(store, T3, purge=True)
    assert "gb unpin research" in caught.value.fix
    assert heights(store) == (10, 10, 10, 10)
    Lake(store).unpin(pin.name)
    delete(store, T3, purge=True)
    assert every_version(store).is_empty()


def test_a_copy_has_the_removals_and_goes_on_after_a_purge(store, write, tmp_path_factory):
    place = tmp_path_factory.mktemp("copies") / "copy"
    fill(store, write)
    delete(store, T2, start=date(2024, 1, 3))
    copy = LakeStore.at(place)
    plan_copy(store, copy).run()
    assert Lake(copy).removals().equals(Lake(store).removals())
    assert heights(copy) == (10, 10, 10, 10)
    assert heights(copy, as_of=NOON) == (30, 30, 30, 30)
    delete(store, T3, purge=True)
    plan_copy(store, copy).run(remove=True)
    assert heights(LakeStore.at(place), as_of=NOON) == (0, 0, 0, 0)
    assert verify(LakeStore.at(place)).ok


def test_files_of_a_purge_are_freed_by_a_vacuum(store, write):
    fill(store, write)
    delete(store, T2, purge=True)
    later = datetime.now(UTC) + timedelta(days=60)
    freed = store.vacuum(retention=timedelta(hours=1), dry_run=False, now=later)
    left = [name for name, _, _ in store.storage.files.list("lake/bars_1m") if name.endswith(".parquet")]
    assert sum(report.files for report in freed if report.table == "bars_1m") >= 3
    assert left == []
    assert verify(store).ok
