"""What every vendor with a REST interface has from `RestProvider`: credentials, pace, connections and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import polars as pl
import pytest

from gb_pipeline.config.settings import DailyQuota, RateLimit, SourceSettings
from gb_pipeline.errors import ConfigError, NotEntitled, PermanentVendorError, QuotaExhausted, UnknownSymbol
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Body, Fetched
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.rest import RestProvider

KEY, OTHER_KEY = "0123456789abcdef", "fedcba9876543210"
AAPL = Symbol.equity("AAPL")


class Acme(RestProvider):
    """A vendor whose answers nobody reads."""

    name, who = "acme", "Acme"
    adjustment, normaliser = Adjustment.RAW, "acme/1"
    credentials, options = ("key",), ("feed",)
    rate = RateLimit(calls=100, seconds=1)
    quota = DailyQuota(calls=3)
    looked_up = 0

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Token {self.secret('key')}"}

    def derived_spelling(self, symbol: Symbol) -> str:
        return symbol.code.replace(".", "/")

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        return resolution is Resolution.DAY

    def requests(self, window: Window, resolution: Resolution) -> int:
        return 1

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        with self.transport.measure() as tally:
            await self.http.get_json("https://api.acme.test/200")
        return tally.fetched(pl.DataFrame())

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        return pl.DataFrame([self.read_body(body) for body in bodies])

    async def look_up(self, name: str) -> None:
        self.looked_up += 1
        await asyncio.sleep(0)
        if name == "ZZZZ":
            raise UnknownSymbol("Acme does not list ZZZZ")


class Echo(BaseHTTPRequestHandler):
    """Repeats the key that it was sent, with the status that the path ends with."""

    def do_GET(self) -> None:
        body = f'{{"message": "your key is {self.headers["Authorization"]}"}}'
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def source(**options: str) -> SourceSettings:
    body = {"name": "acme", "provider": "acme", "start": "2024-01-01", "symbols": ["AAPL", "BRK.B"]}
    return SourceSettings.model_validate({**body, "options": options})


def state_files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_plans_and_stored_bodies_need_no_key_but_a_request_does() -> None:
    provider = Acme.from_settings(source())
    assert provider.requests_together([Window.of("2024-01-02", "2024-01-03")] * 2, Resolution.DAY) == 2
    assert provider.policy.rate == Acme.rate
    frame = provider.normalise(AAPL, Window.of("2024-01-02", "2024-01-03"), Resolution.DAY, [b'{"close": 1.50}'])
    assert frame["close"].to_list() == ["1.50"]
    for ask in (provider.quota_left, lambda: provider.http):
        with pytest.raises(ConfigError, match="has no credential"):
            ask()
    await provider.aclose()


def test_an_option_that_nobody_knows_is_refused() -> None:
    assert Acme.from_settings(source(key=KEY, feed="sip", base_url="http://127.0.0.1:9")).secret("key") == KEY
    with pytest.raises(ConfigError, match="no option feeed"):
        Acme.from_settings(source(key=KEY, feeed="sip"))
    with pytest.raises(ConfigError, match="is not a simulated vendor"):
        Acme(KEY, base_url="https://example.com")


def test_the_documented_pace_holds_unless_the_source_or_loopback_says_otherwise() -> None:
    slow = RateLimit(calls=1, seconds=60)
    assert Acme(KEY).policy.rate == Acme.rate
    assert Acme(KEY, policy=Policy(rate=slow)).policy.rate == slow
    assert Acme(KEY, base_url="http://127.0.0.1:9").policy.rate is None
    assert Acme(KEY, base_url="http://127.0.0.1:9").policy.quota == Acme.quota


async def test_who_shares_a_key_shares_its_day_and_nobody_else(vendor: str, tmp_path: Path) -> None:
    policy = Policy(state_dir=tmp_path, retries=0)
    first, second, other = (Acme(key, base_url=vendor, policy=policy) for key in (KEY, KEY, OTHER_KEY))
    window = Window.of("2024-01-02", "2024-01-03")
    for provider in (first, second, first):
        await provider.fetch_bars(AAPL, window, Resolution.DAY)
    with pytest.raises(QuotaExhausted):
        await second.fetch_bars(AAPL, window, Resolution.DAY)
    assert (first.quota_left(), second.quota_left(), other.quota_left()) == (0, 0, 3)
    # What was tried on loopback is not taken from the real day, and no file is named after a key.
    assert Acme(KEY, policy=policy).quota_left() == 3
    names = state_files(tmp_path)
    assert names
    assert not [name for name in names if KEY in name or OTHER_KEY in name]
    for provider in (first, second, other):
        await provider.aclose()


async def test_no_error_says_the_key_that_the_vendor_repeats(vendor: str) -> None:
    provider = Acme(KEY, base_url=vendor, policy=Policy(retries=0))
    with pytest.raises(NotEntitled) as caught:
        await provider.transport.call(lambda: provider.http.get_json("https://api.acme.test/401"))
    await provider.aclose()
    assert "your key is" in str(caught.value)
    assert KEY not in str(caught.value)


async def test_an_instrument_is_looked_up_once_and_an_unknown_one_each_time() -> None:
    provider = Acme(KEY)
    await asyncio.gather(*(provider.require_listed("AAPL") for _ in range(5)))
    assert provider.looked_up == 1
    for _ in range(2):
        with pytest.raises(UnknownSymbol):
            await provider.require_listed("ZZZZ")
    assert provider.looked_up == 3


def test_refusals_and_spellings_are_everybodys() -> None:
    provider = Acme(KEY, vendor_symbols={"AAPL": "US.AAPL"})
    assert [provider.spelling(Symbol.equity(code)) for code in ("AAPL", "BRK.B")] == ["US.AAPL", "BRK/B"]
    provider.require_supported(AAPL, Resolution.DAY)
    with pytest.raises(PermanentVendorError, match="Acme has no bars of 1m of AAPL"):
        provider.require_supported(AAPL, Resolution.MINUTE)
    provider.require_equity(AAPL)
    with pytest.raises(PermanentVendorError, match="no corporate actions of BTC-USD"):
        provider.require_equity(Symbol.crypto("BTC-USD"))
