"""A real S3 server on loopback, whose requests are noted, and which can be told to fail, to lose answers and to go away.

It is moto, in this process. With `GB_S3_SERVER=ceph` it is Ceph's gateway (see `ceph`), and with `GB_S3_SERVER=http://host:port`
one that runs already and lets `AWS_ACCESS_KEY_ID` in; what is planted happens on the way there.
"""

from __future__ import annotations

import atexit
import http.client
import logging
import os
import re
import secrets
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from gb_pipeline.config.bucket import Bucket
from gb_pipeline_tests.s3.ceph import running_ceph

KEY, SECRET = "key-of-bars", "secret-of-bars"
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
        failed: how many were answered by 503, or cut off, by chance.
        busy: share of requests that are answered by 503.
        broken: share of requests whose connection is cut, half of them after they were carried out.
        ignores_conditions: whether `If-None-Match` has no effect.
        terse: whether it does not say which condition was not met, as Ceph and MinIO do not.
        gone: decides of a request whether the network is cut before it, and from then on.
        after: decides of a request whether its answer is lost, after it was carried out.
        says: answers a request in the store's place, with a status, a body, and how many bytes it says that there are.
    """

    url: str = ""
    key: str = KEY
    secret: str = SECRET
    requests: list[Request] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    busy: float = 0
    broken: float = 0
    ignores_conditions: bool = False
    terse: bool = False
    gone: Callable[[Request], bool] | None = None
    after: Callable[[Request], bool] | None = None
    says: Callable[[Request], tuple[str, bytes, int] | None] | None = None
    is_gone: bool = False
    _chance: Random = field(default_factory=lambda: Random(7))

    @property
    def access(self) -> dict[str, str]:
        """How it is reached, as `s3` of gb.yaml says it."""
        return {
            "endpoint": self.url,
            "region": "us-east-1",
            "access_key_id": self.key,
            "secret_access_key": self.secret,
        }

    @cached_property
    def client(self) -> Any:
        """A client of it that knows nothing of lakes."""
        from botocore.session import get_session

        return get_session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def bucket(self, prefix: str = "lake") -> Bucket:
        """A new bucket: all servers of a process have the same ones."""
        name = f"bars-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=name)
        return Bucket.parse(f"s3://{name}/{prefix}", self.access)

    def heal(self) -> None:
        """Everything works again."""
        self.busy = self.broken = 0
        self.ignores_conditions = self.terse = self.is_gone = False
        self.gone = self.after = self.says = None

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
        if self.says is not None and (answer := self.says(request)) is not None:
            environ["wsgi.input"].read(request.bytes)
            status, body, length = answer
            start(status, [("Content-Type", "application/xml"), ("Content-Length", str(length))])
            return [body if request.method != "HEAD" else b""]
        if self._chance.random() < self.busy:
            self.failed["503"] += 1
            environ["wsgi.input"].read(request.bytes)
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BUSY)))])
            return [_BUSY]
        if self.ignores_conditions and "HTTP_IF_NONE_MATCH" in environ:
            # The condition itself is signed: it stays, and is met.
            self.client.delete_object(Bucket=bucket, Key=name)
        luck = self._chance.random()
        self.failed["cut"] += luck < self.broken
        if luck < self.broken / 2:
            raise _hang_up(environ)
        answer = _without_condition(app, environ, start) if self.terse else app(environ, start)
        if luck < self.broken or (self.after is not None and self.after(request)):
            raise _hang_up(environ)
        return answer


def _without_condition(
    app: Callable[..., Iterable[bytes]], environ: dict[str, Any], start: Callable[..., Any]
) -> list[bytes]:
    """An answer that does not name the condition that was not met."""
    said: list[Any] = []
    content = b"".join(app(environ, lambda *told: said.extend(told[:2])))
    shorter = re.sub(rb"<Condition>.*?</Condition>", b"", content)
    status, headers = said
    if shorter != content:
        headers = [(name, str(len(shorter)) if name.lower() == "content-length" else value) for name, value in headers]
    start(status, headers)
    return [shorter]


def _hang_up(environ: dict[str, Any]) -> ConnectionResetError:
    """Cut the connection of a request; raising the error ends what the server does with it."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionResetError()


@dataclass
class Elsewhere:
    """A server that runs already: requests are handed on as they are, as they are signed."""

    host: str
    port: int

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        """One request."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name not in {"HTTP_EXPECT", "HTTP_CONNECTION"}
        }
        headers |= {
            name.replace("_", "-"): environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)
        }
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, headers)
            answer = connection.getresponse()
            content = answer.read()
            start(f"{answer.status} {answer.reason}", answer.getheaders())
        finally:
            connection.close()
        return [content]


@cache
def _elsewhere() -> Elsewhere | None:
    """The other server that the environment asks for, as long as this process lives."""
    asked = os.environ.get("GB_S3_SERVER", "")
    if asked == "ceph":
        atexit.register(_open.close)
        folder = Path(_open.enter_context(tempfile.TemporaryDirectory(prefix="ceph-")))
        asked = _open.enter_context(running_ceph(folder / "all", KEY, SECRET))
    place = urlsplit(asked)
    return Elsewhere(place.hostname, place.port or 80) if place.hostname else None


_open = ExitStack()


@contextmanager
def running_store() -> Iterator[Store]:
    """The server while the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = _elsewhere() or create_backend_app("s3")
    store = Store()
    if os.environ.get("GB_S3_SERVER", "").startswith("http"):
        store.key, store.secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
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
