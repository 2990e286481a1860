"""What a fault looks like on the wire, and what troubles the dialects make of their rows."""

from __future__ import annotations

import gzip
import json
import resource
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.response import TROUBLES, apply_trouble

START = int(instant("2024-01-02T10:00Z").timestamp() * 1000)
END = START + 20 * 60_000 - 1
VENDORS = {
    "binance": f"/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={START}&endTime={END}",
    "coinbase": "/api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/candles"
    f"?granularity=ONE_MINUTE&start={START // 1000}&end={END // 1000}",
    "kraken": "/api.kraken.com/0/public/OHLC?pair=XXBTZUSD&interval=1",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USDT", "BTC-USD"], stocks=["AAPL"]) as sim:
        yield sim


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now("2024-01-03")
    return running


def stamps(sim: Simulation, vendor: str) -> list[int]:
    body: Any = httpx.get(sim.url + VENDORS[vendor]).json()
    match vendor:
        case "binance":
            return [row[0] // 1000 for row in body]
        case "coinbase":
            return [int(row["start"]) for row in reversed(body["candles"])]
    return [row[0] for row in body["result"]["XXBTZUSD"]]


@pytest.mark.parametrize("vendor", VENDORS)
def test_dialects_trouble_their_rows_once_and_are_well_again(sim: Simulation, vendor: str) -> None:
    right = stamps(sim, vendor)
    assert right == sorted(right)
    faults = {trouble: sim.faults.add(action=trouble, match="klines|candles|OHLC") for trouble in TROUBLES}
    shuffled, duplicate, overlap, dropped, endless, oldest, newest, last = (stamps(sim, vendor) for _ in TROUBLES)
    assert shuffled != right
    assert sorted(shuffled) == right
    assert duplicate == [stamp - len(right) * 60 for stamp in right]
    assert overlap == [*duplicate[-3:], *right]
    assert 0 < len(dropped) < len(right)
    assert set(dropped) < set(right)
    assert endless == last == right
    assert (oldest, newest) == (right[:100], right[-100:])
    assert stamps(sim, vendor) == right
    # No answer of theirs names a next page, so nothing was hit there.
    hits = dict.fromkeys(TROUBLES, 1) | {"endless_next": 0, "no_next": 0}
    hits |= dict.fromkeys(("oldest_rows", "newest_rows"), int(len(right) > 100))
    assert {trouble: fault.hits for trouble, fault in faults.items()} == hits


def test_a_trouble_is_the_same_every_time_and_small_pages_do_not_break_it() -> None:
    for trouble in TROUBLES:
        for size in range(5):
            rows = list(range(size))
            assert apply_trouble(trouble, rows, lambda: [-1]) == apply_trouble(trouble, rows, lambda: [-1])
    assert apply_trouble("shuffle_rows", [1, 2], list) == [2, 1]
    assert apply_trouble(None, [1, 2], list) == [1, 2]


def test_a_redirect_leads_to_a_host_that_does_not_exist_or_where_it_is_told(sim: Simulation) -> None:
    sim.faults.add(action="redirect")
    sim.faults.add(action="redirect", headers={"Location": "http://127.0.0.1:1/"}, status=307)
    first, second = (httpx.get(sim.url + VENDORS["binance"]) for _ in range(2))
    assert (first.status_code, first.headers["Location"]) == (302, "https://elsewhere.invalid" + VENDORS["binance"])
    assert (second.status_code, second.headers["Location"]) == (307, "http://127.0.0.1:1/")


@pytest.mark.parametrize("packed", [False, True])
def test_a_flood_is_as_large_as_it_was_told_and_begins_like_a_list(sim: Simulation, packed: bool) -> None:
    headers = {"Content-Encoding": "gzip"} if packed else {}
    sim.faults.add(action="flood", size=3_000_001, headers=headers)
    with httpx.stream("GET", sim.url + VENDORS["binance"]) as answer:
        body = b"".join(answer.iter_raw())
        assert answer.headers["Content-Type"] == "application/json"
        assert "Content-Length" not in answer.headers
    whole = gzip.decompress(body) if packed else body
    assert len(whole) == 3_000_002
    assert whole.startswith(b'[{"t":1704067200000,')
    if packed:
        assert len(body) < 100_000


def test_two_gigabytes_cost_neither_side_memory_and_hold_nobody_up_when_nobody_listens(sim: Simulation) -> None:
    sim.faults.add(action="flood", headers={"Content-Encoding": "gzip"})
    sim.faults.add(action="flood")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        with httpx.stream("GET", sim.url + VENDORS["binance"]) as answer:
            assert len(next(answer.iter_raw())) > 0
    assert len(stamps(sim, "binance")) == 20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2**28


def test_slow_and_truncated_bodies_announce_their_length(sim: Simulation) -> None:
    sim.faults.add(action="truncate")
    sim.faults.add(action="cut")
    sim.faults.add(action="slow", delay=0.2)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(sim.url + VENDORS["binance"])
    with pytest.raises(json.JSONDecodeError):
        httpx.get(sim.url + VENDORS["binance"]).json()
    begun = time.monotonic()
    assert len(stamps(sim, "binance")) == 20
    assert time.monotonic() - begun > 0.15


def test_tls_is_served_with_a_certificate_that_nobody_trusts() -> None:
    with Simulation(symbols=["BTC-USDT"], tls=True) as sim:
        assert sim.url.startswith("https://127.0.0.1:")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{sim.url}/_control/ping")
        assert httpx.get(f"{sim.url}/_control/ping", verify=False).json()["symbols"] == ["BTC-USDT"]


def test_every_request_is_logged_with_its_arrival(sim: Simulation) -> None:
    begun = time.time()
    for vendor in VENDORS:
        stamps(sim, vendor)
    arrivals = [entry["at_wall"] for entry in sim.requests]
    assert arrivals == sorted(arrivals)
    assert begun <= arrivals[0] <= arrivals[-1] <= time.time()


def test_both_markets_have_one_clock_and_are_planted_by_symbol(sim: Simulation) -> None:
    assert sim.stocks.now == sim.exchange.now == int(instant("2024-01-03").timestamp() * 1000)
    answer = httpx.post(
        f"{sim.url}/_control/plant", json={"kind": "split", "symbol": "AAPL", "ex_date": "2024-01-02", "to": 4}
    )
    assert (answer.status_code, answer.json()["ex_date"]) == (200, "2024-01-02")
    assert httpx.get(f"{sim.url}/_control/ping").json()["stocks"] == ["AAPL"]
    sim.plant("gap", "BTC-USDT", start=START)
    assert len(stamps(sim, "binance")) == 19
    with pytest.raises(ConfigError, match="not a kind"):
        sim.plant("split", "BTC-USDT", ex_date="2024-01-02", to="4")


def test_compressed_floods_are_valid_gzip(sim: Simulation) -> None:
    sim.faults.add(action="flood", size=10, headers={"Content-Encoding": "gzip"})
    with httpx.stream("GET", sim.url + VENDORS["binance"]) as answer:
        raw = b"".join(answer.iter_raw())
    assert zlib.decompress(raw, wbits=31) == b'[{"t":17040'
