"""This module requests from Yahoo through yfinance's cookies, crumbs and TLS fingerprint, and through nothing else of it.

Its session goes only to Yahoo (or to loopback), at our pace, within one time limit and a bearable size. What is requested is
decided by `provider`, and what an answer says is read by `chart`.

What yfinance 1.7 does and this module does not let it do: it remembers failed answers in an `lru_cache` (only `get` is
used, which has none); it shares one session and one cookie among everybody in the process (each client has its own); it keeps
cookies in the user's cache folder (nothing is kept there); it loses Retry-After; it asks again with other cookies whatever the
error was, for all who share them (only where cookies were refused); its time limit holds for each of up to eight requests.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from gb_pipeline.errors import (
    GbError,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
    VendorUnreachable,
)
from gb_pipeline.providers.http.client import MOST_BYTES, Reply, loopback
from gb_pipeline.providers.http.redaction import scrub
from gb_pipeline.providers.http.responses import retry_after, status_error
from gb_pipeline.providers.http.transport import Transport
from gb_pipeline.providers.yahoo.errors import WHO, refusal

# One waits for its turn, one for the network: more threads than symbols at once are of no use.
_THREADS = 16
_MOST_REDIRECTS = 5
# Charts do without a cookie mostly. Where none can be had, Yahoo is not asked for one at every chart.
_BARE_SECONDS = 300.0
_CRUMB = "/v1/test/getcrumb"
_LONGEST_CRUMB = 64
# Refused cookies, where Yahoo itself says so: the one case for which yfinance's other way to a cookie is the remedy.
_COOKIE_REFUSED = frozenset({401, 403})
# Of curl: no proxy, no address, no connection.
_NO_CONNECTION = frozenset({5, 6, 7})
_NETWORK = "check the network, and Yahoo's status; the same call may succeed later"


@dataclass(slots=True)
class _Call:
    """One question with all the requests that it takes.

    Attributes:
        url: what is asked; other requests are for cookies.
        loop: where the shared pace lives.
        left: what remains of its seconds.
        limit: seconds that it had.
        tries: requests for the url so far.
        given_up: nobody waits for the answer any more.
    """

    url: str
    loop: asyncio.AbstractEventLoop
    left: float
    limit: float
    tries: int = 0
    given_up: bool = False


_CALL: contextvars.ContextVar[_Call] = contextvars.ContextVar("yahoo_call")


class YahooClient:
    """GET requests to Yahoo, from any number of tasks at once; in threads, as yfinance knows no other way.

    Args:
        transport: pace, patience and counts of every request, those for cookies included.
        base_url: a simulated Yahoo on loopback, to which every request then goes.
        default_wait: seconds to wait after a 429 that does not say how long; None leaves it to the transport.

    Raises:
        ConfigError: base_url is not on loopback.
    """

    def __init__(self, transport: Transport, *, base_url: str | None = None, default_wait: float | None = None) -> None:
        """Nothing is opened and yfinance is not imported before the first request."""
        self._transport = transport
        self._base = loopback(base_url) if base_url else None
        self._default_wait = default_wait
        self._data: Any = None
        self._building = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="yahoo")
        self._closed = False

    async def get(self, url: str, params: Mapping[str, str]) -> Reply:
        """One question, not repeated: `Transport.call` repeats.

        Args:
            url: `https://query2.finance.yahoo.com/...`.
            params: the query.

        Returns:
            An answer with a status below 300; its body may still be a page of consent, or nonsense.

        Raises:
            TransientVendorError: no connection, no trusted certificate, silence, half an answer, a redirect to somebody
                else, refused cookies, or a status that may pass.
            UnknownSymbol, HistoryNotAvailable, NotEntitled, PermanentVendorError: what Yahoo refuses for good.
        """
        limit = self._transport.policy.timeout
        call = _Call(url, asyncio.get_running_loop(), limit, limit)
        # The transport finds the tally of this fetch in the context.
        context = contextvars.copy_context()
        if self._closed:
            raise _closed_error()
        try:
            return await call.loop.run_in_executor(self._threads, context.run, self._request, call, dict(params))
        except asyncio.CancelledError:
            call.given_up = True
            raise

    async def aclose(self) -> None:
        """End it; requests under way are not waited for."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._data is not None:
            self._data._session.close()

    # --- in a thread --------------------------------------------------------------------------------------------------

    def _request(self, call: _Call, params: dict[str, str]) -> Reply:
        _CALL.set(call)
        data = self._yfinance()
        from yfinance.exceptions import YFException

        try:
            response = data.get(call.url, params=params, timeout=call.limit)
        except GbError:
            raise
        except (YFException, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            # Its way to a cookie reads web pages.
            raise TransientVendorError(
                f"yfinance could not ask {WHO}: {type(error).__name__}: {scrub(str(error))[:200]}", fix=_NETWORK
            ) from None
        return Reply(
            response.status_code, response.headers.get("content-type", ""), response.headers, bytes(response.content)
        )

    def _yfinance(self) -> Any:
        with self._building:
            if self._data is None:
                self._data = _private_data(_session(self))
            return self._data

    def _admit(self, call: _Call) -> None:
        """Wait for one request's turn, on the event loop that the shared pace lives in."""
        if self._closed or call.given_up:
            raise _closed_error()
        turn = self._transport.admit()
        try:
            waiting = asyncio.run_coroutine_threadsafe(turn, call.loop)
        except RuntimeError:
            turn.close()
            raise _closed_error() from None
        while not waiting.done():
            # A loop that ends just now takes the question and never answers it.
            wait([waiting], timeout=1.0)
            if call.loop.is_closed():
                raise _closed_error()
        try:
            waiting.result()
        except CancelledError:
            raise _closed_error() from None

    def _address(self, url: str) -> str:
        """Where a URL of Yahoo's is asked for; nothing else is ever asked for."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "https" or not (host == "yahoo.com" or host.endswith(".yahoo.com")):
            raise TransientVendorError(
                f"{WHO} redirects to {scrub(url)}",
                fix="other hosts are not followed; a proxy or a login page of the network may be in between",
            )
        return url if self._base is None else f"{self._base}/{url.removeprefix('https://')}"

    def _with_default_wait(self, error: VendorError) -> VendorError:
        if isinstance(error, RateLimited) and error.retry_after is None:
            error.retry_after = self._default_wait
        return error

    def _validate(self, call: _Call, response: Any, wanted: str) -> Any:
        """The answer as yfinance may see it, or an error of ours."""
        status, path = response.status_code, urlsplit(wanted).path
        if path == _CRUMB:
            crumb = response.text
            if status >= 400 or not 0 < len(crumb) <= _LONGEST_CRUMB or set(crumb) & set("<>{} \n"):
                # yfinance would take the text of any error for the crumb, "Too Many Requests" too, and send it from then on.
                raise OSError(f"no crumb: HTTP {status}")
        if wanted != call.url:
            return response
        call.tries += 1
        refused = refusal(status, response.text) if status >= 400 else None
        if status < 400 or (status in _COOKIE_REFUSED and refused is not None and call.tries == 1):
            return response
        header = response.headers.get("retry-after")
        if isinstance(refused, RateLimited):
            refused.retry_after = retry_after(header)
        raise self._with_default_wait(refused or status_error(WHO, status, response.text, wait=header))

    def _connection_error(self, url: str, error: Exception, limit: float) -> TransientVendorError:
        from curl_cffi.requests import exceptions as curl

        host = urlsplit(url).hostname
        place = host if self._base is None else f"{urlsplit(self._base).netloc} (in place of {host})"
        reason = scrub(str(error))[:200]
        if isinstance(error, curl.Timeout):
            return TransientVendorError(
                f"{place} did not answer within {limit:g} s", fix="raise `timeout_seconds`, or wait"
            )
        if isinstance(error, curl.SSLError):
            return TransientVendorError(
                f"the certificate of {place} is not trusted: {reason}",
                fix="somebody may listen in; check the machine's clock, its certificates and any proxy",
            )
        if isinstance(error, curl.IncompleteRead | curl.ContentDecodingError | curl.ChunkedEncodingError):
            return TransientVendorError(f"{place} broke off before its answer was whole: {reason}", fix=_NETWORK)
        unreachable = isinstance(error, curl.RequestException) and error.code in _NO_CONNECTION
        kind = VendorUnreachable if unreachable else TransientVendorError
        return kind(f"{place} cannot be reached: {reason}", fix=_NETWORK)


def _closed_error() -> PermanentVendorError:
    return PermanentVendorError(f"the provider of {WHO} is closed", fix="build a new one")


def _private_data(session: Any) -> Any:
    """yfinance's way to Yahoo, but of this client alone and without a trace on the disk."""
    from yfinance.data import YfData

    class PrivateData(YfData):  # type: ignore[misc]
        bare_until = 0.0

        def _save_cookie_curlCffi(self) -> bool:
            return False

        def _load_cookie_curlCffi(self) -> bool:
            return False

        def _get_cookie_basic(self, timeout: float = 30) -> bool:
            # It only knows that it has a cookie where it read one from the disk, and fetches another for every chart.
            if super()._get_cookie_basic(timeout):
                self._cookie = True
            return self._cookie is not None

        def _set_cookie_strategy(self, strategy: str, have_lock: bool = False) -> None:
            # Cookies were refused, or could not be had this way: the other way is worth its requests.
            self.bare_until = 0.0
            super()._set_cookie_strategy(strategy, have_lock)

        def _get_cookie_and_crumb(self, timeout: float = 30) -> tuple[str | None, str]:
            if time.monotonic() < self.bare_until:
                return None, self._cookie_strategy
            try:
                crumb, strategy = super()._get_cookie_and_crumb(timeout)
            except OSError:
                self.bare_until = time.monotonic() + _BARE_SECONDS
                raise
            if crumb is None:
                self.bare_until = time.monotonic() + _BARE_SECONDS
            return crumb, strategy

    # Its metaclass would hand out one instance to the whole process, and put this session under everybody else's feet.
    data = object.__new__(PrivateData)
    YfData.__init__(data, session=session)
    return data


def _session(client: YahooClient) -> Any:
    """A curl_cffi session, which yfinance asks through."""
    from curl_cffi import CurlOpt
    from curl_cffi import requests as curl
    from curl_cffi.curl import CURL_WRITEFUNC_ERROR

    class Session(curl.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, **named: Any) -> Any:
            call = _CALL.get()
            wanted = url
            named.pop("timeout", None)
            named.pop("allow_redirects", None)
            for _ in range(_MOST_REDIRECTS):
                response = self._once(call, method, url, named)
                place = response.headers.get("location")
                if not (300 <= response.status_code < 400 and place):
                    return client._validate(call, response, wanted)
                url = urljoin(url, place)
                method = "GET" if response.status_code in {301, 302, 303} else method
                # The query is part of the place; what was posted is not posted to somebody else.
                named = {"headers": named.get("headers")}
            raise TransientVendorError(f"{WHO} redirects in circles", fix=_NETWORK)

        def _once(self, call: _Call, method: Any, url: str, named: dict[str, Any]) -> Any:
            address = client._address(url)
            client._admit(call)
            # A cookie is a help: it never costs the chart its time.
            limit = call.left if url == call.url else min(call.left, call.limit / 4)
            if limit <= 0:
                raise client._connection_error(url, curl.exceptions.Timeout("no time left"), call.limit)
            chunks: list[bytes] = []
            sizes: list[int] = []

            def take(chunk: bytes) -> int:
                sizes.append(len(chunk))
                if sum(sizes) > MOST_BYTES:
                    return int(CURL_WRITEFUNC_ERROR)
                chunks.append(chunk)
                return len(chunk)

            begun = time.monotonic()
            try:
                with client._transport.request() as received:
                    response = super().request(
                        method, address, timeout=limit, allow_redirects=False, content_callback=take, **named
                    )
                    received(sum(sizes))
            except curl.exceptions.RequestException as error:
                if sum(sizes) > MOST_BYTES:
                    raise PermanentVendorError(
                        f"{WHO} answered more than {MOST_BYTES // 2**20} MB and was cut off",
                        fix="ask for a shorter window; if it happens again, the vendor is broken",
                    ) from None
                if url == call.url:
                    raise client._connection_error(url, error, call.limit) from None
                # yfinance can do without this one.
                raise
            finally:
                call.left -= time.monotonic() - begun
            response.content = b"".join(chunks)
            # yfinance recognises a page of consent by its host.
            response.url = url
            return response

    # A proxy of the environment is for the real vendor, never for loopback.
    options = {} if client._base is None else {CurlOpt.NOPROXY: "*"}
    return Session(impersonate="chrome", trust_env=client._base is None, curl_options=options)
