"""This module knows which providers there are, and builds one from gb.yaml; what a provider does with its settings is its own.

Other packages add theirs under the entry-point group `gb_pipeline.providers`: a name and a class that extends `Provider`, mostly
by way of `RestProvider`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from gb_pipeline.config.settings import DailyQuota, SourceSettings
from gb_pipeline.config.suggestions import suggest
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.base import (
    ActionsProvider,
    FundamentalsProvider,
    InstrumentsProvider,
    ListingsProvider,
    Provider,
    SymbolHistoryProvider,
)

GROUP = "gb_pipeline.providers"
# Imported when asked for: a vendor's library takes up to half a second.
_BUILT_IN = {
    "alpaca": "gb_pipeline.providers.alpaca.provider:AlpacaProvider",
    "alpha_vantage": "gb_pipeline.providers.alpha_vantage.provider:AlphaVantageProvider",
    "ccxt": "gb_pipeline.providers.ccxt.provider:CcxtProvider",
    "csv": "gb_pipeline.providers.csv.provider:CsvProvider",
    "massive": "gb_pipeline.providers.massive.provider:MassiveProvider",
    "yahoo": "gb_pipeline.providers.yahoo.provider:YahooProvider",
}


def provider_names() -> tuple[str, ...]:
    """All names that gb.yaml can use as `provider`, sorted."""
    return tuple(sorted({*_BUILT_IN, *_added_by_packages()}))


def build_provider(source: SourceSettings, *, state_dir: Path | None = None) -> Provider:
    """The provider of one source.

    Args:
        source: its `provider` names the class, everything else is passed on to it.
        state_dir: folder of what all processes on this machine share, such as the pace of requests; without it the pace
            holds in this process only.

    Raises:
        ConfigError: there is no such provider, it cannot be imported, or it refuses the settings.
    """
    return _provider_class(source).from_settings(source, state_dir=state_dir)


def find_problem(source: SourceSettings) -> ConfigError | None:
    """Why nothing can be asked of a source's provider: there is none of that name, or it cannot be imported. Nothing is built."""
    try:
        _provider_class(source)
    except ConfigError as error:
        return error
    return None


def missing_credentials(source: SourceSettings) -> tuple[ConfigError, ...]:
    """What is missing before a request can be sent: credentials that gb.yaml names, or that the provider cannot do without.

    Building a provider does not need them: plans are made and kept responses are read without a key.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    errors = []
    for option in dict.fromkeys((*source.variables, *_provider_class(source).credentials)):
        try:
            source.credential(option)
        except ConfigError as error:
            errors.append(error)
    return tuple(errors)


def has_actions(source: SourceSettings) -> bool:
    """Whether a source's vendor knows corporate actions of its instruments: only shares have them. Nothing is built.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    equities = any(symbol.asset_class is AssetClass.EQUITY for symbol in source.instruments)
    provider_class = _provider_class(source)
    return equities and issubclass(provider_class, ActionsProvider)


def has_fundamentals(source: SourceSettings) -> bool:
    """Whether a source asks its vendor about companies: it knows them, and the source wants some statements. Nothing is built.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    equities = any(symbol.asset_class is AssetClass.EQUITY for symbol in source.instruments)
    wanted = bool(source.fundamentals.statements)
    return wanted and equities and issubclass(_provider_class(source), FundamentalsProvider)


def has_listings(source: SourceSettings) -> bool:
    """Whether a source's vendor tells everything that is and was listed. Nothing is built.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    return issubclass(_provider_class(source), ListingsProvider)


def has_instruments(source: SourceSettings) -> bool:
    """Whether a source's vendor can be asked about instruments. Nothing is built.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    return issubclass(_provider_class(source), SymbolHistoryProvider | InstrumentsProvider)


def daily_quota(source: SourceSettings) -> DailyQuota | None:
    """The quota that holds for a source: its own, else the vendor's documented one; None where there is none.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    return source.daily_quota or _provider_class(source).quota


def _provider_class(source: SourceSettings) -> type[Provider]:
    if source.provider in _BUILT_IN:
        return _built_in(source.provider)
    # Looked for only now: reading the entry points of everything that is installed takes a tenth of a second.
    added = _added_by_packages()
    if source.provider in added:
        return _load(added[source.provider])
    raise ConfigError(
        f"source {source.name}: there is no provider {source.provider!r}",
        fix=suggest(source.provider, provider_names(), "use one of"),
    )


def _built_in(provider: str) -> type[Provider]:
    module, _, name = _BUILT_IN[provider].partition(":")
    try:
        return cast("type[Provider]", vars(import_module(module))[name])
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"provider {provider!r} needs the package {error.name}, which is not installed",
            fix=f"install it: uv pip install {error.name}",
        ) from error
    # A package that is there in part, or in a version that does not fit, is no reason for the other sources to fail.
    except Exception as error:
        raise ConfigError(
            f"provider {provider!r} cannot be imported: {error}", fix="install gb_pipeline again"
        ) from error


def _added_by_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> type[Provider]:
    try:
        loaded: Any = point.load()
    # Whatever somebody else's module raises while it is imported is the finding.
    except Exception as error:
        raise ConfigError(
            f"provider {point.name} ({point.value}) cannot be imported: {error}", fix="install it again"
        ) from error
    # `issubclass` cannot tell: a protocol with attributes refuses it.
    if not isinstance(loaded, type) or Provider not in loaded.__mro__:
        raise ConfigError(
            f"provider {point.name} ({point.value}) does not extend gb_pipeline.providers.Provider",
            fix="its author must derive it from that, or from RestProvider",
        )
    provider_class = cast("type[Provider]", loaded)
    if missing := sorted(provider_class.__abstractmethods__):
        raise ConfigError(
            f"provider {point.name} ({point.value}) has no {', '.join(missing)}",
            fix="its author must add what is missing",
        )
    return provider_class
