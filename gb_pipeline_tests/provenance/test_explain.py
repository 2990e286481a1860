"""Where a bar comes from: the fetch that brought it, those that left it alone, and whether it follows from the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import UnknownSeries
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import bar_schema
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.provenance.explain import Explanation, Place, explain
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.bars import at, day, minutes

BTC, ETH = (Symbol.crypto(f"{base}-USDT") for base in ("BTC", "ETH"))
START = date(2024, 1, 2)
MINUTE = Resolution.MINUTE
TEN = at("2024-01-02T10:00")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=[BTC.code, ETH.code]) as running:
        yield running


@pytest.fixture
def sim(exchange: Simulation) -> Simulation:
    exchange.reset()
    return exchange


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


def source(sim: Simulation, **settings: object) -> SourceSettings:
    body = {
        "name": "sim", "provider": "ccxt", "options": {"exchange": "binance", "base_url": sim.url},
        "asset_class": "crypto", "start": "2024-01-01", "symbols": [BTC.code, ETH.code], "keep_raw": True,
    }  # fmt: skip
    return SourceSettings.model_validate(body | settings)


def fetch(lake: Lake, settings: SourceSettings, run_id: str, resolution: Resolution = MINUTE, days: int = 1) -> None:
    job = Job(BTC, START, START + timedelta(days=days))
    ingest(lake.store, settings, resolution, [job], run_id=run_id)


def explained(
    lake: Lake,
    sim: Simulation,
    moment: datetime = TEN,
    *,
    as_of: datetime | None = None,
    resolution: Resolution = MINUTE,
) -> Explanation:
    asked = len(sim.requests)
    found = explain(lake, "sim", BTC, resolution, moment, settings=source(sim), as_of=as_of)
    assert len(sim.requests) == asked
    return found


def holds(place: Place, bar: dict[str, Any]) -> bool:
    """Whether the row group of the file has exactly this version."""
    group = pl.DataFrame(pq.ParquetFile(place.file).read_row_group(place.row_group))
    same = (pl.col("timestamp") == bar["timestamp"]) & (pl.col("known_at") == bar["known_at"])
    return group.filter(same)["volume"].to_list() == [bar["volume"]]


def test_a_bar_is_traced_to_its_file_its_fetch_and_its_bytes(sim: Simulation, lake: Lake) -> None:
    fetch(lake, source(sim), "r1", days=2)
    found = explained(lake, sim, TEN + timedelta(seconds=30))
    minute = TEN, TEN + timedelta(minutes=1)
    assert found.bar == lake.bars(BTC, MINUTE, *minute, columns=bar_schema().names).row(0, named=True)
    assert found.place is not None
    group = pl.DataFrame(pq.ParquetFile(found.place.file).read_row_group(found.place.row_group))
    assert TEN in group["timestamp"]
    assert found.session is not None
    assert (found.session["session"], found.session["status"], found.session["gap"]) == (START, "complete", None)
    assert found.delivered is not None
    answer = found.delivered.answer
    assert (answer.run_id, answer.calls, answer.normaliser, answer.window) == ("r1", 3, "ccxt/2", day("2024-01-02", 2))
    assert [body.state for body in found.delivered.bodies] == ["intact"] * 3
    assert (found.delivered.verdict, found.delivered.reader) == ("agrees", "ccxt/2")
    assert (found.latest, found.later, found.restatements, found.quarantine) == (None, 0, [], [])


def test_a_fetch_of_the_same_content_confirms_and_does_not_take_the_place_of_the_first(
    sim: Simulation, lake: Lake
) -> None:
    for run in ("r1", "r2", "r3"):
        fetch(lake, source(sim), run)
    found = explained(lake, sim)
    assert found.delivered is not None
    assert found.latest is not None
    assert (found.delivered.answer.run_id, found.latest.answer.run_id, found.later) == ("r1", "r3", 2)
    assert (found.delivered.verdict, found.latest.verdict) == ("agrees", "agrees")


def test_a_restated_bar_comes_from_the_fetch_that_changed_it_and_its_past_from_the_first(
    sim: Simulation, lake: Lake
) -> None:
    fetch(lake, source(sim), "r1")
    fetch(lake, source(sim), "r2")
    sim.plant("bad", BTC.code, start="2024-01-02T10:00:00Z", values={"volume": "7.5"})
    fetch(lake, source(sim), "r3")
    fetch(lake, source(sim), "r4")
    now = explained(lake, sim)
    assert now.delivered is not None
    assert now.latest is not None
    assert now.bar is not None
    assert (now.delivered.answer.run_id, now.latest.answer.run_id, now.later) == ("r3", "r4", 1)
    assert len(now.restatements) == 1
    before = explained(lake, sim, as_of=now.bar["known_at"] - timedelta(microseconds=1))
    assert before.bar is not None
    assert before.delivered is not None
    assert before.latest is not None
    assert before.place is not None
    assert before.bar["volume"] != now.bar["volume"]
    assert before.bar["superseded_at"] is None, "at that moment nobody knew of another"
    assert now.place is not None
    assert before.place.table == now.place.table == "bars_1m"
    assert holds(before.place, before.bar)
    assert holds(now.place, now.bar)
    assert "is_current=false" in before.place.file
    assert "is_current=true" in now.place.file
    assert (before.delivered.answer.run_id, before.delivered.verdict) == ("r1", "agrees")
    assert (before.latest.answer.run_id, before.later) == ("r2", 1)
    never = explained(lake, sim, as_of=at("2024-01-01T00:00"))
    assert (never.bar, never.delivered) == (None, None)


def test_what_was_known_of_the_session_is_told_as_of_the_same_moment(sim: Simulation, lake: Lake) -> None:
    sim.plant("gap", BTC.code, start="2024-01-02T10:05Z", end="2024-01-02T10:06Z")
    fetch(lake, source(sim), "r1")
    first = explained(lake, sim)
    assert first.bar is not None
    sim.reset()
    fetch(lake, source(sim), "r2")
    now, before = explained(lake, sim), explained(lake, sim, as_of=first.bar["known_at"])
    assert now.session is not None
    assert before.session is not None
    assert (before.session["status"], before.session["actual"]) == ("partial", 1439)
    assert (now.session["status"], now.session["actual"]) == ("complete", 1440)


def test_a_bar_that_does_not_follow_from_its_bytes_differs(
    sim: Simulation, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as yesterday:
        correct = CcxtProvider._concat
        doubled = pl.col("volume").str.split(".").list.first()
        yesterday.setattr(CcxtProvider, "_concat", lambda self, parts: correct(self, parts).with_columns(doubled))
        fetch(lake, source(sim), "r1")
    found = explained(lake, sim)
    assert found.delivered is not None
    assert found.delivered.content is not None
    assert found.bar is not None
    assert found.delivered.verdict == "differs"
    assert int(found.delivered.content["volume"]) == found.bar["volume"] != found.delivered.content["volume"]


def test_a_later_answer_without_the_bar_or_with_a_bad_one_is_no_confirmation(sim: Simulation, lake: Lake) -> None:
    fetch(lake, source(sim), "r1")
    sim.plant("gap", BTC.code, start="2024-01-02T10:00Z", end="2024-01-02T10:01Z")
    sim.plant("bad", BTC.code, start="2024-01-02T10:05:00Z", values={"high": "1"})
    fetch(lake, source(sim), "r2")
    gone, bad = explained(lake, sim), explained(lake, sim, at("2024-01-02T10:05"))
    assert gone.latest is not None
    assert bad.latest is not None
    assert gone.delivered is not None
    assert gone.bar is not None
    assert (gone.latest.verdict, bad.latest.verdict) == ("absent", "refused")
    # What the vendor no longer returns is still what it once returned, and it says so.
    assert (gone.bar["withdrawn"], gone.delivered.answer.run_id, gone.delivered.verdict) == (True, "r1", "agrees")
    once = explained(lake, sim, as_of=gone.bar["known_at"] - timedelta(microseconds=1))
    assert once.bar is not None
    assert (once.bar["withdrawn"], once.later) == (None, 0)
    assert "high_not_highest" in bad.latest.problem
    assert [row["reasons"] for row in bad.quarantine] == [["high_not_highest", "low_not_lowest"]]


def test_a_bar_that_is_not_there_says_why(sim: Simulation, lake: Lake) -> None:
    sim.plant("gap", BTC.code, start="2024-01-02T10:00Z", end="2024-01-02T10:01Z")
    sim.plant("bad", BTC.code, start="2024-01-02T10:05:00Z", values={"high": "1"})
    fetch(lake, source(sim), "r1")
    silent, bad = explained(lake, sim), explained(lake, sim, at("2024-01-02T10:05"))
    assert silent.bar is bad.bar is None
    assert silent.session is not None
    assert bad.session is not None
    assert (silent.session["gap"], bad.session["gap"]) == ("unknown", "unknown")
    assert silent.delivered is not None
    assert bad.delivered is not None
    assert (silent.delivered.verdict, bad.delivered.verdict) == ("absent", "refused")
    sim.faults.add(match="klines", status=403, times=-1)
    job = Job(BTC, START + timedelta(days=3), START + timedelta(days=4))
    ingest(lake.store, source(sim), MINUTE, [job])
    failed = explained(lake, sim, at("2024-01-05T10:00"))
    assert failed.asked is not None
    assert failed.session is not None
    assert (failed.delivered, failed.asked["outcome"], failed.session["gap"]) == (None, "error", "fetch_failed")


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_bytes_that_are_gone_are_said_to_be_gone(sim: Simulation, lake: Lake, harm: str) -> None:
    fetch(lake, source(sim), "r1")
    path = Path(RawStore(lake.store.storage).address(fetches.read(lake.store.tables)["raw"].item(0)[1]))
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    found = explained(lake, sim).delivered
    assert found is not None
    assert ([body.state for body in found.bodies], found.verdict) == (["intact", harm], "unreadable")
    assert str(path) in found.problem


def test_without_kept_bytes_or_without_settings_the_fetch_is_named_all_the_same(sim: Simulation, lake: Lake) -> None:
    fetch(lake, source(sim, keep_raw=False), "r1")
    unkept = explained(lake, sim).delivered
    assert unkept is not None
    assert (unkept.answer.run_id, unkept.verdict, unkept.bodies) == ("r1", "not kept", ())
    fetch(lake, source(sim), "r2")
    unread = explain(lake, "sim", BTC, MINUTE, TEN).latest
    assert unread is not None
    assert (unread.answer.run_id, unread.verdict) == ("r2", "not read")


def test_of_two_runs_at_once_the_one_that_the_bar_names_brought_it(sim: Simulation, lake: Lake) -> None:
    fetch(lake, source(sim), "r1")
    found = explained(lake, sim)
    assert found.bar is not None
    # Another run began before that bar was stored, and its answer had no such bar.
    sim.plant("gap", BTC.code, start="2024-01-02T10:00Z", end="2024-01-02T10:01Z")
    fetch(lake, source(sim), "r2")
    rows = fetches.read(lake.store.tables).filter(pl.col("run_id") == "r2").drop("known_at", "period").to_dicts()[0]
    rows |= {
        "fetched_at": found.bar["known_at"],
        "run_id": "r3",
        "outcome": fetches.FetchOutcome.OK,
        "raw": tuple(rows["raw"]),
    }
    lake.store.record_fetches([fetches.FetchRecord(**rows)])
    again = explained(lake, sim)
    assert again.delivered is not None
    assert (again.delivered.answer.run_id, again.delivered.verdict) == ("r1", "agrees")


def test_daily_bars_and_bars_written_by_hand(sim: Simulation, lake: Lake) -> None:
    fetch(lake, source(sim), "r1", Resolution.DAY, days=20)
    found = explained(lake, sim, at("2024-01-10T00:00"), resolution=Resolution.DAY)
    assert found.delivered is not None
    assert found.place is not None
    assert (found.delivered.verdict, found.place.table, found.place.row_group) == ("agrees", "bars_1d", 0)
    lake.write_bars("hand", "X-USD", MINUTE, day("2024-01-02"), minutes("2024-01-02T00:00", 1440, symbol="X-USD"))
    by_hand = explain(lake, "hand", "X-USD", MINUTE, TEN)
    assert by_hand.bar is not None
    assert by_hand.session is not None
    assert (by_hand.delivered, by_hand.asked, by_hand.later) == (None, None, 0)
    with pytest.raises(UnknownSeries):
        explain(lake, "hand", "Y-USD", MINUTE, TEN)
