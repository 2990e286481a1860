"""This module turns what gb.yaml says under `collect` into venues, subscriptions and connections. Nothing is opened or asked.

`gb collect --check` shows what is planned here; `feed` opens the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.venue import Connection, Subscription, Venue
from gb_pipeline.config.collect import CollectSettings, StreamSettings
from gb_pipeline.config.credentials import credentials
from gb_pipeline.errors import ConfigError

# Of the extra `collect`, what every venue needs.
_NEEDED = ("msgspec", "picows", "structlog")


@dataclass(frozen=True)
class PlannedStream:
    """One stream of gb.yaml, ready to be connected.

    Attributes:
        source: under which it is stored.
        settings: what gb.yaml says of it.
        venue: who is asked.
        subscriptions: what is heard.
        connections: over which websockets.
    """

    source: str
    settings: StreamSettings
    venue: Venue
    subscriptions: tuple[Subscription, ...]
    connections: tuple[Connection, ...]


def require_extra() -> None:
    """Make sure that what a collector needs is installed.

    Raises:
        ConfigError: it is not; the message says how to install it.
    """
    for name in _NEEDED:
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(
                f"collectors need {name}, which is not installed",
                fix="install it: uv pip install 'gb_pipeline[collect]'",
            ) from None


def build_venue(source: str, settings: StreamSettings) -> Venue:
    """The venue of a stream.

    Raises:
        ConfigError: there is none of that name, it has not all of the datasets, it refuses an option, or the extra is not
            installed.
    """
    require_extra()
    venue = venue_class(settings.venue).from_options(source, settings.options)
    for dataset in settings.datasets:
        if dataset not in venue.datasets:
            raise ConfigError(
                f"stream {source}: venue {settings.venue} has no {dataset.value}",
                fix=f"use {', '.join(item.value for item in venue.datasets)}",
            )
    return venue


def subscriptions(venue: Venue, settings: StreamSettings, symbols: list[str]) -> list[Subscription]:
    """What is heard of some symbols: every dataset of each.

    Raises:
        InvalidSymbol: the venue has no such instrument.
    """
    return [
        Subscription(dataset, symbol, venue.venue_symbol(symbol), settings.depth)
        for symbol in dict.fromkeys(symbols)
        for dataset in settings.datasets
    ]


def plan_stream(source: str, stream: StreamSettings, discovered: Sequence[str] = ()) -> PlannedStream:
    """What one stream of gb.yaml takes.

    Args:
        source: its name.
        stream: what gb.yaml says of it.
        discovered: canonical codes of contracts that the venue has of its `series`, besides its symbols.

    Raises:
        ConfigError: an unknown venue or option, a dataset that the venue does not have, or the extra is not installed.
        InvalidSymbol: the venue has no such instrument.

    Example:
        >>> plan_stream("kraken", StreamSettings(venue="kraken", symbols=("BTC-USD",))).subscriptions[0].venue_symbol
        'BTC/USD'
    """
    venue = build_venue(source, stream)
    wanted = subscriptions(venue, stream, [*stream.symbols, *discovered])
    connections = tuple(venue.connections(wanted)) if wanted else ()
    return PlannedStream(source, stream, venue, tuple(wanted), connections)


def plan_streams(collect: CollectSettings) -> list[PlannedStream]:
    """What all streams of gb.yaml take, contracts of a `series` left out.

    Raises:
        ConfigError, InvalidSymbol: as `plan_stream`; or nothing is to be heard.
    """
    if not collect.streams:
        raise ConfigError(
            "gb.yaml names nothing to hear",
            fix="write below `collect: streams:` a name, its venue and symbols; docs/collecting.md has an example",
        )
    return [plan_stream(source, stream) for source, stream in collect.streams.items()]


def find_credentials(stream: PlannedStream) -> dict[str, bool]:
    """The credentials of a stream by name, and whether each is set; those that its venue cannot do without are among them."""
    given = {name: bool(item.get_secret_value()) for name, item in credentials(stream.settings.options)}
    return dict.fromkeys(stream.venue.credentials, False) | given
