"""Answers that say two things, or that are packed to burst, are refused; nobody's memory suffers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.providers.alpha_vantage import responses as alpha_vantage
from gb_pipeline.providers.http.responses import read_json
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.providers.yahoo.chart import read_chart
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.security.bounded import run

HOUR = Window.of("2024-06-20T18:00Z", "2024-06-20T19:00Z")
TWICE = [
    '{"a": 1, "a": 2}', '{"a": 1, "a": 1}', '[{"t": 1, "c": "1.5", "c": "1.6"}]', '{"rows": [{"x": {"y": 1, "y": 2}}]}',
    '{"a": 1, "\\u0061": 2}', '{"": 1, "": 2}',
]  # fmt: skip


@pytest.mark.parametrize("body", TWICE)
def test_a_key_that_stands_twice_is_an_error(body: str) -> None:
    with pytest.raises(TransientVendorError, match="a key stands twice") as caught:
        read_json("acme", 200, "application/json", body)
    assert "1.6" not in str(caught.value)


KEYS = st.dictionaries(st.text(max_size=3), st.recursive(st.integers() | st.text(max_size=3), st.lists, max_leaves=4))


@given(KEYS)
def test_what_says_each_thing_once_is_read_as_it_is(value: dict[str, object]) -> None:
    assert read_json("acme", 200, "", json.dumps(value)) == value


def test_a_vendor_that_repeats_itself_may_do_so_and_not_contradict_itself() -> None:
    # Alpha Vantage does, with the same value.
    assert alpha_vantage.payload(b'{"a": {"x": "1", "x": "1"}}') == {"a": {"x": "1"}}
    with pytest.raises(TransientVendorError):
        alpha_vantage.payload(b'{"a": {"x": "1", "x": "2"}}')


def test_a_chart_that_says_two_things_is_an_error() -> None:
    meta = '{"symbol": "AAPL", "symbol": "AAPL", "exchangeTimezoneName": "America/New_York"}'
    with pytest.raises(TransientVendorError):
        read_chart(f'{{"chart": {{"result": [{{"meta": {meta}}}], "error": null}}}}'.encode(), "AAPL", Resolution.DAY)


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USDT", "BTC-USD"], stocks=["AAPL"]) as running:
        yield running


@pytest.mark.parametrize(
    ("provider", "symbol", "options", "asks"),
    [
        ("ccxt", "BTC-USD", {"exchange": "coinbase"}, "candles"), ("ccxt", "BTC-USD", {"exchange": "kraken"}, "OHLC"),
        ("ccxt", "BTC-USDT", {"exchange": "binance"}, "exchangeInfo"), ("ccxt", "BTC-USD", {"exchange": "kraken"}, "AssetPairs"),
        ("alpaca", "AAPL", {"key": "AKs3cr3t1d", "secret": "s3cr3tk3y"}, "/bars"),
        ("massive", "AAPL", {"key": "s3cr3tk3y"}, "aggs"), ("yahoo", "AAPL", {}, "finance/chart"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
async def test_no_vendor_gets_away_with_two_values(
    sim: Simulation, provider: str, symbol: str, options: dict[str, str], asks: str
) -> None:
    source = SourceSettings.model_validate({
        "name": "v", "provider": provider, "start": date(2024, 1, 1), "symbols": [symbol], "retries": 0,
        "asset_class": "crypto" if provider == "ccxt" else "equity", "options": {**options, "base_url": sim.url},
    })  # fmt: skip

    async def fetch() -> None:
        made = build_provider(source)
        try:
            assert (await made.fetch_bars(source.instruments[0], HOUR, Resolution.MINUTE_5)).frame.height
        finally:
            await made.aclose()

    sim.reset()
    sim.set_now("2024-06-20T21:00Z")
    await fetch()
    (asked, *_) = [entry for entry in sim.requests if asks in entry["path"]]
    own = {"APCA-API-KEY-ID": options.get("key", ""), "APCA-API-SECRET-KEY": options.get("secret", "")}
    async with httpx.AsyncClient(headers={**asked["headers"], **own}) as client:
        whole = (await client.get(sim.url + asked["path"], params=asked["query"])).text
    # The value that is there comes last: whoever reads on takes the same answer as before.
    twice, count = re.subn(r'\{"([A-Za-z_]+)":', r'{"\1":0,"\1":', whole, count=1)
    assert count == 1
    planted = sim.faults.add(match=asks, body=twice, times=-1)
    with pytest.raises(TransientVendorError):
        await fetch()
    assert planted.hits >= 1


SERVER = """
import asyncio, gzip, http.server, threading, zlib
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Transport
packer = zlib.compressobj(9, wbits=31)
body = b"".join(packer.compress(bytes(2**20)) for _ in range({size})) + packer.flush()
for _ in range({more}):
    body = gzip.compress(body, 9)

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Encoding", {encoding!r})
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

async def ask():
    address = f"http://127.0.0.1:{{server.server_port}}"
    client = HttpClient("acme", Transport("acme", Policy(retries=0, timeout=300)), base_url=address)
    await client.get("https://api.example.com/bars")
"""


@pytest.mark.parametrize(("encoding", "more", "error", "says"), [
    ("gzip", 0, "PermanentVendorError", "more than 64 MB"), ("gzip, gzip", 1, "TransientVendorError", "not asked for"),
    ("gzip,gzip,gzip", 2, "TransientVendorError", "not asked for"), ("br", 0, "TransientVendorError", "not asked for"),
    ("zstd", 0, "TransientVendorError", "not asked for"), ("deflate, gzip", 1, "TransientVendorError", "not asked for"),
])  # fmt: skip
def test_a_gigabyte_in_a_kilobyte_is_not_unpacked(encoding: str, more: int, error: str, says: str) -> None:
    ended = run(SERVER.format(size=512, more=more, encoding=encoding), "asyncio.run(ask())")
    assert says in ended.text, ended
    assert ended.error == error
    assert ended.megabytes < 200
