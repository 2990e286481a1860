"""This module makes ccxt's clients strict: exact numbers, no silent emptiness, typed errors, raw candles, loopback.

Windows, pages and frames are in `provider` and `pages`.

ccxt returns an empty list for HTML or half a JSON document with status 200, drops candles whose time it cannot read, knows
Retry-After only in a slot that concurrent requests share, and turns numbers into floats. None of that passes here.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from gb_pipeline.errors import (
    ConfigError,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
    VendorUnreachable,
)
from gb_pipeline.providers.ccxt.quirks import QUIRKS
from gb_pipeline.providers.ccxt.session import strict_session
from gb_pipeline.providers.http.client import loopback
from gb_pipeline.providers.http.redaction import scrub
from gb_pipeline.providers.http.responses import broken_body, read_json, retry_after, status_error
from gb_pipeline.providers.http.transport import Transport

# The parsed body and its text, of the last answer in this context: ccxt's own slots are shared by all requests.
_LAST: contextvars.ContextVar[tuple[Any, str]] = contextvars.ContextVar("last_answer", default=(None, ""))
# Who counts the bytes of the request that this context is waiting for.
_RECEIVED: contextvars.ContextVar[Callable[[int], None]] = contextvars.ContextVar("received")


def build_client(exchange: str, transport: Transport, *, base_url: str | None = None) -> Any:
    """A strict client of one exchange.

    Where the exchange's candle layout is known, `fetch_ohlcv` returns nothing: `last_answer` holds all that is needed.

    Args:
        exchange: a name of `ccxt.exchanges`.
        transport: paces and counts every request.
        base_url: a simulated exchange on loopback, to which every URL is rewritten; anything else is then refused.

    Raises:
        ConfigError: ccxt has no such exchange, or the URL is not on loopback.
    """
    import ccxt.async_support as library

    base = None if base_url is None else loopback(base_url)
    if exchange not in library.exchanges:
        near = get_close_matches(exchange, library.exchanges, 5, 0.5)
        raise ConfigError(
            f"ccxt has no exchange {exchange!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "the list is in ccxt's manual, and in `ccxt.exchanges`",
        )
    quirks = QUIRKS.get(exchange)
    strict = _strict(library, transport, base, raw=quirks is not None and quirks.layout is not None)
    client = type(exchange, (strict, getattr(library, exchange)), {})(
        {
            # Our own pace holds across processes, ccxt's in one instance.
            "enableRateLimit": False,
            "timeout": round(transport.policy.timeout * 1000),
            # Networks and fees of currencies: a second request that only tells what nobody asks.
            "has": {"fetchCurrencies": False},
            "aiohttp_trust_env": base is None,
            **(quirks.config if quirks is not None else {}),
        }
    )
    if base is not None:
        client.urls["api"] = _reroute(client.urls["api"], base)
        # ccxt waits for TLS to shut down; there is none.
        client.timeout_on_exit = 0
    return client


def silent_client(exchange: str) -> Any:
    """A client that sends nothing: whatever it would ask for, the text in its `answer` is what it gets.

    It reads candles as ccxt does, digit by digit; it knows the markets that are put into `markets` and `markets_by_id`.

    Args:
        exchange: a name of `ccxt.exchanges`.
    """
    import ccxt.async_support as library

    class Silent:
        id: str
        answer = ""

        async def load_markets(self, *_rest: Any, **_named: Any) -> Any:
            return self.markets  # type: ignore[attr-defined]

        async def fetch(self, *_rest: Any, **_named: Any) -> Any:
            return read_json(self.id, 200, "", self.answer)

        def parse_ohlcvs(self, ohlcvs: Any, market: Any = None, *_rest: Any, **_named: Any) -> list[Any]:
            return _parse_all(self, ohlcvs, market)

    client = type(exchange, (Silent, getattr(library, exchange)), {})({"enableRateLimit": False})
    client.number = str
    return client


def last_answer() -> tuple[Any, str]:
    """The parsed body and the text of this context's last good answer; None and "" before the first."""
    return _LAST.get()


@contextlib.contextmanager
def typed_errors(who: str) -> Iterator[None]:
    """Turn what ccxt raises by itself, before a request or while it reads an answer, into errors of ours.

    Raises:
        VendorError: one of its kinds.
    """
    import ccxt

    try:
        yield
    except ccxt.BaseError as error:
        raise _typed_error(ccxt, who, error, None) from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise TransientVendorError(
            f"{who} answered something that ccxt cannot read: {type(error).__name__}: {error}",
            fix="the same call may succeed later; if it does not, the vendor changed its protocol: update ccxt",
        ) from error


def _reroute(node: Any, base: str) -> Any:
    # The real host becomes the first path segment.
    if isinstance(node, dict):
        return {key: _reroute(value, base) for key, value in node.items()}
    if isinstance(node, str):
        return re.sub(r"^(?:http|ws)s?://", base + "/", node)
    return node


def _strict(library: Any, transport: Transport, base: str | None, *, raw: bool) -> type:
    class Strict:
        id: str
        _session: Any = None

        def open(self, lazy: bool = False) -> None:
            super().open(lazy)  # type: ignore[misc]
            session = self.session  # type: ignore[has-type]
            if session is not None and session is not self._session:
                # ccxt's own session takes answers of any size, and follows redirects to anywhere.
                session.detach()
                self.session = self._session = strict_session(
                    self.tcp_connector,  # type: ignore[attr-defined]
                    trust_env=base is None,
                    here_only=base is not None,
                )

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            if base is not None and not url.startswith(base + "/"):
                raise PermanentVendorError(
                    f"{self.id} would leave loopback for {urlsplit(url).hostname}",
                    fix="remove base_url to ask the real one",
                )
            await transport.admit()
            with transport.request() as received:
                token = _RECEIVED.set(received)
                try:
                    return await super().fetch(url, method, headers, body)  # type: ignore[misc]
                except library.BaseError as error:
                    raise _connection_error(url, base, error.__cause__ or error, transport.policy.timeout) from None
                except OSError as error:
                    raise _connection_error(url, base, error, transport.policy.timeout) from None
                finally:
                    _RECEIVED.reset(token)

        def on_rest_response(self, *answer: Any) -> str:
            body: str = answer[5]
            _RECEIVED.get()(len(body) if body.isascii() else len(body.encode()))
            return body

        def parse_json(self, http_response: str) -> Any:
            try:
                return read_json(self.id, 200, "", http_response)
            except TransientVendorError:
                # `handle_errors` comes next and knows the status.
                return None

        def handle_errors(
            self, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any, *rest: Any
        ) -> None:
            lower = {name.lower(): value for name, value in headers.items()}
            wait = lower.get("retry-after")
            # 400 and 404 carry the vendor's own codes, such as an unknown symbol; what these statuses say is certain.
            if code in {401, 403, 408, 418, 425, 429, 451} or code >= 500 or (code >= 400 and response is None):
                raise status_error(self.id, code, body, wait=wait)
            if response is None:
                raise broken_body(self.id, code, lower.get("content-type", ""), body)
            try:
                super().handle_errors(code, reason, url, method, headers, body, response, *rest)  # type: ignore[misc]
            except library.BaseError as error:
                raise _typed_error(library, self.id, error, wait) from None
            if code >= 400:
                raise status_error(self.id, code, body, wait=wait)
            _LAST.set((response, body))

        def parse_ohlcvs(self, ohlcvs: Any, market: Any = None, *_rest: Any, **_named: Any) -> list[Any]:
            return [] if raw else _parse_all(self, ohlcvs, market)

    return Strict


def _parse_all(client: Any, ohlcvs: Any, market: Any) -> list[Any]:
    # ccxt would sort, cut and drop here; what the vendor said is ours to validate.
    return [client.parse_ohlcv(row, market) for row in ohlcvs] if isinstance(ohlcvs, list | tuple) else []


def _connection_error(url: str, base: str | None, cause: BaseException, timeout: float) -> TransientVendorError:
    import aiohttp

    parts = urlsplit(url)
    who = parts.netloc if base is None else f"{parts.netloc} (in place of {parts.path.split('/')[1]})"
    fix = "check the network, and the vendor's status page; the same call may succeed later"
    if isinstance(cause, TimeoutError):
        return TransientVendorError(
            f"{who} did not answer within {timeout:g} s", fix="raise `timeout_seconds`, or wait"
        )
    if isinstance(cause, aiohttp.ClientPayloadError):
        return TransientVendorError(f"{who} broke off in the middle of its answer", fix=fix)
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return TransientVendorError(f"{who} closed the connection without an answer", fix=fix)
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return TransientVendorError(
            f"the certificate of {who} is not trusted: {scrub(str(cause.certificate_error))}",
            fix="somebody may listen in; check the machine's clock, its certificates and any proxy",
        )
    inner = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    reason = (inner.strerror if isinstance(inner, OSError) else None) or str(inner) or type(inner).__name__
    kind = VendorUnreachable if isinstance(cause, aiohttp.ClientConnectorError) else TransientVendorError
    return kind(f"{who} cannot be reached: {scrub(reason)}", fix=fix)


def _typed_error(library: Any, who: str, error: Exception, wait: str | None) -> VendorError:
    what = scrub(" ".join(str(error).split()))[:300]
    what = what if what.startswith(who) else f"{who}: {what}"
    if isinstance(error, library.RateLimitExceeded | library.DDoSProtection):
        return RateLimited(what, retry_after=retry_after(wait), fix="lower `rate_limit` of the source, or wait")
    if isinstance(error, library.OperationFailed):
        return TransientVendorError(what, fix="the same call may succeed later")
    if isinstance(error, library.BadSymbol):
        return UnknownSymbol(what, fix="check the symbol in gb.yaml")
    if isinstance(error, library.AuthenticationError):
        return NotEntitled(what, fix="check the key and what its plan covers")
    return PermanentVendorError(what, fix="the vendor refuses this request; do not retry")
