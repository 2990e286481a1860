"""A renamed series stands under its new symbol from that moment on, and under the old one before."""

from __future__ import annotations

from datetime import date

import pytest

from gb_pipeline.errors import ConfigError, InvalidSymbol, LakeError, NoDataInRange, UnknownSeries
from gb_pipeline.lake import removal_targets, renaming, series_removal
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import at, changed, day, minutes

T1, T2, T3 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3))
NOON = at("2024-02-01T12:00")
WEEK = [f"2024-01-0{number}" for number in (2, 3, 4)]


def fill(store, write, symbol="BTC-USD", **how):
    for text in WEEK:
        write(store, minutes(text, 10, symbol=symbol), day(text), symbols=symbol, **how)


def rename(store, now=T2, old="BTC-USD", new="XBT-USD"):
    store.clock.now = now
    return store.rename("sim", old, new, reason="a new ticker")


def bars(store, symbol, resolution="1m", **how):
    return Lake(store).bars(symbol, resolution, **how).drop("symbol", "known_at")


def gone(store, symbol, **how):
    with pytest.raises((NoDataInRange, UnknownSeries)):
        Lake(store).bars(symbol, "1m", **how)


def test_bars_stand_under_the_new_symbol_since_and_under_the_old_one_before(store, write):
    fill(store, write)
    before = bars(store, "BTC-USD")
    sessions = Lake(store).coverage("sim", "BTC-USD").drop("symbol", "known_at", "fingerprint")
    assert rename(store)["bars"].to_list() == [30]
    assert bars(store, "XBT-USD").equals(before)
    assert bars(store, "BTC-USD", as_of=NOON).equals(before)
    gone(store, "BTC-USD")
    gone(store, "XBT-USD", as_of=NOON)
    lake = Lake(store)
    assert lake.symbols()["symbol"].to_list() == ["XBT-USD"]
    assert lake.coverage("sim", "XBT-USD").drop("symbol", "known_at", "fingerprint").equals(sessions)
    assert lake.coverage("sim", "BTC-USD")["status"].unique().to_list() == ["removed"]
    assert lake.restatements().is_empty()
    assert lake.changes(NOON)["kind"].value_counts(sort=True).sort("kind").rows() == [("added", 30), ("removed", 30)]
    [row] = lake.removals().to_dicts()
    assert (row["action"], row["renamed_to"], row["bars"], row["sessions"]) == ("renamed", "XBT-USD", 30, 3)
    assert lake.fingerprint(verify=True).is_proved
    assert lake.fingerprint(as_of=NOON, verify=True).is_proved
    assert verify(store).ok
    # It was a mistake.
    rename(store, T3, "XBT-USD", "BTC-USD")
    assert bars(store, "BTC-USD").equals(before)
    assert Lake(store).symbols()["symbol"].to_list() == ["BTC-USD"]
    assert Lake(store).fingerprint(verify=True).is_proved


def test_when_they_were_fetched_stays_and_later_answers_go_on(store, write):
    fill(store, write)
    rename(store)
    late = write(
        store,
        minutes(WEEK[0], 10, symbol="XBT-USD", base=7),
        symbols="XBT-USD",
        now=T3,
        fetched_at=at("2024-01-31T00:00"),
    )
    assert late.stored == 0, "what is stored was fetched later"
    again = write(store, minutes(WEEK[0], 10, symbol="XBT-USD"), symbols="XBT-USD", now=T3)
    assert (again.unchanged, again.stored) == (10, 0)


@pytest.mark.parametrize(
    ("new", "kind", "problem"),
    [
        ("BTC-USD", ConfigError, "called so already"),
        ("btc usd!", InvalidSymbol, "not a canonical code"),
        ("ETH-USD", LakeError, "1m bars of its own in 1 of the sessions, 2024-01-03 to 2024-01-03"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(store, write, new, kind, problem):
    fill(store, write)
    write(store, minutes(WEEK[1], 10, symbol="ETH-USD"), day(WEEK[1]), symbols="ETH-USD")
    with pytest.raises(kind, match=problem):
        rename(store, new=new)
    with pytest.raises(UnknownSeries):
        rename(store, old="BTC-USX")
    assert bars(store, "BTC-USD").height == 30
    assert Lake(store).removals().is_empty()


def test_bars_of_other_sessions_are_no_obstacle(store, write):
    fill(store, write)
    write(store, minutes("2024-01-05", 10, symbol="XBT-USD"), day("2024-01-05"), symbols="XBT-USD")
    rename(store)
    assert bars(store, "XBT-USD").height == 40
    rename(store, T3, "XBT-USD", "BTC-USD")
    with pytest.raises(ConfigError, match="no bar of sim:XBT-USD"):
        rename(store, T3, "XBT-USD", "BTC-USD")
    assert verify(store).ok


def test_a_correction_goes_along_and_can_be_taken_back(store, write):
    fill(store, write)
    bar = at("2024-01-02T00:05")
    store.clock.now = T1
    store.override("sim", "BTC-USD", "1m", bar, {"close": "105.5"}, "a bad tick")
    rename(store)
    write(store, minutes(WEEK[0], 10, symbol="XBT-USD"), symbols="XBT-USD", now=T3)
    one = {"start": bar, "end": at("2024-01-02T00:06")}
    assert str(bars(store, "XBT-USD", **one)["close"].item()) == "105.50000000"
    store.override("sim", "XBT-USD", "1m", bar, None, "mended")
    assert str(bars(store, "XBT-USD", **one)["close"].item()) == "105.75000000"
    assert set(Lake(store).changes(NOON, until=T2)["kind"]) == {"added", "removed"}


def test_a_wide_series_moves_from_both_tables(store, write):
    fill(store, write)
    wide = BarRules(precision=Precision.WIDE)
    write(store, changed(minutes(WEEK[1], 10), 5, close="105.750000000000000001"), day(WEEK[1]), rules=wide)
    before = bars(store, "BTC-USD")
    sessions = Lake(store).coverage("sim", "BTC-USD").drop("symbol", "known_at", "fingerprint")
    restated = Lake(store).restatements()
    rename(store)
    assert bars(store, "XBT-USD").equals(before)
    assert bars(store, "BTC-USD", as_of=NOON).equals(before)
    gone(store, "BTC-USD")
    told = Lake(store).coverage("sim", "XBT-USD").drop("symbol", "known_at", "fingerprint")
    assert told.to_dicts() == sessions.to_dicts()
    assert Lake(store).restatements().equals(restated)
    assert Lake(store).fingerprint(verify=True).is_proved
    assert verify(store).ok


def test_corporate_actions_go_along(store, write):
    frame = minutes("2024-01-02", 3, symbol="FB", step=86_400)
    write(store, frame, day("2024-01-02", 3), symbols="FB", resolution="1d")
    store.write_actions(
        "sim", "FB", (date(2024, 1, 1), date(2024, 2, 1)), received(split("2024-01-03", "2", symbol="FB"))
    )
    rename(store, old="FB", new="META")
    lake = Lake(store)
    assert lake.corporate_actions()["symbol"].to_list() == ["META"]
    assert lake.corporate_actions(as_of=NOON)["symbol"].to_list() == ["FB"]
    assert bars(store, "META", "1d").height == 3
    assert verify(store).ok


@pytest.mark.parametrize("precision", list(Precision))
def test_what_was_fetched_again_under_the_old_symbol_is_not_moved_over_what_is_there(store, write, precision):
    fill(store, write)
    rename(store)
    rules = BarRules(precision=precision)
    write(store, changed(minutes(WEEK[1], 10), 5, close="105.5"), day(WEEK[1]), now=T3, rules=rules)
    new, old = bars(store, "XBT-USD"), bars(store, "BTC-USD")
    with pytest.raises(LakeError, match="bars of its own"):
        rename(store, now=T3)
    assert bars(store, "XBT-USD").equals(new) and bars(store, "BTC-USD").equals(old)
    assert verify(store).ok


def test_it_is_renamed_back_and_forth(store, write):
    fill(store, write)
    before = bars(store, "BTC-USD")
    rename(store)
    rename(store, old="XBT-USD", new="BTC-USD", now=T3)
    assert bars(store, "BTC-USD").equals(before)
    rename(store, now=T3)
    assert bars(store, "XBT-USD").equals(before)
    assert verify(store).ok


def test_bars_that_come_under_the_new_symbol_meanwhile_are_not_doubled(store, write, monkeypatch):
    fill(store, write)
    move_questions = renaming._move_questions

    def fetch_meanwhile(*given):
        write(store, minutes(WEEK[1], 10, symbol="XBT-USD"), day(WEEK[1]), symbols="XBT-USD")
        move_questions(*given)

    monkeypatch.setattr(renaming, "_move_questions", fetch_meanwhile)
    with pytest.raises(LakeError, match="bars of its own"):
        rename(store)
    assert (bars(store, "XBT-USD").height, bars(store, "BTC-USD").height) == (10, 30)
    assert verify(store).ok


@pytest.mark.parametrize("act", ["delete", "rename"])
def test_who_was_slower_is_told_that_nothing_was_changed(store, write, monkeypatch, act):
    fill(store, write)
    select_bars = removal_targets.select_bars

    def look(tables, chosen):
        found = select_bars(tables, chosen)
        monkeypatch.undo()
        rename(store)
        return found

    for module in (renaming, series_removal):
        monkeypatch.setattr(module, "select_bars", look)
    with pytest.raises(LakeError, match="another process removed or renamed sim:BTC-USD"):
        rename(store, new="OTHER") if act == "rename" else store.delete("sim", "BTC-USD", reason="x")
    assert [row["action"] for row in Lake(store).removals().to_dicts()] == ["renamed"]
    assert bars(store, "XBT-USD").height == 30


def test_a_released_row_stays_decided_whatever_its_bar_is_called(store, write):
    write(store, changed(minutes(WEEK[0]), 5, high="100"), day(WEEK[0]))
    [row] = Lake(store).quarantine().to_dicts()
    store.release_quarantined(row["row_id"], "the print is real", {"high": "106.5"})
    rename(store)
    for asked in ({}, {"source": "sim", "symbols": ["BTC-USD"]}):
        assert Lake(store).quarantine(**asked)["decision"].to_list() == ["released"]
