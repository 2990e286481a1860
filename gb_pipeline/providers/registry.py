"""Which providers there are.

Belongs here: names, and building one from gb.yaml. Does not belong here: what a provider does with its settings.

Other packages add theirs under the entry-point group `gb_pipeline.providers`: a name and a class with
`from_settings(source, *, state_dir) -> Provider`, and, where it needs them, `credentials = ("key",)`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from gb_pipeline.config.settings import DailyQuota, SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.base import ActionsProvider, Provider

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
    return tuple(sorted({*_BUILT_IN, *_added()}))


def build_provider(source: SourceSettings, *, state_dir: Path | None = None) -> Provider:
    """The provider of one source.

    Args:
        source: its `provider` names the class, everything else is passed on to it.
        state_dir: folder of what all processes on this machine share, such as the pace of requests; without it the pace
            holds in this process only.

    Raises:
        ConfigError: there is no such provider, it cannot be imported, or it refuses the settings.
    """
    built: Provider = _kind(source).from_settings(source, state_dir=state_dir)
    return built


def missing_credentials(source: SourceSettings) -> tuple[ConfigError, ...]:
    """What is missing before a request can be sent: credentials that gb.yaml names, or that the provider cannot do without.

    A provider tells of them with `credentials`, names of options, on its class. Building one does not need them: plans are
    made and kept answers are read without a key.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    found = []
    for option in dict.fromkeys((*source.variables, *getattr(_kind(source), "credentials", ()))):
        try:
            source.credential(option)
        except ConfigError as error:
            found.append(error)
    return tuple(found)


def has_actions(source: SourceSettings) -> bool:
    """Whether a source's vendor knows corporate actions of its instruments: only shares have them. Nothing is built.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    shares = any(symbol.asset_class is AssetClass.EQUITY for symbol in source.instruments)
    kind = _kind(source)
    return shares and isinstance(kind, type) and issubclass(kind, ActionsProvider)


def daily_quota(source: SourceSettings) -> DailyQuota | None:
    """The quota that holds for a source: its own, else the vendor's documented one; None where there is none.

    A provider tells of it with `quota`, a `DailyQuota`, on its class.

    Raises:
        ConfigError: there is no such provider, or it cannot be imported.
    """
    own: DailyQuota | None = source.daily_quota or getattr(_kind(source), "quota", None)
    return own


def _kind(source: SourceSettings) -> Any:
    if source.provider in _BUILT_IN:
        return _built_in(source.provider)
    # Looked for only now: reading the entry points of everything that is installed takes a tenth of a second.
    added = _added()
    if source.provider in added:
        return _loaded(added[source.provider])
    raise ConfigError(
        f"source {source.name}: there is no provider {source.provider!r}",
        fix=f"use one of {', '.join(provider_names())}",
    )


def _built_in(provider: str) -> Any:
    module, _, name = _BUILT_IN[provider].partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"provider {provider!r} needs the package {error.name}, which is not installed",
            fix=f"install it: uv pip install {error.name}",
        ) from error


def _added() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: EntryPoint) -> Any:
    try:
        kind = point.load()
    # Whatever somebody else's module raises while it is imported is the finding.
    except Exception as error:
        raise ConfigError(
            f"provider {point.name} ({point.value}) cannot be imported: {error}", fix="install it again"
        ) from error
    if not hasattr(kind, "from_settings"):
        raise ConfigError(f"provider {point.name} ({point.value}) has no from_settings", fix="its author must add it")
    return kind
