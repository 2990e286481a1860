"""A refused row is released and is a bar from then on, or dropped and needs nothing more; both are known, and taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import SetClock, at, changed, day, minutes, stored

T1, T2, T3, T4 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3, 4))
BAR = at("2024-01-02T00:05")
MINUTE = timedelta(minutes=1)
BAD = changed(minutes("2024-01-02"), 5, high="100")
DAY = {"resolution": "1d", "rules": BarRules(resolution=Resolution.DAY)}


def refused(store: LakeStore, **how) -> list[dict]:
    return Lake(store).quarantine(**how).to_dicts()


def close(store: LakeStore, as_of=None) -> list[Decimal]:
    rows = Lake(store).bars("BTC-USD", "1m", BAR - MINUTE, BAR + MINUTE, as_of=as_of)
    return rows.filter(pl.col("timestamp") == BAR)["close"].to_list()


def facts(store: LakeStore) -> tuple:
    row = Lake(store).coverage().row(0, named=True)
    return row["status"], row["actual"], row["missing"], row["quarantined"]


def proved(store: LakeStore) -> bool:
    return Lake(store).fingerprint("sim", verify=True).is_proved


def test_a_released_row_is_a_bar_that_outlives_fetching_it_again(store, write):
    assert write(store, BAD).quarantined == 1
    assert facts(store) == ("partial", 1439, 1, 1)
    [row] = refused(store)
    store.clock.now = T2
    [report] = store.release_quarantined(row["row_id"][:8], "the print is real", {"high": "106.5"})
    assert (report.stored, report.received, report.quarantined) == (1, 1, 0)
    assert (close(store), close(store, T1)) == ([Decimal("105.75")], [])
    assert facts(store) == ("complete", 1440, 0, 0)
    assert Lake(store).gaps().is_empty()
    ledger = Lake(store).coverage()
    again = write(store, BAD, now=T3)
    assert (again.received, again.unchanged, again.quarantined, again.version) == (1440, 1440, 0, None)
    assert Lake(store).coverage().equals(ledger)
    [row] = refused(store)
    assert (row["decision"], row["decided_at"], row["decision_reason"]) == ("released", T2, "the print is real")
    assert Lake(store).changes(T1)["kind"].to_list() == ["released"]
    assert Lake(store).restatements().is_empty()
    assert proved(store)


def test_taken_back_it_is_no_bar_and_open_again(store, write):
    write(store, BAD)
    [row] = refused(store)
    before = facts(store)
    store.clock.now = T2
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    store.clock.now = T3
    store.reopen_quarantined(row["row_id"], "it was not")
    assert (close(store), close(store, T2), close(store, T1)) == ([], [Decimal("105.75")], [])
    assert facts(store) == before
    assert [(gap["missing"], gap["reason"]) for gap in Lake(store).gaps().to_dicts()] == [(1, "unknown")]
    assert refused(store)[0]["decision"] == "open"
    assert Lake(store).changes(T2)["kind"].to_list() == ["removed"]
    again = write(store, BAD, now=T4)
    assert (again.quarantined, again.version) == (1, None)
    assert proved(store)
    store.release_quarantined(row["row_id"], "it was after all", {"high": "106.5"})
    assert close(store) == [Decimal("105.75")]
    assert Lake(store).changes(T1)["kind"].to_list() == ["released", "removed", "released"]
    assert proved(store)


def test_a_row_of_a_removed_session_is_not_released_before_that_is_undone(store, write):
    write(store, BAD)
    [row] = refused(store)
    store.delete("sim", "BTC-USD", reason="another market")
    with pytest.raises(ConfigError, match="removed from sim:BTC-USD on purpose"):
        store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    assert facts(store)[0] == "removed"
    store.restore("sim", "BTC-USD")
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    assert close(store) == [Decimal("105.75")]
    assert proved(store)


def test_a_release_is_an_override_that_gb_override_takes_back_and_corrects(store, write):
    write(store, BAD)
    [row] = refused(store)
    store.clock.now = T2
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    store.clock.now = T3
    store.override("sim", "BTC-USD", "1m", BAR, {"close": "106"}, "of the notice")
    assert close(store) == [Decimal("106")]
    assert refused(store)[0]["decision"] == "released"
    assert write(store, BAD, now=T3).version is None
    store.clock.now = T4
    store.override("sim", "BTC-USD", "1m", BAR, None, "it was not")
    assert close(store) == []
    assert refused(store)[0]["decision"] == "open"
    assert proved(store)


def test_once_the_vendor_sends_a_bar_taking_back_gives_that_one(store, write):
    write(store, BAD)
    [row] = refused(store)
    store.clock.now = T2
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    better = changed(minutes("2024-01-02"), 5, close="105.25")
    assert write(store, better, now=T3).version is None
    assert close(store) == [Decimal("105.75")]
    store.clock.now = T4
    store.reopen_quarantined(row["row_id"], "the vendor has it now")
    assert close(store) == [Decimal("105.25")]
    assert refused(store)[0]["decision"] == "open"
    assert proved(store)


def test_another_bad_row_of_the_moment_is_refused_and_changes_nothing(store, write):
    write(store, BAD)
    [row] = refused(store)
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    report = write(store, changed(BAD, 5, volume="-1"), now=T3)
    assert (report.quarantined, report.version) == (1, None)
    assert sorted(row["decision"] for row in refused(store)) == ["open", "released"]
    assert close(store) == [Decimal("105.75")]


def test_the_only_row_of_a_session_is_released(store, write):
    frame = changed(minutes("2024-01-02", 1, step=86400), 0, low="500")
    write(store, frame, **DAY)
    assert facts(store) == ("refused", 0, 1, 1)
    [row] = refused(store)
    rules = DAY["rules"]
    store.release_quarantined(row["row_id"], "see the exchange", {"low": "99"}, rules=rules)
    assert facts(store) == ("complete", 1, 0, 0)
    again = write(store, frame, now=T3, **DAY)
    assert (again.unchanged, again.quarantined, again.version) == (1, 0, None)
    assert facts(store) == ("complete", 1, 0, 0)
    store.reopen_quarantined(row["row_id"], "no", rules=rules)
    assert facts(store) == ("refused", 0, 1, 1)
    assert stored(store, "bars_1d").is_empty()


def test_a_whole_refused_session_is_released_in_one_commit(store, write):
    frame = minutes("2024-01-02", 60)
    bad = frame.with_columns(pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("-1")).otherwise("volume").alias("volume"))
    write(store, bad)
    assert facts(store)[:2] == ("refused", 0)
    company = Lake(store).quarantine().filter(pl.col("reasons").list.contains("refused_with_session"))
    [report] = store.release_quarantined(company["row_id"].to_list(), "only three are bad")
    assert (report.stored, stored(store).height, facts(store)[3]) == (57, 57, 3)
    rest = Lake(store).quarantine().filter(pl.col("decision") == "open")
    for name in rest["row_id"]:
        store.release_quarantined(name, "the volume is 1", {"volume": "1"})
    again = write(store, bad, now=T3)
    assert (again.received, again.unchanged, again.quarantined, again.version) == (60, 60, 0, None)
    assert proved(store)


def test_of_two_rows_that_contradict_each_other_one_is_released(store, write):
    frame = minutes("2024-01-02")
    rival = changed(frame[5:6], 0, close="105.5")
    both = pl.concat([frame, rival])
    rules = BarRules(max_bad_fraction=0.1)
    assert write(store, both, rules=rules).quarantined == 2
    chosen = next(row for row in refused(store) if '"close":"105.5"' in row["row"])
    names = [row["row_id"] for row in refused(store)]
    with pytest.raises(ConfigError, match="same moment"):
        store.release_quarantined(names, "both?")
    store.release_quarantined(chosen["row_id"], "the second is right")
    assert close(store) == [Decimal("105.5")]
    again = write(store, both, now=T3, rules=rules)
    assert (again.received, again.unchanged, again.quarantined) == (1441, 1440, 1)
    assert len(refused(store)) == 2
    assert facts(store) == ("complete", 1440, 0, 1)


def test_a_late_row_takes_the_place_of_the_stored_one_until_it_is_taken_back(store, write):
    frame = minutes("2024-01-02")
    write(store, frame, now=T3)
    assert write(store, changed(frame, 5, close="105.25"), now=T4, fetched_at=T1).quarantined == 1
    [row] = refused(store)
    store.release_quarantined(row["row_id"], "the older answer is right")
    assert close(store) == [Decimal("105.25")]
    assert Lake(store).changes(T4)["kind"].to_list() == ["corrected"]
    store.reopen_quarantined(row["row_id"], "it is not")
    assert close(store) == [Decimal("105.75")]


def test_a_row_off_the_grid_is_kept_beside_the_bars(store, write):
    frame = minutes("2024-01-02")
    odd = frame[5:6].with_columns(pl.col("timestamp") + pl.duration(seconds=30))
    answer = pl.concat([frame.filter(pl.col("timestamp") != BAR), odd]).sort("timestamp")
    write(store, answer)
    [row] = refused(store)
    assert row["reasons"] == ["misaligned"]
    store.release_quarantined(row["row_id"], "the exchange opened late")
    assert stored(store).height == 1440
    assert facts(store) == ("partial", 1440, 1, 0)
    assert write(store, answer, now=T3).version is None
    assert proved(store)


def test_other_gaps_keep_their_reasons(store, write):
    rules = BarRules(gap_policy=GapPolicy.NO_TRADE)
    answer = BAD.filter(~pl.int_range(pl.len()).is_in([4, 6, 7, 900]))
    write(store, answer, rules=rules)
    [row] = refused(store)
    gaps = Lake(store).gaps().select("missing", "reason").rows()
    assert gaps == [(1, "no_trade"), (1, "unknown"), (2, "no_trade"), (1, "no_trade")]
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"}, rules=BarRules())
    assert Lake(store).gaps().select("missing", "reason").rows() == [gaps[0], gaps[2], gaps[3]]
    assert facts(store) == ("partial", 1436, 4, 0)
    assert write(store, answer, now=T3, rules=rules).version is None
    assert Lake(store).gaps().height == 3


def test_a_dropped_row_is_decided_and_stays_so(store, write):
    write(store, BAD)
    [row] = refused(store)
    store.clock.now = T2
    store.drop_quarantined(row["row_id"][:8], "a test trade")
    write(store, BAD, now=T3)
    [row] = refused(store)
    assert (row["decision"], row["decided_at"], row["decision_reason"]) == ("dropped", T2, "a test trade")
    query = "select distinct rows, open, released, dropped from quarantine"
    assert Lake(store).sql(query).rows() == [(1, 0, 0, 1)]
    for act in (store.drop_quarantined, store.release_quarantined):
        with pytest.raises(ConfigError, match=r"was dropped already.*a test trade"):
            act(row["row_id"], "again")
    store.reopen_quarantined(row["row_id"], "it may be real")
    assert refused(store)[0]["decision"] == "open"
    with pytest.raises(ConfigError, match="is open"):
        store.reopen_quarantined(row["row_id"], "again")


@pytest.mark.parametrize(
    ("ids", "reason", "values", "problem"),
    [
        (["zz"], "x", None, "no refused row has the id 'zz'"),
        ([""], "x", None, "no row is named"),
        (["{id}"], " ", None, "needs a reason"),
        (["{id}"], "x", None, "makes no bar.*high is below"),
        (["{id}"], "x", {"high": "abc"}, "is not a number"),
        (["{id}"], "x", {"height": "1"}, "cannot be corrected"),
        (["{id}"], "x", {"high": "106.5", "volume": "-1"}, "its volume is negative"),
        (["{id}"], "x", {"high": "106.123456789123"}, "more digits"),
    ],
)
def test_what_cannot_be_decided_is_said_and_changes_nothing(store, write, ids, reason, values, problem):
    write(store, BAD)
    [row] = refused(store)
    with pytest.raises(ConfigError, match=problem):
        store.release_quarantined([name.format(id=row["row_id"]) for name in ids], reason, values)
    assert close(store) == []
    assert Lake(store).overrides().is_empty()
    assert refused(store)[0]["decision"] == "open"


def test_a_beginning_of_several_ids_is_refused_with_longer_ones(store, write):
    frame = minutes("2024-01-02", 40).with_columns(pl.lit("-1").alias("volume"))
    write(store, frame)
    first = sorted(row["row_id"] for row in refused(store))
    shared = next(a[0] for a, b in pairwise(first) if a[0] == b[0])
    with pytest.raises(ConfigError, match="is the beginning of"):
        store.drop_quarantined(shared, "x")


def test_of_two_that_decide_at_once_one_wins(store, write):
    write(store, BAD)
    [row] = refused(store)
    name, root = row["row_id"], store.storage.root
    stores = [LakeStore.at(root, clock=SetClock(T2)) for _ in range(4)]

    def decide(number: int) -> str:
        try:
            if number % 2:
                stores[number].drop_quarantined(name, "no")
                return "dropped"
            stores[number].release_quarantined(name, "yes", {"high": "106.5"})
        except GbError as error:
            return error.what
        return "released"

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(decide, range(4)))
    won = [text for text in said if text in {"dropped", "released"}]
    assert len(won) == 1, said
    again = LakeStore.at(root, clock=SetClock(T3))
    assert refused(again)[0]["decision"] == won[0]
    assert len(close(again)) == (won[0] == "released")


ACTS = st.sampled_from(["bad", "good", "release", "reopen", "drop"])


@settings(max_examples=10, deadline=None)
@given(acts=st.lists(ACTS, max_size=7))
def test_whatever_is_decided_the_accounts_and_fingerprints_agree(tmp_path_factory, acts):
    store = LakeStore.at(tmp_path_factory.mktemp("lake"), clock=SetClock(T1))
    good, bad = minutes("2024-01-02", 10), changed(minutes("2024-01-02", 10), 5, high="100")
    rules = BarRules(max_bad_fraction=0.5)
    window = day("2024-01-02")
    store.write_bars("sim", "BTC-USD", "1m", window, bad, rules=rules)
    [row] = refused(store)
    state, vendor, known = "open", None, {T1: []}
    for number, act in enumerate(acts, 1):
        store.clock.now = now = at(f"2024-02-02T{number:02}:00")
        if act in {"bad", "good"}:
            report = store.write_bars("sim", "BTC-USD", "1m", window, good if act == "good" else bad, rules=rules)
            assert report.received == report.stored + report.unchanged + report.quarantined + report.duplicates
            vendor = Decimal("105.75") if act == "good" else vendor
        elif act == "release" and state == "open" and vendor is None:
            store.release_quarantined(row["row_id"], "yes", {"high": "106.5", "close": "106"})
            state = "released"
        elif act == "drop" and state == "open":
            store.drop_quarantined(row["row_id"], "no")
            state = "dropped"
        elif act == "reopen" and state != "open":
            store.reopen_quarantined(row["row_id"], "again")
            state = "open"
        known[now] = [Decimal(106)] if state == "released" else [] if vendor is None else [vendor]
        assert refused(store)[0]["decision"] == state
        assert Lake(store).coverage()["actual"].item() == 9 + len(known[now])
        assert proved(store)
    assert {moment: close(store, moment) for moment in known} == known


KILLED = """
import sys
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at
store = LakeStore.at(sys.argv[1], clock=SetClock(at("2024-02-02T00:00")))
store.release_quarantined(sys.argv[2], "yes", {"high": "106.5"})
"""
BEFORE = ["file_written:1", "committed:1", "files_synced:2", "entry_written:2"]
AFTER = ["committed:2", "before_ledger"]


@pytest.mark.parametrize("point", [*BEFORE, *AFTER])
def test_killed_anywhere_a_row_is_released_as_a_whole_or_not_at_all(store, write, point):
    bad = changed(minutes("2024-01-02", 10), 5, high="100")
    rules = BarRules(max_bad_fraction=0.5)
    write(store, bad, rules=rules)
    [row] = refused(store)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, store.storage.root, row["row_id"]],
        env={**os.environ, "GB_FAULT_POINT": point},
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.returncode == -9, "the point was reached"
    again = LakeStore.at(store.storage.root, clock=SetClock(T3))
    is_released = point in AFTER
    assert refused(again)[0]["decision"] == ("released" if is_released else "open")
    assert len(close(again)) == is_released
    assert write(again, bad, now=T3, rules=rules).quarantined == (not is_released)
    if not is_released:
        again.release_quarantined(row["row_id"], "yes", {"high": "106.5"})
    assert close(again) == [Decimal("105.75")]
    assert Lake(again).coverage()["actual"].item() == 10
    assert proved(again)
