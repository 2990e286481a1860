"""This module is Kalshi as a venue: signed handshakes, subscriptions of many contracts, and contracts that come and go.

https://docs.kalshi.com/getting_started/quick_start_websockets. Every connection is signed, also for public channels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import polars as pl

from gb_pipeline.collectors.messages import TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    base_url_of,
    check_options,
    choice,
    credential,
    known_secrets,
    rest_client,
    websocket_url,
)
from gb_pipeline.collectors.venues.kalshi import rest
from gb_pipeline.collectors.venues.kalshi.decoder import CHANNELS, KalshiDecoder, subscribe, subscribe_to_lifecycle
from gb_pipeline.collectors.venues.kalshi.signing import load_private_key, sign
from gb_pipeline.errors import ConfigError, InvalidSymbol
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.providers.http.policy import Policy

HOSTS = {"production": "api.elections.kalshi.com", "demo": "demo-api.kalshi.co"}
_STREAM, _REST = "/trade-api/ws/v2", "/trade-api/v2"
# Kalshi names no limit; the numbers of a subscription are shared, so that one lost message breaks so many books at most.
_CONTRACTS_PER_CONNECTION = 100


class Kalshi(Venue):
    """Contracts of Kalshi: books and trades, prices in dollars of the YES side.

    Options: `key`, the key's id; its private key as `private_key_file`, or as `private_key` in one line; `environment`, production
    by default, or demo; `base_url` of a simulated venue on loopback.
    """

    name: ClassVar[str] = "kalshi"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(CHANNELS)
    time_unit: ClassVar[TimeUnit] = TimeUnit.NANOSECONDS
    credentials: ClassVar[tuple[str, ...]] = ("key",)

    def __init__(
        self,
        key: Callable[[], str],
        private_key: Callable[[], Any],
        environment: str = "production",
        base_url: str | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Nothing is opened; credentials are asked for when something is signed, at the time that `clock` says in ns."""
        self._key, self._private_key, self._clock = key, private_key, clock
        self._host, self._base_url = HOSTS[environment], base_url
        self._ended: set[str] = set()

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("key", "private_key", "private_key_file", "environment", "base_url"))
        text, file = (
            credential(source, options, name) if name in options else None
            for name in ("private_key", "private_key_file")
        )
        return cls(
            credential(source, options, "key"),
            lambda: load_private_key(source, text, file),
            choice(source, options, "environment", HOSTS, "production"),
            base_url_of(source, options),
        )

    def venue_symbol(self, symbol: str) -> str:
        """The same: KXBTCD-26FEB0620-T72999.99."""
        return Symbol.prediction(symbol).code

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One for each hundred contracts, with all datasets of a contract on the same."""
        symbols = list(dict.fromkeys(item.symbol for item in subscriptions))
        parts = [
            symbols[at : at + _CONTRACTS_PER_CONNECTION] for at in range(0, len(symbols), _CONTRACTS_PER_CONNECTION)
        ]
        url = websocket_url(f"{self._host}{_STREAM}", self._base_url)
        return [
            Connection(f"{self.name}-{part[0]}", url, tuple(item for item in subscriptions if item.symbol in set(part)))
            for part in parts
        ]

    def headers(self, connection: Connection) -> dict[str, str]:
        """The signature of the next handshake.

        Raises:
            ConfigError: a credential is missing or cannot be read.
        """
        path = urlsplit(connection.url).path.removeprefix(f"/{self._host}" if self._base_url else "")
        return sign(self._key(), self._private_key(), "GET", path, self._clock() // 1_000_000)

    def opening(self, connection: Connection) -> list[bytes]:
        """One request for each channel, and one for what happens to contracts."""
        requests = []
        for dataset in CHANNELS:
            tickers = [
                item.venue_symbol
                for item in connection.subscriptions
                if item.dataset is dataset and item.venue_symbol not in self._ended
            ]
            if tickers:
                requests.append(subscribe(dataset, tickers))
        return [*requests, subscribe_to_lifecycle()]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return KalshiDecoder(connection.subscriptions, self.secrets(), self._ended)

    def secrets(self) -> tuple[str, ...]:
        """The key's id; the private key is never sent."""
        return known_secrets(self._key)

    def refused_handshake(self, status: int) -> str:
        """What to do about a handshake that was answered with an HTTP status."""
        if status in {401, 403}:
            return (
                "compare the option `key` and the private key with those on https://kalshi.com/account/profile (a demo key works "
                "in the demo environment only), and the clock of this machine: a signature is good for some seconds"
            )
        return super().refused_handshake(status)

    async def discover(self, series: Sequence[str]) -> list[str]:
        """Open contracts of all series whose names begin with one of `series`, such as KXBTC."""
        if not series:
            return []
        async with _Rest(self._base_url) as client:
            tickers = await rest.open_contracts(client, f"{self._host}{_REST}", series)
        return [ticker for ticker in tickers if _is_code(ticker)]

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame:
        """Trades of the window by REST; see `Venue.fetch_trades`."""
        async with _Rest(self._base_url) as client:
            return await rest.fetch_trades(
                client, f"{self._host}{_REST}", self.venue_symbol(symbol), start_time, end_time
            )


class _Rest:
    """A client that is closed after its requests."""

    def __init__(self, base_url: str | None) -> None:
        self._client = rest_client("kalshi", Policy(rate=rest.PACE), base_url)

    async def __aenter__(self) -> Any:
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        self._client.transport.close()


def _is_code(ticker: str) -> bool:
    try:
        Symbol.prediction(ticker)
    except (InvalidSymbol, ConfigError):
        return False
    return True
