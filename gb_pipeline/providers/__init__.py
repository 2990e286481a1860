"""This package talks to vendors, a folder each, behind one protocol (`base`) and over one HTTP layer (`rest`, `http`).

    >>> from gb_pipeline.providers import Fetched, Provider, RestProvider

Providers never write. The names of this module are what the author of a provider needs, and nothing else; they stay what they are
within a major version. Each is imported when it is first used. Errors, symbols, windows and settings are names of `gb_pipeline`
itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gb_pipeline.config.settings import DailyQuota, RateLimit
    from gb_pipeline.market.fundamental_schema import FUNDAMENTALS_RECEIVED, LISTINGS_RECEIVED, Statement
    from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED, RECEIVED_OPTIONAL, Adjustment
    from gb_pipeline.providers.base import (
        ActionsProvider,
        Body,
        Fetched,
        FundamentalsProvider,
        Instrument,
        InstrumentsProvider,
        ListingsProvider,
        Provider,
        SearchProvider,
        SymbolHistoryProvider,
    )
    from gb_pipeline.providers.http.client import HttpClient, Reply
    from gb_pipeline.providers.http.cursors import Cursors
    from gb_pipeline.providers.http.policy import Policy
    from gb_pipeline.providers.http.responses import broken_body, read_json
    from gb_pipeline.providers.http.transport import Tally, Transport
    from gb_pipeline.providers.registry import build_provider, provider_names
    from gb_pipeline.providers.rest import RestProvider

__all__ = [
    "ACTIONS_RECEIVED",
    "FUNDAMENTALS_RECEIVED",
    "LISTINGS_RECEIVED",
    "RECEIVED",
    "RECEIVED_OPTIONAL",
    "ActionsProvider",
    "Adjustment",
    "Body",
    "Cursors",
    "DailyQuota",
    "Fetched",
    "FundamentalsProvider",
    "HttpClient",
    "Instrument",
    "InstrumentsProvider",
    "ListingsProvider",
    "Policy",
    "Provider",
    "RateLimit",
    "Reply",
    "RestProvider",
    "SearchProvider",
    "Statement",
    "SymbolHistoryProvider",
    "Tally",
    "Transport",
    "broken_body",
    "build_provider",
    "provider_names",
    "read_json",
]

_HOMES = {
    "market.fundamental_schema": ("FUNDAMENTALS_RECEIVED", "LISTINGS_RECEIVED", "Statement"),
    "market.schema": ("ACTIONS_RECEIVED", "RECEIVED", "RECEIVED_OPTIONAL", "Adjustment"),
    "providers.http.cursors": ("Cursors",),
    "providers.http.client": ("HttpClient", "Reply"),
    "providers.registry": ("build_provider", "provider_names"),
    "providers.rest": ("RestProvider",),
    "providers.http.responses": ("broken_body", "read_json"),
    "providers.http.policy": ("Policy",),
    "providers.http.transport": ("Tally", "Transport"),
    "config.settings": ("DailyQuota", "RateLimit"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its home at first use; what has no home of its own is in `base`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"gb_pipeline.{_HOME_OF.get(name, 'providers.base')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
