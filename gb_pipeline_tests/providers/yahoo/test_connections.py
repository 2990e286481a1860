"""Nothing that happens on the way to Yahoo becomes an answer: redirects, floods, certificates, fetches that are given up."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from gb_pipeline.errors import (
    PermanentVendorError,
    TransientVendorError,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.yahoo.vendor import AAPL, CHART, KO, QUICK, SHARES, WEEK, requests_for

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


# --- on the way -------------------------------------------------------------------------------------------------------


async def test_no_other_host_is_ever_asked(sim: Simulation, provider: YahooProvider) -> None:
    sim.faults.add(
        match=CHART, status=302, headers={"Location": "https://yahoo.com.example.org/login?key=secret"}, times=-1
    )
    with pytest.raises(TransientVendorError, match=r"redirects to https://yahoo\.com\.example\.org/login") as caught:
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    assert "secret" not in str(caught.value)


async def test_yahoos_own_redirects_are_followed(sim: Simulation, provider: YahooProvider) -> None:
    place = f"https://query1.finance.yahoo.com/{CHART}/AAPL?period1=1710028800&period2=1710633600&interval=1d"
    sim.faults.add(match=CHART, status=307, headers={"Location": place})
    assert (await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)).frame.height == 5


async def test_redirects_in_circles_end(sim: Simulation, provider: YahooProvider) -> None:
    place = f"https://query2.finance.yahoo.com/{CHART}/AAPL"
    sim.faults.add(match=CHART, status=302, headers={"Location": place}, times=-1)
    with pytest.raises(TransientVendorError, match="circles"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "compressed"])
async def test_a_flood_is_cut_off(sim: Simulation, headers: dict[str, str]) -> None:
    sim.faults.add(match=CHART, action="flood", headers=headers, times=-1)
    provider = YahooProvider(base_url=sim.url, policy=Policy(timeout=60, retries=0))
    with pytest.raises(PermanentVendorError, match="64 MB"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate that nobody signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_certificate_that_nobody_signed_is_said_to_be_one(untrusted: str) -> None:
    provider = YahooProvider(base_url=untrusted, policy=Policy(timeout=5, retries=0))
    with pytest.raises(TransientVendorError, match=r"certificate of .* is not trusted"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    await provider.aclose()


async def test_a_closed_provider_says_so(sim: Simulation) -> None:
    provider = YahooProvider(base_url=sim.url, policy=QUICK)
    await provider.aclose()
    with pytest.raises(PermanentVendorError, match="closed"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)


async def test_a_fetch_that_is_given_up_asks_nothing_more(sim: Simulation, provider: YahooProvider) -> None:
    sim.faults.add(match="fc.yahoo", delay=0.5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider.fetch_bars(AAPL, WEEK, Resolution.DAY), 0.2)
    # The thread of the first one is done once the second one has its cookie.
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5
    assert not requests_for(sim, f"{CHART}/AAPL")


async def test_a_fetch_that_is_given_up_leaves_the_provider_usable(sim: Simulation, provider: YahooProvider) -> None:
    await provider.fetch_bars(AAPL, WEEK, Resolution.DAY)
    sim.faults.add(match=CHART, action="hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider.fetch_bars(AAPL, WEEK, Resolution.DAY), 0.2)
    assert (await provider.fetch_bars(KO, WEEK, Resolution.DAY)).frame.height == 5


def test_providers_of_several_threads_do_not_disturb_each_other(sim: Simulation) -> None:
    def fetch(code: str) -> list[str]:
        async def one() -> list[str]:
            provider = YahooProvider(base_url=sim.url, policy=QUICK)
            try:
                return (await provider.fetch_bars(Symbol.equity(code), WEEK, Resolution.DAY)).frame["close"].to_list()
            finally:
                await provider.aclose()

        return asyncio.run(one())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, SHARES))
    assert len({tuple(closes) for closes in found}) == len(SHARES)


async def test_trouble_of_the_rows_is_put_right_or_refused(sim: Simulation, provider: YahooProvider) -> None:
    exact = await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)
    for action in ("shuffle_rows", "overlap_page"):
        sim.faults.add(match=CHART, action=action)
        assert (await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)).frame.equals(exact.frame)
    sim.faults.add(match=CHART, action="duplicate_page", times=-1)
    with pytest.raises(TransientVendorError, match="when asked for"):
        await provider.fetch_bars(AAPL, WEEK, Resolution.MINUTE_5)
