"""Kept responses make the lake again: what is stored is what they say, and a mistake in reading them can be put right."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import LakeError, PermanentVendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches, ledger, quarantine, versions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.provenance.differences import Replayed
from gb_pipeline.provenance.replay import replay
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.ingest.clock import stop_at

BTC, ETH = (Symbol.crypto(f"{base}-USDT") for base in ("BTC", "ETH"))
START = date(2024, 1, 2)
MINUTE = Resolution.MINUTE


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=[BTC.code, ETH.code]) as running:
        yield running


@pytest.fixture
def sim(exchange: Simulation) -> Simulation:
    exchange.reset()
    return exchange


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path)


def source(sim: Simulation, **settings: object) -> SourceSettings:
    body = {
        "name": "sim", "provider": "ccxt", "options": {"exchange": "binance", "base_url": sim.url},
        "asset_class": "crypto", "start": "2024-01-01", "symbols": [BTC.code, ETH.code], "keep_raw": True,
    }  # fmt: skip
    return SourceSettings.model_validate(body | settings)


def job(symbol: Symbol = BTC, days: int = 2) -> Job:
    return Job(symbol, START, START + timedelta(days=days))


def again(store: LakeStore, sim: Simulation, *, write: bool = False, days: int = 2) -> Replayed:
    asked = len(sim.requests)
    (found,) = replay(store, source(sim), MINUTE, [job(days=days)], write=write)
    assert len(sim.requests) == asked, "replay asked the vendor"
    return found


def bars(store: LakeStore) -> pl.DataFrame:
    return pl.read_delta(store.storage.table("bars_1m")).filter("is_current").sort("symbol", "timestamp")


def without_tables(store: LakeStore, root: Path, *names: str) -> LakeStore:
    """The same lake elsewhere, without some of its tables."""
    shutil.copytree(store.storage.root, root, ignore=shutil.ignore_patterns("again", "catalog.duckdb", *names))
    return LakeStore.at(root)


def test_what_is_stored_is_what_the_responses_say(sim: Simulation, store: LakeStore) -> None:
    sim.plant("gap", BTC.code, start="2024-01-02T03:00Z", end="2024-01-02T04:00Z")
    sim.plant("bad", BTC.code, start="2024-01-02T10:05:00Z", values={"high": "1"})
    ingest(store, source(sim), MINUTE, [job()])
    found = again(store, sim)
    assert (found.answers, found.rows, found.differences, found.problems) == (1, 2 * 1440 - 61, 0, [])


def test_a_mistake_of_the_normaliser_is_found_and_put_right(
    sim: Simulation, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as yesterday:
        correct = CcxtProvider._concat
        rounded = pl.col("volume").str.split(".").list.first()
        yesterday.setattr(CcxtProvider, "_concat", lambda self, parts: correct(self, parts).with_columns(rounded))
        ingest(store, source(sim), MINUTE, [job()])
    wrong = bars(store)
    assert (wrong["volume"] % 1 == 0).all()
    compared = again(store, sim)
    assert (compared.changed, compared.missing, compared.unexplained) == (2880, 0, 0)
    example = compared.examples[0]
    assert example.stored is not None
    assert example.kept is not None
    assert example.stored["volume"] != example.kept["volume"]
    assert_frame_equal(bars(store), wrong)

    written = again(store, sim, write=True)
    assert (written.restated, written.written) == (2880, 2880)
    right = bars(store)
    assert not (right["volume"] % 1 == 0).all()
    known = versions.restatements(store.tables)
    assert known.height == 2880
    assert (known["first_known"] < known["replaced_at"]).all()
    assert right["known_at"].unique().to_list() == known["replaced_at"].unique().to_list()
    assert again(store, sim).differences == 0
    # A fetch finds nothing to change either: it reads as replay does.
    (outcome,) = ingest(store, source(sim), MINUTE, [job()])
    assert outcome.version is None


def test_of_several_answers_the_newest_holds_and_what_was_withdrawn_stays(sim: Simulation, store: LakeStore) -> None:
    ingest(store, source(sim), MINUTE, [job()])
    sim.plant("bad", BTC.code, start="2024-01-02T10:00:00Z", values={"volume": "7.5"})
    sim.plant("gap", BTC.code, start="2024-01-02T11:00Z", end="2024-01-02T12:00Z")
    sim.plant("bad", BTC.code, start="2024-01-02T13:00:00Z", values={"high": "1"})
    ingest(store, source(sim), MINUTE, [job(days=1)])
    before, sessions = bars(store), ledger.current(store.tables)
    compared = again(store, sim)
    assert (compared.answers, compared.rows, compared.differences) == (2, 2880, 0)
    assert again(store, sim, write=True).written == 0
    assert_frame_equal(bars(store), before)
    assert_frame_equal(ledger.current(store.tables), sessions)
    assert versions.restatements(store.tables).height == 1


def test_a_lost_table_is_made_again_from_all_answers(sim: Simulation, store: LakeStore, tmp_path: Path) -> None:
    ingest(store, source(sim), MINUTE, [job()])
    sim.plant("bad", BTC.code, start="2024-01-02T10:00:00Z", values={"volume": "7.5"})
    sim.plant("gap", BTC.code, start="2024-01-02T11:00Z", end="2024-01-02T12:00Z")
    sim.plant("bad", BTC.code, start="2024-01-02T13:00:00Z", values={"high": "1"})
    ingest(store, source(sim), MINUTE, [job(days=1)])
    before, refused = bars(store), quarantine.read(store.tables)
    sessions = ledger.current(store.tables).select("session", "status", "actual", "quarantined", "fingerprint")
    made = without_tables(store, tmp_path / "again", "bars_1m", "sessions", "quarantine")
    assert_frame_equal(fetches.read(made.tables), fetches.read(store.tables))
    found = again(made, sim, write=True)
    assert (found.missing, found.written) == (2880, 2880)
    assert_frame_equal(bars(made).drop("known_at", "fetched_at"), before.drop("known_at", "fetched_at"))
    # Each is said to come from the newest answer that has it, or that no longer had it.
    first, second = fetches.read(made.tables)["fetched_at"]
    refetched = pl.col("timestamp") < at("2024-01-03T00:00")
    held_back = pl.col("timestamp") == at("2024-01-02T13:00")
    assert bars(made).filter(refetched & ~held_back)["fetched_at"].unique().to_list() == [second]
    assert bars(made).filter(~refetched | held_back)["fetched_at"].unique().to_list() == [first]
    assert before["withdrawn"].sum() == 60
    assert (bars(made)["known_at"] > before["known_at"].max()).all()
    about_the_row = ["quarantined_at", "known_at", "run_id"]
    assert_frame_equal(quarantine.read(made.tables).drop(about_the_row), refused.drop(about_the_row))
    rewritten = ledger.current(made.tables).select("session", "status", "actual", "quarantined", "fingerprint")
    assert_frame_equal(rewritten, sessions)


def test_a_bar_that_was_open_then_is_not_made_whole_now(sim: Simulation, store: LakeStore) -> None:
    sim.exchange.set_now("2024-01-02T10:00:30Z")
    ingest(stop_at(store, at("2024-01-02T10:00:30")), source(sim), MINUTE, [job(days=1)])
    assert bars(store)["timestamp"].max() == at("2024-01-02T09:59")
    stop_at(store, at("2024-01-04T00:00"))
    found = again(store, sim, write=True, days=1)
    assert (found.rows, found.differences) == (600, 0)


def test_rows_that_no_response_has_are_told_of_and_stay(sim: Simulation, store: LakeStore) -> None:
    sim.plant("gap", BTC.code, start="2024-01-02T11:00Z", end="2024-01-02T11:02Z")
    ingest(store, source(sim), MINUTE, [job(days=1)])
    minute = Window(at("2024-01-02T11:00"), at("2024-01-02T11:01"))
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), "1")
    by_hand = pl.DataFrame(
        [{"timestamp": minute.start, **numbers}], schema_overrides={"timestamp": pl.Datetime("us", "UTC")}
    )
    store.write_bars("sim", BTC, MINUTE, minute, by_hand)
    found = again(store, sim, write=True, days=1)
    assert (found.unexplained, found.changed, found.missing, found.written) == (1, 0, 0, 0)
    assert bars(store).height == 1439


def test_where_a_newer_answer_was_not_kept_older_ones_prove_nothing(sim: Simulation, store: LakeStore) -> None:
    ingest(store, source(sim), MINUTE, [job()])
    sim.plant("bad", BTC.code, start="2024-01-02T10:00:00Z", values={"volume": "7.5"})
    ingest(store, source(sim, keep_raw=False), MINUTE, [job(days=1)])
    found = again(store, sim, write=True)
    assert (found.unkept, found.rows, found.differences, found.written) == (1, 1440, 0, 0)
    assert bars(store).filter(pl.col("timestamp") == at("2024-01-02T10:00"))["volume"].item() == 7.5


@pytest.mark.parametrize("harm", ["missing", "damaged", "incomplete", "unreadable"])
def test_a_response_that_cannot_be_read_is_a_problem_and_changes_nothing(
    sim: Simulation, store: LakeStore, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, source(sim), MINUTE, [job(days=1)])
    before = bars(store)
    path = Path(RawStore(store.storage).address(fetches.read(store.tables)["raw"].item(0)[0]))
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(b"x")
    elif harm == "incomplete":
        row = fetches.read(store.tables).drop("known_at", "period").to_dicts()[0]
        row |= {"raw": tuple(row["raw"][:-1]), "outcome": fetches.FetchOutcome.OK}
        store = without_tables(store, tmp_path / "again", "fetches")
        store.record_fetches([fetches.FetchRecord(**row)])
    else:
        monkeypatch.setattr(CcxtProvider, "_concat", lambda self, parts: parts["nothing"])
    found = again(store, sim, write=True, days=1)
    assert (found.answers, found.written) == (0, 0)
    assert isinstance(found.problems[0], LakeError if harm != "unreadable" else PermanentVendorError)
    assert_frame_equal(bars(store), before)


def test_months_and_symbols_are_replayed_one_by_one(sim: Simulation, store: LakeStore) -> None:
    settings = source(sim)
    jobs = [Job(symbol, START, START + timedelta(days=40)) for symbol in (BTC, ETH)]
    ingest(store, settings, Resolution.MINUTE_15, jobs)
    told: list[str] = []
    found = replay(store, settings, Resolution.MINUTE_15, jobs, on_done=lambda item: told.append(item.symbol))
    assert told == [BTC.code, ETH.code]
    assert [(item.rows, item.differences) for item in found] == [(40 * 96, 0)] * 2
    assert replay(store, settings, MINUTE, jobs)[0].answers == 0


def test_putting_an_older_answer_right_withdraws_nothing_that_a_newer_one_has(
    sim: Simulation, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as yesterday:
        correct = CcxtProvider._concat
        rounded = pl.col("volume").str.split(".").list.first()
        yesterday.setattr(CcxtProvider, "_concat", lambda self, parts: correct(self, parts).with_columns(rounded))
        ingest(store, source(sim), MINUTE, [job()])
    ingest(store, source(sim), MINUTE, [job(days=1)])
    found = again(store, sim, write=True)
    assert (found.changed, found.restated, found.written, found.problems) == (1440, 1440, 1440, [])
    assert versions.withdrawn(store.tables).is_empty()
    assert again(store, sim).differences == 0


def test_bars_that_the_normaliser_lost_are_withdrawn_no_longer(
    sim: Simulation, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(store, source(sim), MINUTE, [job(days=1)])
    before = bars(store)
    with monkeypatch.context() as yesterday:
        correct = CcxtProvider._concat
        yesterday.setattr(CcxtProvider, "_concat", lambda self, parts: correct(self, parts).head(1000))
        ingest(store, source(sim), MINUTE, [job(days=1)])
    assert bars(store)["withdrawn"].sum() == 440
    compared = again(store, sim, days=1)
    assert (compared.changed, compared.examples[0].kind) == (440, "changed")
    assert [said and said["withdrawn"] for said in (compared.examples[0].stored, compared.examples[0].kept)] == [
        True,
        None,
    ]
    found = again(store, sim, write=True, days=1)
    assert (found.changed, found.restated, found.written) == (440, 0, 440)
    about_the_row = ["fetched_at", "known_at"]
    assert_frame_equal(bars(store).drop(about_the_row), before.drop(about_the_row))
    assert again(store, sim, days=1).differences == 0


@pytest.mark.parametrize("keep_raw", [True, False])
def test_an_empty_answer_withdraws_whether_it_was_kept_or_not(
    sim: Simulation, store: LakeStore, tmp_path: Path, keep_raw: bool
) -> None:
    ingest(store, source(sim), MINUTE, [job(days=1)])
    sim.plant("gap", BTC.code, start="2024-01-02T00:00Z", end="2024-01-03T00:00Z")
    ingest(store, source(sim, keep_raw=keep_raw), MINUTE, [job(days=1)])
    assert bars(store)["withdrawn"].sum() == 1440
    assert again(store, sim, days=1).differences == 0
    made = without_tables(store, tmp_path / "again", "bars_1m", "sessions")
    found = again(made, sim, write=True, days=1)
    assert (found.answers, found.missing) == (2 if keep_raw else 1, 1440)
    assert bars(made)["withdrawn"].sum() == 1440


def test_what_a_later_question_brought_is_told_of_and_stays(sim: Simulation, store: LakeStore) -> None:
    ingest(store, source(sim), MINUTE, [job(days=1)])
    minute = Window(at("2024-01-02T11:00"), at("2024-01-02T11:01"))
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), "1")
    by_hand = pl.DataFrame(
        [{"timestamp": minute.start, **numbers}], schema_overrides={"timestamp": pl.Datetime("us", "UTC")}
    )
    store.write_bars("sim", BTC, MINUTE, minute, by_hand)
    before = bars(store)
    found = again(store, sim, write=True, days=1)
    assert (found.changed, found.restated, found.written) == (1, 0, 0)
    assert ["stored by a later question" in error.what for error in found.problems] == [True]
    assert_frame_equal(bars(store), before)


def test_a_corrected_bar_follows_from_what_the_vendor_said(store: LakeStore, sim: Simulation) -> None:
    ingest(store, source(sim), MINUTE, [job()])
    when = at("2024-01-02T00:05")
    close = bars(store).filter(pl.col("timestamp") == when)["close"].item()
    low = bars(store).filter(pl.col("timestamp") == when)["low"].item()
    assert close != low
    rules = source(sim).rules(MINUTE)
    store.override("sim", BTC.code, MINUTE, when, {"close": low}, "a bad tick", rules=rules)
    assert again(store, sim, write=True).differences == 0
    assert bars(store).filter(pl.col("timestamp") == when)["close"].item() == low
    store.override("sim", BTC.code, MINUTE, when, None, "it was right", rules=rules)
    assert bars(store).filter(pl.col("timestamp") == when)["close"].item() == close
