"""A vendor that is down fails once, not once per symbol; every session that was not fetched is named all the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError, RateLimited, TransientVendorError, VendorUnreachable
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.circuit import MOST_IN_A_ROW, Circuit
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation import Simulation

START = date(2024, 1, 2)
DAYS = 3
CODES = [f"S{number:03}-USDT" for number in range(60)]
CONCURRENCY, RETRIES = 4, 1


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=CODES) as running:
        yield running


def fetch(store: LakeStore, url: str) -> list[Outcome]:
    settings = SourceSettings.model_validate(
        {
            "name": "sim",
            "provider": "ccxt",
            "options": {"exchange": "binance", "base_url": url},
            "asset_class": "crypto",
            "start": "2024-01-01",
            "symbols": CODES,
            "rate_limit": {"calls": 1000},
            "retries": RETRIES,
            "max_concurrency": CONCURRENCY,
        }
    )
    jobs = [Job(Symbol.crypto(code), START, START + timedelta(days=DAYS)) for code in CODES]
    return ingest(store, settings, Resolution.HOUR, jobs)


def closed_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_vendor_without_a_connection_is_asked_by_those_that_were_under_way_and_by_nobody_else(
    store: LakeStore,
) -> None:
    outcomes = fetch(store, closed_port())

    rows = fetches.read(store.tables)
    assert 0 < rows["calls"].sum() <= CONCURRENCY * (RETRIES + 1)
    # Every symbol has a row of its own, with the reason.
    assert rows["symbol"].n_unique() == len(CODES)
    assert rows["error"].unique().to_list() == ["VendorUnreachable"]
    assert all("cannot be reached" in text for text in rows["message"])
    # So has every session, in the ledger and in what the run reports.
    recorded = ledger.current(store.tables)
    assert (recorded.height, recorded["status"].unique().to_list()) == (len(CODES) * DAYS, ["failed"])
    assert [len(outcome.sessions) for outcome in outcomes] == [DAYS] * len(CODES)
    assert all(isinstance(outcome.error, VendorUnreachable) for outcome in outcomes)


def test_a_vendor_that_answers_nothing_but_errors_is_given_up_after_ten_symbols(
    sim: Simulation, store: LakeStore
) -> None:
    sim.faults.add(match="klines", status=503, times=-1)
    outcomes = fetch(store, sim.url)

    asked = [request for request in sim.requests if "klines" in str(request)]
    assert 0 < len(asked) <= (MOST_IN_A_ROW + CONCURRENCY) * (RETRIES + 1)
    assert not any(outcome.ok for outcome in outcomes)
    assert ledger.current(store.tables)["status"].to_list() == ["failed"] * len(CODES) * DAYS


def test_one_symbol_in_trouble_takes_nobody_along(sim: Simulation, store: LakeStore) -> None:
    sim.faults.add(match=f"symbol={CODES[5].replace('-', '')}", status=503, times=-1)
    outcomes = fetch(store, sim.url)
    assert [outcome.symbol.code for outcome in outcomes if not outcome.ok] == [CODES[5]]


def test_the_next_run_finds_a_vendor_that_is_back(sim: Simulation, store: LakeStore) -> None:
    fetch(store, closed_port())
    assert all(outcome.ok for outcome in fetch(store, sim.url))
    assert ledger.current(store.tables)["status"].to_list() == ["complete"] * len(CODES) * DAYS


@pytest.mark.parametrize("error", [TransientVendorError("time-out"), RateLimited("slow down")])
def test_it_takes_ten_symbols_in_a_row_that_fail_in_passing(error: TransientVendorError) -> None:
    circuit = Circuit()
    for code in CODES[: MOST_IN_A_ROW - 1]:
        circuit.note(code, error)
        circuit.note(CODES[0], error)
    assert circuit.refusal() is None
    circuit.note(CODES[-1], error)
    assert circuit.refusal() is not None


@pytest.mark.parametrize("answer", [PermanentVendorError("no such symbol"), object()])
def test_whatever_is_an_answer_begins_the_count_anew(answer: object) -> None:
    circuit = Circuit()
    for code in CODES:
        circuit.note(code, TransientVendorError("time-out"))
        circuit.note(code, answer)
    assert circuit.refusal() is None
