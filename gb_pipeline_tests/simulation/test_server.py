"""The simulated exchange over HTTP: loopback only, controllable, and accepted by the unmodified ccxt."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import httpx
import pytest

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.binance import answer
from gb_pipeline.simulation.exchange import Bar
from gb_pipeline.simulation.response import Request
from gb_pipeline_tests.work import counted_work

SYMBOLS = ["BTC-USDT", "BTC-USDT-PERP", "BTC-USD", "DOGE-USD"]
DAY_MS = int(instant("2024-01-02").timestamp() * 1000)
TIME = "/api.binance.com/api/v3/time"


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=SYMBOLS) as running:
        running.exchange.set_now("2024-06-01")
        yield running


@pytest.fixture
async def vendors(sim: Simulation) -> AsyncIterator[dict[str, Any]]:
    def reroute(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: reroute(value) for key, value in node.items()}
        return re.sub(r"^https?://", sim.url + "/", node) if isinstance(node, str) else node

    made = {}
    for name in ("binance", "coinbase", "kraken"):
        made[name] = getattr(ccxt, name)({"enableRateLimit": False, "number": str, "has": {"fetchCurrencies": False}})
        made[name].urls["api"] = reroute(made[name].urls["api"])
    yield made
    for client in made.values():
        client.timeout_on_exit = 0
        await client.close()


def served(sim: Simulation, code: str, interval: str = "1m", count: int = 5) -> list[Bar]:
    return sim.exchange.bars(code, interval, DAY_MS, None, count, count_call=False)


@pytest.mark.parametrize(("vendor", "pair", "code"), [
    ("binance", "BTC/USDT", "BTC-USDT"),
    ("binance", "BTC/USDT:USDT", "BTC-USDT-PERP"),
    ("coinbase", "BTC/USD", "BTC-USD"),
    ("coinbase", "DOGE/USD", "DOGE-USD"),
])  # fmt: skip
@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "1d"])
async def test_unmodified_ccxt_reads_markets_and_candles(
    sim: Simulation, vendors: dict[str, Any], vendor: str, pair: str, code: str, interval: str
) -> None:
    client = vendors[vendor]
    assert pair in await client.load_markets()
    until = DAY_MS + 5 * client.parse_timeframe(interval) * 1000 - 1
    rows = await client.fetch_ohlcv(pair, interval, DAY_MS, 5, {"until": until})
    bars = served(sim, code, interval)
    assert [row[0] for row in rows] == [bar.start for bar in bars]
    digits = [[value.rstrip("0").rstrip(".") for value in row[1:]] for row in rows]
    assert digits == [[value.rstrip("0").rstrip(".") for value in bar[1:6]] for bar in bars]


@pytest.mark.parametrize(("vendor", "pair"), [("binance", "BTC/USDT"), ("coinbase", "BTC/USD")])
async def test_unmodified_ccxt_reads_trades_that_make_the_candle(
    vendors: dict[str, Any], vendor: str, pair: str
) -> None:
    client = vendors[vendor]
    (candle,) = await client.fetch_ohlcv(pair, "1m", DAY_MS, 1, {"until": DAY_MS + 59_999})
    trades = await client.fetch_trades(pair, DAY_MS, 1000, {"until": DAY_MS + 59_999})
    prices = [float(trade["price"]) for trade in trades if trade["timestamp"] < DAY_MS + 60_000]
    assert prices[0] == float(candle[1])
    assert (max(prices), min(prices)) == (float(candle[2]), float(candle[3]))


async def test_kraken_serves_the_newest_720_bars_whatever_is_asked(sim: Simulation, vendors: dict[str, Any]) -> None:
    rows = await vendors["kraken"].fetch_ohlcv("BTC/USD", "1m", DAY_MS)
    now = int(instant("2024-06-01").timestamp() * 1000)
    assert [row[0] for row in rows] == list(range(now - 719 * 60_000, now + 1, 60_000))


def test_vendors_refuse_as_they_do(sim: Simulation) -> None:
    binance = httpx.get(f"{sim.url}/api.binance.com/api/v3/klines?symbol=NOPE&interval=1m")
    assert (binance.status_code, binance.json()["code"]) == (400, -1121)
    products = f"{sim.url}/api.coinbase.com/api/v3/brokerage/market/products"
    too_many = httpx.get(f"{products}/BTC-USD/candles?granularity=ONE_MINUTE&start=0&end=60000")
    assert (too_many.status_code, too_many.json()["error"]) == (400, "INVALID_ARGUMENT")
    kraken = httpx.get(f"{sim.url}/api.kraken.com/0/public/OHLC?pair=NOPE")
    assert (kraken.status_code, kraken.json()["error"]) == (200, ["EQuery:Unknown asset pair"])
    assert httpx.get(f"{sim.url}/example.com/").status_code == 404
    assert httpx.post(f"{sim.url}{TIME}").status_code == 405


CANDLES = "api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/candles"


@pytest.mark.parametrize(("path", "status"), [
    ("api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=99999999999999999999", 200),
    ("api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1M&startTime=-99999999999999999999&endTime=5", 200),
    (f"{CANDLES}?granularity=ONE_DAY&start=9&end=-99999999999999999999", 200),
    ("query1.finance.yahoo.com/v8/finance/chart/AAPL?period1=-99999999999999&period2=99999999999999999&interval=1d", 400),
    ("www.alphavantage.co/query?function=TIME_SERIES_INTRADAY&symbol=AAPL&interval=5min&month=9999-12&apikey=k", 400),
])  # fmt: skip
def test_moments_beyond_all_calendars_break_nothing(sim: Simulation, path: str, status: int) -> None:
    # The first question about an equity makes all of its days.
    assert httpx.get(f"{sim.url}/{path}", timeout=60).status_code == status
    assert httpx.get(sim.url + TIME).status_code == 200


def test_it_binds_loopback_and_nothing_else() -> None:
    for host in ("0.0.0.0", "::", "localhost.example", ""):
        with pytest.raises(ConfigError, match="would listen"):
            Simulation(host=host)
    with Simulation() as first, pytest.raises(ConfigError, match="cannot listen"), Simulation(port=int(first.url[-5:])):
        pass


def test_control_works_from_another_process(sim: Simulation) -> None:
    def control(method: str, action: str, body: object = None) -> httpx.Response:
        return httpx.request(method, f"{sim.url}/_control/{action}", json=body)

    assert control("POST", "now", {"now": "2024-01-03T00:00:00Z"}).status_code == 200
    assert httpx.get(sim.url + TIME).json()["serverTime"] == DAY_MS + 86_400_000
    body = {"kind": "gap", "symbol": "BTC-USDT", "start": "2024-01-02", "end": "2024-01-03"}
    assert control("POST", "plant", body).json()["kind"] == "gap"
    klines = f"{sim.url}/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={DAY_MS}&endTime={DAY_MS}"
    assert httpx.get(klines).json() == []
    control("POST", "faults", {"match": "klines", "status": 503, "times": 2})
    assert [httpx.get(klines).status_code for _ in range(3)] == [503, 503, 200]
    log = control("GET", "log").json()
    assert [entry["status"] for entry in log] == [200, 200, 503, 503, 200]
    assert log[1]["query"]["symbol"] == "BTCUSDT"
    assert control("POST", "faults", {"action": "explode"}).status_code == 400
    assert control("POST", "plant", {"kind": "gap"}).status_code == 400
    assert control("POST", "nothing").status_code == 400
    control("POST", "reset")
    assert control("GET", "log").json() == []
    assert len(httpx.get(klines).json()) == 1


def test_a_fault_lets_pass_what_it_shall_skip(sim: Simulation) -> None:
    fault = sim.faults.add(match="time", status=500, skip=1, times=-1)
    assert [httpx.get(sim.url + TIME).status_code for _ in range(3)] == [200, 500, 500]
    assert fault.hits == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_as_a_process_and_ends_when_told(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "url"
    command = [sys.executable, "-m", "gb_pipeline.simulation", "--symbols", "BTC-USD", "--stocks", "KO,BRK.B"]
    command += ["--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
                os.sched_yield()
            url = ready.read_text(encoding="utf-8")
            listed = httpx.get(f"{url}/_control/ping").json()
            assert (listed["symbols"], listed["stocks"]) == (["BTC-USD"], ["BRK.B", "KO"])
        finally:
            process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out.strip(), err) == (0, url, "")


def test_a_bar_of_a_long_page_takes_a_handful_of_calls(sim: Simulation) -> None:
    def page(first: int, limit: int) -> int:
        query = {"symbol": "BTCUSDT", "interval": "1m", "limit": str(limit), "startTime": str(first)}
        with counted_work() as work:
            made = answer(sim.exchange, Request("api.binance.com", "/api/v3/klines", query))
        assert len(json.loads(made.body)) == limit
        return work.calls

    page(DAY_MS, 10)
    few, many = page(DAY_MS + 60_000_000, 10), page(DAY_MS + 120_000_000, 1000)
    assert 0 < many - few < 100 * 990
