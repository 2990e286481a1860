"""What an answer may change hangs on when its question was asked; and what a fetch says of rows that belong nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches, quarantine, versions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.bars import validate
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import at, changed, minutes

BTC, ETH, SOL = (Symbol.crypto(f"{base}-USD") for base in ("BTC", "ETH", "SOL"))
DAY = date(2024, 1, 2)
NOW = at("2024-02-01T00:00")
MINUTE = Resolution.MINUTE


class Ticking:
    """A clock that moves on whenever somebody looks at it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Vendor:
    """Answers with one frame, whoever asks for what."""

    name, adjustment, normaliser = "vendor", Adjustment.RAW, "vendor/1"

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame.drop("symbol", strict=False)

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        return True

    def requests(self, window: Window, resolution: Resolution) -> int:
        return 1

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        await asyncio.sleep(0)
        return Fetched(self.frame, "0" * 64, 1, 1, 0.0)

    def normalise(
        self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[bytes]
    ) -> pl.DataFrame:
        raise AssertionError("nobody asked for that")

    async def aclose(self) -> None:
        raise AssertionError("a provider that was given is not closed")


def source(**settings: object) -> SourceSettings:
    body = {
        "name": "own", "provider": "ccxt", "asset_class": "crypto", "start": "2024-01-01",
        "symbols": [BTC.code, ETH.code, SOL.code],
    }  # fmt: skip
    return SourceSettings.model_validate(body | settings)


def jobs(*symbols: Symbol, days: int = 1) -> list[Job]:
    return [Job(symbol, DAY, DAY + timedelta(days=days)) for symbol in symbols]


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=Ticking(NOW))


def test_every_bar_names_the_question_about_its_own_symbol(store: LakeStore) -> None:
    ingest(store, source(), MINUTE, jobs(BTC, ETH, SOL), provider=Vendor(minutes("2024-01-02T00:00")))
    asked = fetches.read(store.tables).select("symbol", "fetched_at").sort("symbol")
    assert asked["fetched_at"].n_unique() == 3
    stored = Lake(store).bars(None, MINUTE, source="own", columns=["symbol", "fetched_at", "known_at"])
    assert stored.select("symbol", "fetched_at").unique().sort("symbol").rows() == asked.rows()
    # All of them became known at once, and after the last question.
    assert stored["known_at"].n_unique() == 1
    assert stored["known_at"][0] > asked["fetched_at"].max()


def test_an_answer_never_replaces_that_to_a_later_question_however_late_it_arrives(store: LakeStore) -> None:
    whole = minutes("2024-01-02T00:00")
    newer = changed(whole, 600, volume="7.5")

    class Overtaken(Vendor):
        """While its answer is on its way, another run asks, is told what is newer, and stores it."""

        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            answer = await super().fetch_bars(symbol, window, resolution)
            later = LakeStore(store.storage, clock=store.clock)
            (outcome,) = await asyncio.to_thread(ingest, later, source(), MINUTE, jobs(BTC), provider=Vendor(newer))
            assert outcome.ok
            return answer

    older = changed(whole, 600, volume="1").filter(pl.int_range(pl.len()) != 700)
    (outcome,) = ingest(store, source(), MINUTE, jobs(BTC), provider=Overtaken(older), run_id="slow")
    assert outcome.ok
    (session,) = outcome.sessions
    assert (session.restated, session.withdrawn, session.actual) == (0, 0, 1440)
    bars = Lake(store).bars(BTC, MINUTE)
    assert bars["volume"].cast(pl.Float64).to_list() == newer["volume"].cast(pl.Float64).to_list()
    assert versions.restatements(store.tables).is_empty()
    assert versions.withdrawn(store.tables).is_empty()
    (late,) = quarantine.read(store.tables).to_dicts()
    assert (late["timestamp"], late["reasons"], late["run_id"]) == (
        at("2024-01-02T10:00"), ["fetched_before_stored"], "slow",
    )  # fmt: skip
    # The next question is a later one again.
    ingest(store, source(), MINUTE, jobs(BTC), provider=Vendor(older))
    assert versions.restatements(store.tables).height == 1
    assert versions.withdrawn(store.tables).height == 1


def test_who_was_not_asked_makes_no_other_answer_older(store: LakeStore) -> None:
    listed = source(symbols=[BTC.code, {"code": ETH.code, "listed_from": "2024-01-03"}])
    outcomes = ingest(store, listed, MINUTE, jobs(BTC, ETH), provider=Vendor(minutes("2024-01-02T00:00")))
    assert [outcome.sessions[0].status.value for outcome in outcomes] == ["complete", "not_listed"]
    (asked,) = fetches.read(store.tables)["fetched_at"]
    assert Lake(store).bars(BTC, MINUTE, columns=["fetched_at"])["fetched_at"].unique().to_list() == [asked]


NOWHERE = pl.concat(
    [
        minutes("2024-01-05T20:00", 300),
        # A Saturday, and stamps that nobody can read.
        minutes("2024-01-06T12:00", 7),
        minutes("2024-01-07T12:00", 5).with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("timestamp")),
    ]
)


@pytest.mark.parametrize("calendar", ["24/7", "24/5", "XNYS"])
def test_a_fetch_counts_the_rows_that_belong_to_no_session_as_the_judgement_does(
    store: LakeStore, calendar: str
) -> None:
    settings = source(calendar=calendar, max_bad_fraction=1.0, asset_class="equity" if calendar == "XNYS" else "crypto")
    week = [Job(settings.instruments[0], date(2024, 1, 5), date(2024, 1, 9))]
    ingest(store, settings, MINUTE, week, provider=Vendor(NOWHERE))
    (row,) = fetches.read(store.tables).to_dicts()
    rules = settings.rules(MINUTE)
    verdict = validate(NOWHERE, rules, rules.calendar.window(date(2024, 1, 5), date(2024, 1, 9), MINUTE), now=NOW)
    unplaced = verdict.unplaced[BTC.code].rows
    assert (row["received"], row["unplaced"]) == (NOWHERE.height, unplaced)
    # The week of 24/5 ends with the UTC day; an evening in New York still belongs to its day.
    assert unplaced == {"24/7": 5, "24/5": 5 + 7 + 60, "XNYS": 5 + 7}[calendar]
    assert quarantine.read(store.tables)["session"].null_count() == unplaced


def test_what_nobody_knows_of_a_fetch_is_null(store: LakeStore) -> None:
    class Down(Vendor):
        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            raise TransientVendorError("own answered HTTP 503", fix="wait")

    nothing = pl.DataFrame(schema=RECEIVED)
    for vendor in (Vendor(nothing), Down(nothing), Vendor(nothing.drop("timestamp")), Vendor(minutes("2024-01-02", 3))):
        ingest(store, source(), MINUTE, jobs(BTC), provider=vendor)
    rows = fetches.read(store.tables).select("outcome", "unplaced").rows()
    assert rows == [("empty", 0), ("error", None), ("error", None), ("ok", 0)]
