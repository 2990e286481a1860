"""The connection to the server of a lake: requests, retries of what is safe, and tables as they stream in.

Questions change nothing and are asked again where a connection breaks, or the server is busy; an upload asks first how far it was.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa

from gb_pipeline.client.downloads import Download
from gb_pipeline.client.errors import may_succeed_later, to_error
from gb_pipeline.errors import ConfigError, GbError, ServerUnavailable

T = TypeVar("T")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TRIES = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
# What a server may not send for a refusal.
_MOST_REFUSAL = 1 << 16


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its document."""
        return json.loads(self.body)


class Transport:
    """One server. Safe to share between threads, each of which has a connection of its own.

    Args:
        url: `http://host:port` or `https://host`, with or without a path below which a proxy serves it.
        token: as `gb token create` printed it.
        timeout: seconds without a byte after which a connection counts as broken.
        allow_http: send a token without TLS also to other machines, where something else protects the way.

    Raises:
        ConfigError: the URL cannot be used, or a token would travel in the clear.
    """

    def __init__(self, url: str, token: str | None, timeout: float, *, allow_http: bool) -> None:
        """Nothing is connected."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(
                "this is no URL of a server", fix="pass http://127.0.0.1:8321 or https://lake.example.com"
            )
        if parts.username or parts.password:
            raise ConfigError("a URL holds no credentials", fix="pass the token as `token=`")
        if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
            raise ConfigError("this is no token", fix="pass the one that `gb token create` printed")
        secure = parts.scheme == "https"
        if token and not secure and not allow_http and parts.hostname not in _LOOPBACK:
            raise ConfigError(
                f"a token would travel to {parts.hostname} in the clear",
                fix="use https://, or allow_http=True on a network that nobody else is on",
            )
        try:
            self._host, self._port = parts.hostname, parts.port or (443 if secure else 80)
        except ValueError:
            raise ConfigError("this is no URL of a server: its port is no number", fix="correct the URL") from None
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._base, self._secure, self._timeout = parts.path.rstrip("/"), secure, timeout
        self._headers = {"user-agent": f"gb_pipeline/{version('gb_pipeline')}"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._kept = threading.local()

    def table(self, path: str, document: Mapping[str, Any]) -> pl.DataFrame:
        """Ask for a table.

        Raises:
            GbError: as the method of `Lake`.
            ServerUnavailable: no answer, or none that is whole, after several tries.
        """
        body, download = json.dumps(document).encode(), Download()

        def read() -> pl.DataFrame:
            with self._response("POST", path, body, download.headers()) as response:
                return download.read(response)

        return self._repeat(read, lambda: download.pieces)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A request that may be repeated: it changes nothing, or the same again.

        Raises:
            GbError: what the server refuses, or that it cannot be reached.
        """

        def read() -> Answer:
            with self._response(method, path, body, headers or {}) as response:
                return _read(response)

        return self._repeat(read)

    def once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """A request that is not repeated.

        Raises:
            OSError, http.client.HTTPException: the connection broke; whether it was answered is not known.
            GbError: what the server refuses.
        """
        with self._response(method, path, body, headers) as response:
            return _read(response)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._kept, "connection", None)
        if connection is not None:
            self._kept.connection = None
            connection.close()

    def _repeat(self, ask: Callable[[], T], arrived: Callable[[], int] = lambda: 0) -> T:
        """Ask until there is an answer. A try in which more has arrived than ever before is not counted."""
        attempt = most = 0
        while True:
            try:
                return ask()
            except (OSError, http.client.HTTPException, pa.ArrowException) as error:
                wait = 0.0
                failed: GbError = ServerUnavailable(
                    f"{self.url} cannot be reached, or broke off: {_reason(error)}",
                    fix="check the URL and that `gb serve` runs, and try again",
                )
            except _Later as later:
                failed, wait = later.error, later.seconds
            attempt, most = (0, arrived()) if arrived() > most else (attempt + 1, most)
            pause = max(wait, min(_LONGEST_PAUSE, _FIRST_PAUSE * 4 ** max(0, attempt - 1)))
            if attempt >= _TRIES or pause > _LONGEST_PAUSE:
                raise failed
            time.sleep(pause)

    @contextmanager
    def _response(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """A successful answer, to be read; the connection is kept where it was read to its end."""
        connection = getattr(self._kept, "connection", None) or self._connect()
        self._kept.connection = None
        whole = False
        try:
            response = self._send(connection, method, path, body, headers)
            if response.status >= 300:
                refusal = response.read(_MOST_REFUSAL)
                whole = response.isclosed()
                error = to_error(response.status, refusal, self.url)
                if may_succeed_later(response.status, _kind(refusal)):
                    raise _Later(error, _seconds(response.getheader("retry-after")))
                raise error
            yield response
            whole = response.isclosed()
        finally:
            if whole:
                self._kept.connection = connection
            else:
                connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        fresh = connection.sock is None
        try:
            connection.request(method, f"{self._base}/v1{path}", body, {**self._headers, **headers})
            return connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # The server closes connections on which nothing is asked for a while.
            connection.close()
            if fresh or method == "PATCH":
                raise
            connection.request(method, f"{self._base}/v1{path}", body, {**self._headers, **headers})
            return connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return _SecureConnection(self._host, self._port, timeout=self._timeout, context=context)
        connection = _Connection(self._host, self._port, timeout=self._timeout, blocksize=1 << 20)
        with suppress(OSError):
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class _Connection(http.client.HTTPConnection):
    """Closed when nobody holds it any more, as by the end of its thread."""

    def __del__(self) -> None:
        self.close()


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS."""


class _Later(Exception):
    """A refusal of the moment, and how long the server wants to be left alone."""

    def __init__(self, error: GbError, seconds: float) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


def _read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def _kind(body: bytes) -> str:
    try:
        return str(json.loads(body).get("kind", ""))
    except (ValueError, AttributeError):
        return ""


def _seconds(header: str | None) -> float:
    return float(header) if header is not None and header.isdecimal() else 0.0


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
