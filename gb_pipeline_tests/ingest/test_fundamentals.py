"""Fundamentals from a vendor into the lake: quotas, faults, kept answers, and a stop at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, LakeError, TransientVendorError, UnknownSymbol
from gb_pipeline.ingest.fundamentals import FundamentalsOutcome, ingest_fundamentals, ingest_listings
from gb_pipeline.lake import fetches, fundamentals
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.provenance.fundamentals_replay import replay_fundamentals
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage.raw_responses import RAW
from gb_pipeline_tests.bars import SetClock

NOW = datetime(2024, 6, 14, 22, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = "S3CRETKEY1234567"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=[], stocks=["AAPL", "KO", "IBM", "SPY"]) as running:
        yield running


@pytest.fixture
def sim(vendor: Simulation) -> Simulation:
    vendor.reset()
    vendor.set_now(NOW)
    for code in ("AAPL", "KO", "IBM"):
        vendor.plant("listing", code, start="2023-01-03T00:00:00Z")
    return vendor


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path / "lake", clock=SetClock(NOW))


def source(sim: Simulation, **more: object) -> SourceSettings:
    body = {
        "name": "av", "provider": "alpha_vantage", "asset_class": "equity", "calendar": "XNYS", "start": "2024-01-02",
        "symbols": ["AAPL", "KO", "IBM"], "options": {"key": KEY, "base_url": sim.url}, "retries": 0, "max_concurrency": 1,
        "daily_quota": {"calls": 500}, "fundamentals": {"statements": ["income_statement", "earnings"]},
    }  # fmt: skip
    return SourceSettings.model_validate(body | more)


def adds_up(outcome: FundamentalsOutcome) -> bool:
    kept = outcome.new + outcome.restated + outcome.unchanged + outcome.quarantined + outcome.repeated + outcome.late
    return outcome.received == kept


def test_every_question_leaves_a_row_and_every_count_adds_up(store: LakeStore, sim: Simulation) -> None:
    outcomes = ingest_fundamentals(store, source(sim))
    assert [item.symbol.code for item in outcomes] == ["AAPL", "KO", "IBM"]
    assert all(item.ok and item.new and adds_up(item) for item in outcomes)
    rows = fetches.read(store.tables, "av")
    assert rows.select("kind", "outcome", "calls").unique().rows() == [("fundamentals", "ok", 2)]
    assert rows["received"].sum() == fundamentals.read(store.tables).height
    again = ingest_fundamentals(store, source(sim), ["KO"])
    assert (again[0].unchanged, again[0].version) == (again[0].received, None)


def test_a_quota_goes_to_those_who_waited_longest_and_goes_on_the_next_day(store: LakeStore, sim: Simulation) -> None:
    few = source(sim, daily_quota={"calls": 4})
    first = ingest_fundamentals(store, few)
    assert [(item.symbol.code, item.ok) for item in first] == [("AAPL", True), ("KO", True), ("IBM", False)]
    assert first[2].deferred is not None
    # Another source of the same key would have used the day up: here the day is over.
    rest = ingest_fundamentals(store, source(sim))
    assert [item.symbol.code for item in rest] == ["IBM"]
    store.clock.now = NOW + 7 * DAY  # type: ignore[attr-defined]
    assert [item.symbol.code for item in ingest_fundamentals(store, source(sim))] == ["AAPL", "KO", "IBM"]


def test_one_company_in_trouble_takes_nothing_from_the_others_and_shows_no_key(
    store: LakeStore, sim: Simulation
) -> None:
    fault = sim.faults.add(match="symbol=AAPL", status=500, body=f"oops {KEY}")
    outcomes = ingest_fundamentals(store, source(sim), ["AAPL", "KO", "NOSUCH"])
    assert fault.hits == 1
    assert [type(item.error) for item in outcomes] == [TransientVendorError, type(None), UnknownSymbol]
    assert KEY not in "".join(str(item.error) for item in outcomes)
    assert KEY not in "".join(fetches.read(store.tables, "av")["message"].drop_nulls())
    # What failed is due at once.
    assert [item.symbol.code for item in ingest_fundamentals(store, source(sim))] == ["AAPL", "IBM"]


def test_an_empty_answer_takes_nothing_away_and_is_no_failure(store: LakeStore, sim: Simulation) -> None:
    before = ingest_fundamentals(store, source(sim), ["KO"])[0].new
    sim.faults.add(match="function=INCOME_STATEMENT", status=200, body="{}")
    [outcome] = ingest_fundamentals(store, source(sim), ["KO"])
    assert (outcome.ok, outcome.nothing, outcome.withdrawn) == (True, ("income_statement",), 0)
    assert fundamentals.read(store.tables, "av").height == before


def test_a_restatement_at_the_vendor_is_a_new_version(store: LakeStore, sim: Simulation) -> None:
    ingest_fundamentals(store, source(sim), ["KO"])
    where = {"period": "2024-03-31", "function": "INCOME_STATEMENT", "item": "totalRevenue"}
    sim.plant("restated_report", "KO", **where, value="42")
    store.clock.now = NOW + DAY  # type: ignore[attr-defined]
    [outcome] = ingest_fundamentals(store, source(sim), ["KO"])
    assert (outcome.restated, outcome.new) == (1, 0)
    lake = Lake(store, facts=())
    versions = lake.fundamentals("KO", "total_revenue", "2024-03-31", kind="quarterly", versions=True)
    assert versions["value"].to_list()[1:] == [Decimal(42)]
    assert versions["published_at"].to_list()[1] >= NOW + DAY


def test_kept_answers_are_read_again_and_put_right_what_was_lost(store: LakeStore, sim: Simulation) -> None:
    settings = source(sim, keep_raw=True)
    ingest_fundamentals(store, settings, ["KO"])
    [same] = replay_fundamentals(store, settings)
    assert (same.differs, same.report.unchanged if same.report else 0) == (
        False,
        fundamentals.read(store.tables).height,
    )
    # Somebody wrote something else under the same answer.
    row = fundamentals.read(store.tables, "av").filter(item="ebit", kind="quarterly").tail(1)
    wrong = row.select(
        "statement",
        "kind",
        "fiscal_period_end",
        "item",
        pl.lit("1").alias("value"),
        "text",
        "unit",
        "currency",
        "reported_date",
    )
    harm = store.write_fundamentals("av", "KO", wrong, fetched_at=row["fetched_at"].item())
    [found] = replay_fundamentals(store, settings)
    assert found.differs
    [written] = replay_fundamentals(store, settings, write=True)
    assert written.report is not None
    assert written.report.restated == harm.restated + harm.withdrawn > 0
    assert not replay_fundamentals(store, settings)[0].differs
    assert not any(
        KEY.encode() in file.read_bytes() for file in (store.storage.root / RAW).rglob("*") if file.is_file()
    )


def test_nothing_kept_is_told_and_not_taken_for_agreement(store: LakeStore, sim: Simulation) -> None:
    ingest_fundamentals(store, source(sim), ["KO"])
    [found] = replay_fundamentals(store, source(sim))
    assert isinstance(found.problem, LakeError)
    assert "keep_raw" in (found.problem.fix or "")
    assert replay_fundamentals(store, source(sim), ["IBM"])[0].problem is not None


def test_a_run_that_dies_before_storing_is_made_good_by_the_next(
    store: LakeStore, sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LakeStore, "write_fundamentals", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            ingest_fundamentals(store, source(sim), ["KO"])
    assert fetches.read(store.tables, "av").height == 1
    assert ingest_fundamentals(store, source(sim), ["KO"])[0].new > 0


def test_listings_are_recorded_and_stored_whole(store: LakeStore, sim: Simulation) -> None:
    report = ingest_listings(store, source(sim))
    assert (report.received, report.new, report.quarantined) == (4, 4, 0)
    assert fetches.read(store.tables, "av").select("symbol", "kind", "received").rows() == [("*", "listings", 4)]
    sim.faults.add(match="LISTING_STATUS", status=200, body="symbol,name")
    with pytest.raises(TransientVendorError):
        ingest_listings(store, source(sim))
    assert fetches.read(store.tables, "av")["outcome"].to_list() == ["ok", "error"]


def test_what_cannot_be_asked_is_said_before_anything_is_sent(store: LakeStore, sim: Simulation) -> None:
    for settings in (source(sim, provider="massive"), source(sim, fundamentals={"statements": []})):
        with pytest.raises(ConfigError):
            ingest_fundamentals(store, settings)
    with pytest.raises(ConfigError, match="not a statement"):
        ingest_fundamentals(store, source(sim), statements=["gossip"])
