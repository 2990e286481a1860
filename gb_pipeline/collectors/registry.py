"""This module knows which venues there are; other packages add theirs under the entry-point group `gb_pipeline.venues`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gb_pipeline.collectors.venue import Venue
from gb_pipeline.config.suggestions import suggest
from gb_pipeline.errors import ConfigError

GROUP = "gb_pipeline.venues"
# Imported when asked for.
_BUILT_IN = {
    "alpaca": "gb_pipeline.collectors.venues.alpaca:Alpaca",
    "binance": "gb_pipeline.collectors.venues.binance:Binance",
    "ccxt_pro": "gb_pipeline.collectors.venues.ccxt_pro:CcxtPro",
    "coinbase": "gb_pipeline.collectors.venues.coinbase:Coinbase",
    "coinbase_exchange": "gb_pipeline.collectors.venues.coinbase:CoinbaseExchange",
    "kalshi": "gb_pipeline.collectors.venues.kalshi:Kalshi",
    "kraken": "gb_pipeline.collectors.venues.kraken:Kraken",
    "kraken_v1": "gb_pipeline.collectors.venues.kraken:KrakenV1",
    "massive": "gb_pipeline.collectors.venues.massive:Massive",
}


def venue_names() -> tuple[str, ...]:
    """All names that gb.yaml can use as `venue`, sorted."""
    return tuple(sorted({*_BUILT_IN, *_added_by_packages()}))


def venue_class(name: str) -> type[Venue]:
    """The class of a venue.

    Raises:
        ConfigError: there is no such venue, or it cannot be imported.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return _checked(name, getattr(import_module(module), attribute))
    # Looked for only now: reading the entry points of everything that is installed takes a tenth of a second.
    if (point := _added_by_packages().get(name)) is not None:
        try:
            return _checked(name, point.load())
        except ImportError as error:
            raise ConfigError(
                f"venue {name} of package {point.dist.name if point.dist else '?'} cannot be imported: {error}",
                fix="install what it needs, or remove the package",
            ) from error
    raise ConfigError(f"there is no venue {name!r}", fix=suggest(name, venue_names(), "use one of"))


def _checked(name: str, found: Any) -> type[Venue]:
    if not (isinstance(found, type) and issubclass(found, Venue)):
        raise ConfigError(
            f"venue {name} is {found!r}, not a class of venues", fix="extend gb_pipeline.collectors.Venue"
        )
    return found


def _added_by_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
