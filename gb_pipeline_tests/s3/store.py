"""A real S3 server on loopback (moto), which notes every request and can be told to fail, to lose answers and to go away."""

from __future__ import annotations

import http.client
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from gb_pipeline.config.bucket import Bucket

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass(frozen=True)
class Request:
    """One request: `name` is the object's, without its bucket."""

    method: str
    bucket: str
    name: str
    query: str
    bytes: int

    @property
    def is_listing(self) -> bool:
        """Whether names were asked for."""
        return self.method == "GET" and not self.name


@dataclass
class Store:
    """The server.

    Attributes:
        requests: since they were cleared.
        busy: share of requests that are answered by 503.
        broken: share of requests whose connection is cut, half of them after they were carried out.
        ignores_conditions: whether `If-None-Match` has no effect.
        gone: decides of a request whether the network is cut before it, and from then on.
        after: decides of a request whether its answer is lost, after it was carried out.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    busy: float = 0
    broken: float = 0
    ignores_conditions: bool = False
    gone: Callable[[Request], bool] | None = None
    after: Callable[[Request], bool] | None = None
    is_gone: bool = False
    _chance: Random = field(default_factory=lambda: Random(7))

    def bucket(self, prefix: str = "lake") -> Bucket:
        """A new bucket: all servers of a process have the same ones."""
        name = f"bars-{secrets.token_hex(6)}"
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return Bucket.parse(
            f"s3://{name}/{prefix}",
            {
                "endpoint": self.url,
                "region": "us-east-1",
                "access_key_id": "key-of-bars",
                "secret_access_key": "secret-of-bars",
            },
        )

    def heal(self) -> None:
        """Everything works again."""
        self.busy = self.broken = 0
        self.ignores_conditions = self.is_gone = False
        self.gone = self.after = None

    def listings(self) -> list[Request]:
        """Requests that asked for names."""
        return [request for request in self.requests if request.is_listing]

    def serve(self, app: Callable[..., Iterable[bytes]], environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        """Let a request pass, or do to it what was planted."""
        bucket, _, name = environ["PATH_INFO"].lstrip("/").partition("/")
        query = environ.get("QUERY_STRING", "")
        request = Request(environ["REQUEST_METHOD"], bucket, name, query, int(environ.get("CONTENT_LENGTH") or 0))
        self.requests.append(request)
        if self.is_gone or (self.gone is not None and self.gone(request)):
            self.is_gone = True
            raise _hang_up(environ)
        if self._chance.random() < self.busy:
            environ["wsgi.input"].read(request.bytes)
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BUSY)))])
            return [_BUSY]
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        luck = self._chance.random()
        if luck < self.broken / 2:
            raise _hang_up(environ)
        answer = app(environ, start)
        if luck < self.broken or (self.after is not None and self.after(request)):
            raise _hang_up(environ)
        return answer


def _hang_up(environ: dict[str, Any]) -> ConnectionResetError:
    """Cut the connection of a request; raising the error ends what the server does with it."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionResetError()


@contextmanager
def running_store() -> Iterator[Store]:
    """The server while the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    store, app = Store(), DomainDispatcherApplication(create_backend_app)
    server: BaseWSGIServer = make_server(
        "127.0.0.1", 0, lambda environ, start: store.serve(app, environ, start), threaded=True
    )
    store.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
