"""This module holds what vendors with a REST interface share: credentials, pace, connections and their lifetime.

A vendor extends `RestProvider` and adds which requests make up a window and what the answers mean. Requests are sent by
`http.client` and repeated by `http.transport`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import Body, Provider
from gb_pipeline.providers.http.client import HttpClient, loopback
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.responses import read_json
from gb_pipeline.providers.http.transport import Transport

# A credential, or what gives it.
Secret = str | Callable[[], str]


class RestArguments(TypedDict, total=False):
    """Keywords that every REST provider is built with; see `RestProvider`."""

    base_url: str | None
    policy: Policy
    vendor_symbols: Mapping[str, str]


class RestProvider(Provider):
    """A vendor with a REST interface.

    An instance serves any number of symbols at once, within one event loop; close it with `aclose`.

    Args:
        secrets: one per name in `credentials`, in that order; or what gives it: plans are made and kept responses are read
            without any, so it is only missed by a request.
        base_url: `http://127.0.0.1:PORT` of a simulated vendor, to which every request then goes; the real one by default.
        policy: patience and pace; the vendor's documented pace and quota where it sets none, and no pace on loopback.
        vendor_symbols: canonical code to the vendor's spelling, where it cannot be derived.

    Attributes:
        who: the vendor in messages, such as `Alpha Vantage`.
        rate: the documented pace of a free plan; None sets none.
        options: names of further options in gb.yaml, besides `credentials` and `base_url`.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> class Acme(RestProvider):
        ...     name, who, normaliser = "acme", "Acme", "acme/1"
        ...     credentials, rate = ("key",), RateLimit(calls=5, seconds=60)
        ...
        ...     def headers(self):
        ...         return {"Authorization": f"Bearer {self.secret('key')}"}
    """

    who: ClassVar[str]
    rate: ClassVar[RateLimit | None] = None
    options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *secrets: Secret,
        base_url: str | None = None,
        policy: Policy | None = None,
        vendor_symbols: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is opened before the first request."""
        self._secrets = dict(zip(self.credentials, secrets, strict=True))
        self.base_url = loopback(base_url) if base_url else None
        self._policy = (policy or Policy()).with_defaults(rate=None if base_url else self.rate, quota=self.quota)
        self.vendor_symbols = dict(vendor_symbols or {})
        self._transport: Transport | None = None
        self._http: HttpClient | None = None
        self._listed: set[str] = set()
        self._looking_up = asyncio.Lock()

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """Build it from gb.yaml: `options` holds the `credentials`, and optionally `base_url`.

        Raises:
            ConfigError: an unknown option; a missing credential is an error of the first request.
        """
        return cls(*cls.secrets_of(source), **cls.arguments_of(source, state_dir))

    @classmethod
    def secrets_of(cls, source: SourceSettings) -> tuple[Secret, ...]:
        """What gives each credential of a source, when a request needs it."""
        return tuple(partial(source.credential, name) for name in cls.credentials)

    @classmethod
    def arguments_of(cls, source: SourceSettings, state_dir: Path | None) -> RestArguments:
        """What a source says about every REST provider, for a `from_settings` that adds to it.

        Raises:
            ConfigError: an unknown option.
        """
        source.only_options(*cls.credentials, "base_url", *cls.options)
        return RestArguments(
            base_url=source.option("base_url"),
            policy=Policy.of(source, rate=None, state_dir=state_dir),
            vendor_symbols=source.vendor_symbols,
        )

    # --- what a vendor may override -----------------------------------------------------------------------------------

    def headers(self) -> Mapping[str, str]:
        """Sent with every request; the place for credentials, unless they are parameters."""
        return {}

    def derived_spelling(self, symbol: Symbol) -> str:
        """The vendor's spelling of a symbol, where the source gives none."""
        return symbol.code

    async def look_up(self, name: str) -> None:
        """Whether the vendor lists an instrument, for vendors whose answer to an unknown one is an empty list of bars.

        Raises:
            UnknownSymbol: it does not.
        """

    # --- what a vendor uses -------------------------------------------------------------------------------------------

    @property
    def policy(self) -> Policy:
        """Patience and pace that hold."""
        return self._policy

    def secret(self, name: str) -> str:
        """A credential.

        Raises:
            ConfigError: it is missing.
        """
        secret = self._secrets[name]
        return secret if isinstance(secret, str) else secret()

    @property
    def transport(self) -> Transport:
        """The way to the vendor, with its pace, patience and counts.

        Raises:
            ConfigError: a credential is missing: all who use one share its pace.
        """
        if self._transport is None:
            parts = [self.name] if self.base_url is None else [self.name, "simulated"]
            if self.credentials:
                # The first credential says whose account it is; itself it is nobody's file name.
                parts.append(hashlib.sha256(self.secret(self.credentials[0]).encode()).hexdigest()[:12])
            self._transport = Transport("-".join(parts), self._policy)
        return self._transport

    @property
    def http(self) -> HttpClient:
        """The client of all requests, with `headers`; no error and no log of it shows a credential.

        Raises:
            ConfigError: a credential is missing.
        """
        if self._http is None:
            secrets = [self.secret(name) for name in self.credentials]
            self._http = HttpClient(
                self.who, self.transport, base_url=self.base_url, headers=self.headers(), secrets=secrets
            )
        return self._http

    def spelling(self, symbol: Symbol) -> str:
        """The vendor's spelling of a symbol."""
        return self.vendor_symbols.get(symbol.code) or self.derived_spelling(symbol)

    def read_body(self, body: Body) -> Any:
        """A body that was received before, parsed as `HttpClient.get_json` parses it.

        Raises:
            TransientVendorError: it is no JSON object or list.
        """
        return read_json(self.who, 200, "", body.decode("utf-8", errors="replace"))

    def require_supported(self, symbol: Symbol, resolution: Resolution) -> None:
        """Refuse bars that the vendor does not have.

        Raises:
            PermanentVendorError: it has none of this symbol and resolution.
        """
        if not self.supports(symbol, resolution):
            raise PermanentVendorError(
                f"{self.who} has no bars of {resolution} of {symbol}",
                fix="use another resolution; longer bars can be made of shorter ones",
            )

    def require_equity(self, symbol: Symbol) -> None:
        """Refuse a question for corporate actions of something else than a share.

        Raises:
            PermanentVendorError: the symbol is none.
        """
        if symbol.asset_class is not AssetClass.EQUITY:
            raise PermanentVendorError(f"{self.who} has no corporate actions of {symbol}", fix="only shares have them")

    async def require_listed(self, name: str) -> None:
        """Tell an instrument without trades from one that does not exist: `look_up` each once.

        Raises:
            UnknownSymbol: the vendor does not list it.
        """
        async with self._looking_up:
            if name not in self._listed:
                await self.look_up(name)
                self._listed.add(name)

    def quota_left(self) -> int | None:
        """Calls that the vendor's day still has, for all processes; None where there is no quota.

        Raises:
            ConfigError: a credential is missing, or the shared state cannot be used.
        """
        return None if self._policy.quota is None else self.transport.quota_left()

    async def aclose(self) -> None:
        """Close connections and the shared state. The provider can not be used afterwards."""
        if self._http is not None:
            await self._http.aclose()
        if self._transport is not None:
            self._transport.close()
