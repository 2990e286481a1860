"""This module is what venues share before anything is heard: options, the spelling of pairs, addresses, and connections.

What is sent and how messages are read is each venue's own, in `venues`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gb_pipeline.collectors.venue import Connection, Subscription
from gb_pipeline.config.credentials import open_credential, seal
from gb_pipeline.config.suggestions import suggest
from gb_pipeline.errors import ConfigError, InvalidSymbol
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.http.client import HttpClient, loopback
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Transport

PERPETUAL = "-PERP"


def check_options(source: str, venue: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse options that a venue does not have.

    Raises:
        ConfigError: one of them; values are never shown, since they may be credentials.
    """
    for name in options:
        if name not in known:
            raise ConfigError(
                f"stream {source} has the option {name!r}, which venue {venue} does not know",
                fix=suggest(name, sorted(known), "use one of") if known else "leave it out",
            )


def choice(source: str, options: Mapping[str, Any], name: str, choices: Collection[str], default: str) -> str:
    """An option that is one of a few words.

    Raises:
        ConfigError: it is another one.
    """
    value = options.get(name, default)
    if value not in choices:
        raise ConfigError(f"stream {source} has {name}: {value!r}", fix=f"use one of {', '.join(sorted(choices))}")
    return str(value)


def credential(source: str, options: Mapping[str, Any], name: str) -> Callable[[], str]:
    """What opens a credential when it is sent, so that a stream can be planned without any.

    Raises:
        ConfigError: by what is returned, where the credential is absent, empty or no text of a header.
    """
    sealed = seal({name: options[name]})[name] if name in options else None
    return lambda: open_credential(source, name, sealed)


def known_secrets(*openers: Callable[[], str]) -> tuple[str, ...]:
    """Values of the credentials that there are; one that is missing cannot be shown either."""
    found = []
    for opener in openers:
        with suppress(ConfigError):
            found.append(opener())
    return tuple(found)


def base_url_of(source: str, options: Mapping[str, Any]) -> str | None:
    """The simulated venue on loopback under the option `base_url`; None for the real one.

    Raises:
        ConfigError: it is not on loopback.
    """
    value = options.get("base_url")
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"stream {source} has a base_url that is no text", fix="write http://127.0.0.1:PORT")
    return loopback(value)


def base_url_alone(source: str, venue: str, options: Mapping[str, Any]) -> str | None:
    """`base_url_of` where a venue has no other option.

    Raises:
        ConfigError: another option, or it is not on loopback.
    """
    check_options(source, venue, options, ("base_url",))
    return base_url_of(source, options)


def spread_symbols(
    subscriptions: Sequence[Subscription], most: int, name: str, url: str, silence_seconds: float | None
) -> list[Connection]:
    """Connections of at most so many symbols each, with all datasets of a symbol on the same.

    Args:
        subscriptions: to spread.
        most: symbols of one connection.
        name: of the venue; connections are numbered from 1.
        url: of each.
        silence_seconds: see `Connection`.
    """
    symbols = sorted({item.symbol for item in subscriptions})
    parts = [set(symbols[at : at + most]) for at in range(0, len(symbols), most)]
    return [
        Connection(
            f"{name}-{number}", url, tuple(item for item in subscriptions if item.symbol in part), silence_seconds
        )
        for number, part in enumerate(parts, 1)
    ]


def one_connection(subscriptions: Sequence[Subscription], name: str, url: str) -> list[Connection]:
    """The one connection of a venue that allows no second one; none where nothing is subscribed to."""
    return [Connection(f"{name}-1", url, tuple(subscriptions))] if subscriptions else []


def websocket_url(address: str, base_url: str | None) -> str:
    """`wss://` and an address such as ws.kraken.com/v2; on a simulated venue the host becomes the first segment of the path.

    Example:
        >>> websocket_url("ws.kraken.com/v2", "http://127.0.0.1:8080")
        'ws://127.0.0.1:8080/ws.kraken.com/v2'
    """
    if base_url is None:
        return f"wss://{address}"
    # A real port is none of the path of a simulation: one port serves every host.
    host, slash, path = address.partition("/")
    return f"{re.sub('^http', 'ws', base_url)}/{host.partition(':')[0]}{slash}{path}"


def rest_url(address: str, base_url: str | None) -> str:
    """`https://` and an address such as api.kraken.com/0/public/Trades, or its place on a simulated venue."""
    return f"https://{address}" if base_url is None else f"{base_url}/{address}"


def rest_client(venue: str, policy: Policy, base_url: str | None) -> HttpClient:
    """Requests to a venue by REST; under one name they share a pace."""
    return HttpClient(venue, Transport(venue, policy), base_url=base_url)


def currency_pair(symbol: str, venue: str, *, perpetuals: bool = False) -> tuple[str, str, bool]:
    """Base, quote, and whether it is a perpetual.

    Raises:
        InvalidSymbol: no pair of currencies, or a perpetual where the venue has none.

    Example:
        >>> currency_pair("BTC-USDT-PERP", "binance", perpetuals=True)
        ('BTC', 'USDT', True)
    """
    code = Symbol.crypto(symbol).code
    perpetual = code.endswith(PERPETUAL)
    base, dash, quote = code.removesuffix(PERPETUAL).rpartition("-")
    if not dash or not base or not quote:
        raise InvalidSymbol(f"{symbol!r} is no pair of currencies", fix="write base and quote, such as BTC-USD")
    if perpetual and not perpetuals:
        raise InvalidSymbol(f"venue {venue} has no perpetual such as {symbol}", fix=f"use the pair {base}-{quote}")
    return base, quote, perpetual
