"""Coinbase refuses a whole request for one unknown product: whoever it is unknown of is named, and its neighbours are heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gb_pipeline.collectors import MessageRows, Subscription, link
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.streams.coinbase import CoinbaseExchangeSession, CoinbaseSession
from gb_pipeline.simulation.streams.session import Handshake
from gb_pipeline_tests.collectors.test_collected_venues import collecting
from gb_pipeline_tests.collectors.test_collector import wait_for

KNOWN = ["BTC-USD", "ETH-USD"]
UNKNOWN = ["BTX-USD", "BTC-USDX"]
SESSIONS = {"coinbase": CoinbaseSession, "coinbase_exchange": CoinbaseExchangeSession}
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=KNOWN) as simulation:
        yield simulation


def talk(sim: Simulation, name: str, symbols: list[str], said: Callable[[str], str] = str) -> MessageRows:
    """What a decoder hears of five seconds of the simulated feed, which gets its requests; no list of products is asked for."""
    venue = venue_class(name).from_options("c", {})
    items = [Subscription(dataset, symbol, symbol) for symbol in symbols for dataset in venue.datasets]
    [connection] = venue.connections(items)
    decoder, rows = venue.decoder(connection), MessageRows()
    session = SESSIONS[name](sim.exchange, Handshake("", ""))
    begin, asked = sim.exchange.now, list(venue.opening(connection))
    for second in range(5):
        # All that is asked for goes at once, and answers come in its order.
        for moment in range(100):
            frames = [frame for request in asked for frame in session.received(request.decode())]
            frames += session.events(begin + 1000 * second, begin + 1000 * (second + 1)) if moment == 0 else []
            for frame in frames:
                decoder.decode(said(str(frame)).encode(), second * SECOND + moment + 1, rows)
            asked = list(decoder.requests())
            if not asked:
                break
    assert not asked
    return rows


def signalled(rows: MessageRows, kind: ConnectionEventKind) -> list[tuple[StreamDataset | None, str | None]]:
    return sorted((item.dataset, item.symbol) for item in rows.signals if item.kind is kind)


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("words", ["as they are", "without the product"])
def test_without_a_list_neighbours_of_unknown_products_are_asked_for_again(
    sim: Simulation, name: str, words: str
) -> None:
    def said(frame: str) -> str:
        if words == "as they are" or '"error"' not in frame:
            return frame
        for product in UNKNOWN:
            frame = frame.replace(f"{product} is", "one product is")
        return frame

    sim.set_now("2024-01-02T10:00:00Z")
    rows = talk(sim, name, [KNOWN[0], UNKNOWN[0], KNOWN[1], UNKNOWN[1]], said)
    datasets = venue_class(name).datasets
    every = {symbol: sorted((dataset, symbol) for dataset in datasets) for symbol in KNOWN + UNKNOWN}
    assert signalled(rows, ConnectionEventKind.SUBSCRIBED) == sorted(every[KNOWN[0]] + every[KNOWN[1]])
    assert signalled(rows, ConnectionEventKind.REFUSED) == sorted(every[UNKNOWN[0]] + every[UNKNOWN[1]])
    refusals = [item for item in rows.signals if item.kind is ConnectionEventKind.REFUSED]
    assert all(item.detail["permanent"] and "gb.yaml" in str(item.detail["fix"]) for item in refusals)
    assert {symbol for _, symbol in rows.heard} == set(KNOWN)
    assert {row[0] for row in rows.snapshots} == set(KNOWN)


@pytest.mark.parametrize("name", SESSIONS)
def test_what_is_refused_for_another_reason_is_so_of_the_whole_connection(sim: Simulation, name: str) -> None:
    venue = venue_class(name).from_options("c", {})
    items = [Subscription(StreamDataset.TRADES, symbol, symbol) for symbol in KNOWN]
    decoder, rows = venue.decoder(venue.connections(items)[0]), MessageRows()
    for words, permanent in (("authentication failure", True), ("rate limit exceeded", None)):
        decoder.decode(b'{"type":"error","message":"%s"}' % words.encode(), 3, rows)
        last = rows.signals[-1]
        assert (last.dataset, last.symbol, last.detail.get("permanent")) == (None, None, permanent)
        assert not decoder.requests()


async def test_a_list_that_is_not_whole_is_none(sim: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    venue = venue_class("coinbase").from_options("c", {"base_url": sim.url})
    items = [Subscription(StreamDataset.TRADES, symbol, symbol) for symbol in KNOWN + UNKNOWN]
    [connection] = venue.connections(items)
    sim.set_now("2024-01-02T10:00:00Z")
    assert await venue.find_unlisted(connection) == set(UNKNOWN)
    monkeypatch.setattr(sim.exchange, "listed", list)
    with pytest.raises(TransientVendorError, match="something else than its products"):
        await venue.find_unlisted(connection)


def test_a_typo_silences_nobody_and_a_stream_of_typos_is_asked_for_seldom(sim: Simulation, tmp_path: Path) -> None:
    sim.set_now("2024-01-02T10:00:00Z")
    streams = {
        name: {"venue": venue, "symbols": symbols, "datasets": ["trades"], "options": {"base_url": sim.url}}
        for name, venue, symbols in (
            ("listed", "coinbase", [*KNOWN, UNKNOWN[0]]),
            ("typos", "coinbase_exchange", [*UNKNOWN]),
        )
    }
    with collecting(tmp_path, streams) as collected:
        wait_for(lambda: collected.symbols() == set(KNOWN), "the neighbours")
        wait_for(lambda: {f["source"] for e, f in collected.events if e == "refused"} == set(streams), "refusals")
        [typos] = [item for feed in collected.collector.feeds if feed.source == "typos" for item in feed.heard]
        wait_for(lambda: typos.link._is_refused, "the end of the attempt")
    refused = {facts["source"]: facts for event, facts in collected.events if event == "refused"}
    assert refused["listed"]["symbols"] == UNKNOWN[0]
    assert refused["listed"]["error"] == f"coinbase does not list {UNKNOWN[0]}"
    lost = {facts["error"] for event, facts in collected.events if event == "disconnected"}
    assert lost == {"coinbase_exchange lists none of its symbols"}


def test_without_a_list_the_venue_itself_says_what_it_does_not_have(
    sim: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.set_now("2024-01-02T10:00:00Z")
    monkeypatch.setattr(link, "_LIST_SECONDS", 0.3)
    fault = sim.faults.add(match="products", status=503, times=-1)
    symbols = [*KNOWN, UNKNOWN[0]]
    stream = {"venue": "coinbase", "symbols": symbols, "datasets": ["trades"], "options": {"base_url": sim.url}}
    with collecting(tmp_path, {"listed": stream}) as collected:
        wait_for(lambda: collected.symbols() == set(KNOWN), "the neighbours")
        wait_for(lambda: [event for event, _ in collected.events if event == "refused"], "the refusal")
    sim.faults.clear()
    assert fault.hits
    [refused] = [facts for event, facts in collected.events if event == "refused"]
    assert (refused["symbols"], refused["error"]) == (UNKNOWN[0], f"{UNKNOWN[0]} is not a valid product")
