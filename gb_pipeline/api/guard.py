"""What every request passes before it is answered: its host, its token, how often it came, and how large and slow it may be.

Each request gets an id and a line in the access log, without what is secret in it. What a token may do is asked by `caller`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from gb_pipeline.api import problems
from gb_pipeline.api.limits import RateLimits
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.tokens import Scope, Token, TokenStore
from gb_pipeline.errors import LakeError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

access_log = logging.getLogger("gb_pipeline.api.access")
# Asked by probes, which have no token; nothing of a lake is in their answers.
OPEN_PATHS = frozenset({"/v1/health/live", "/v1/health/ready", "/v1/openapi.json"})
# Where runs of backtests are saved.
SAVE_RUNS_PATH = "/v1/runs/save"
_UPLOAD_PATH = re.compile(r"/v1/uploads/[0-9a-f]{32}")
_REQUEST_ID = re.compile(r"[\w-]{1,64}")
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        token: what was sent; None for somebody on this machine while there are no tokens.
        address: of the connection.
    """

    token: Token | None
    address: str

    def may(self, scope: Scope) -> bool:
        """Whether it may; without a token only what changes nothing."""
        return scope in {Scope.READ, Scope.SQL} if self.token is None else self.token.may(scope)


@dataclass
class _Answer:
    """What became of a request, for the log."""

    began: float
    status: int = 0
    sent: int = 0
    received: int = 0
    started: bool = False
    caller: Caller | None = None
    refusal: Problem | None = None


class Guard:
    """The outermost layer of the app.

    Args:
        app: that answers what passes.
        options: limits and names of hosts.
        tokens: who may come.
    """

    def __init__(self, app: Any, options: ServeOptions, tokens: TokenStore) -> None:
        """All allowances are full."""
        self._app, self._options, self._tokens = app, options, tokens
        self._by_token = RateLimits(options.requests_per_second, options.burst, time.monotonic)
        factor = options.address_factor
        self._by_address = RateLimits(options.requests_per_second * factor, options.burst * factor, time.monotonic)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass on one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["gb.request_id"] = request_id
        found = _Answer(time.monotonic())
        sending = _sender(send, request_id, found)
        try:
            scope["gb.caller"] = found.caller = self._admit(scope, headers)
            await self._app(scope, self._receiver(scope, headers, receive, found), sending)
        except Problem as problem:
            if found.started:
                raise
            found.refusal = None
            await problems.answer(problem, request_id)(scope, receive, sending)
        except Exception:
            if found.started:
                # Whoever reads the answer sees that it broke off.
                raise
            access_log.getChild("failed").exception("request %s failed", request_id)
            fix = f"look for {request_id} in the server's log"
            failed = Problem(500, "the server failed", fix, "InternalError")
            await problems.answer(failed, request_id)(scope, receive, sending)
        else:
            if found.refusal is not None:
                # Whoever read the body made an answer of its own of that, which was held back.
                refusal, found.refusal = found.refusal, None
                await problems.answer(refusal, request_id)(scope, receive, sending)
        finally:
            _log(scope, request_id, found)

    def _admit(self, scope: Any, headers: Headers) -> Caller:
        """Who asks, if they may come in at all."""
        address = (scope.get("client") or ("unknown",))[0]
        self._require_host(headers)
        self._require_allowance(self._by_address, address)
        if scope["path"] in OPEN_PATHS or not scope["path"].startswith("/v1/"):
            return Caller(None, address)
        token = self._token(headers)
        if token is not None:
            self._require_allowance(self._by_token, token.id)
        return Caller(token, address)

    def _require_host(self, headers: Headers) -> None:
        # A page of another site can let its own name point here: the browser then sends that name.
        host = headers.get("host", "")
        name = host[1 : host.find("]")] if host.startswith("[") else host.rpartition(":")[0] or host
        if len(headers.getlist("host")) != 1 or name.lower() not in self._options.hosts:
            fix = "call it by its own address, or allow the name: gb serve --allow-host NAME"
            raise Problem(421, "this server has another name", fix, "WrongHost")

    def _require_allowance(self, limits: RateLimits, key: str) -> None:
        seconds = limits.take(key)
        if seconds:
            wait = int(seconds) + 1
            raise Problem(
                429, "too many requests", f"wait {wait} s and ask again", "TooManyRequests", {"retry-after": str(wait)}
            )

    def _token(self, headers: Headers) -> Token | None:
        kind, _, text = headers.get("authorization", "").partition(" ")
        challenge = {"www-authenticate": 'Bearer realm="gb_pipeline"'}
        try:
            if not kind:
                if self._options.require_token or not self._options.listens_here_only or self._tokens.in_use:
                    fix = "send `Authorization: Bearer gb_...`; `gb token create` makes one"
                    raise Problem(401, "a token is needed", fix, "TokenNeeded", challenge)
                return None
            token = self._tokens.find(text.strip()) if kind.lower() == "bearer" else None
        except LakeError:
            raise Problem(503, "the file of tokens cannot be read", "see `gb token list`", "LakeError") from None
        if token is None:
            fix = "it is unknown, expired or revoked: `gb token list` says which"
            raise Problem(401, "the token is not valid", fix, "TokenRefused", challenge)
        return token

    def _receiver(self, scope: Any, headers: Headers, receive: Receive, found: _Answer) -> Receive:
        """What the app reads the body through: not more than it may be, nor slower."""
        is_upload = scope["method"] == "PATCH" and _UPLOAD_PATH.fullmatch(scope["path"])
        most = self._options.most_upload_bytes if is_upload else self._options.most_body_bytes
        fix = "send less, or upload it in parts: POST /v1/uploads"
        if scope["path"] == SAVE_RUNS_PATH:
            most, fix = self._options.most_run_bytes, "send fewer runs at once, or save it where the lake is"
        length = headers.get("content-length", "0")
        # Six digits more than any limit: `int` takes long for long texts.
        if not length.isdecimal() or len(length) > 18 or int(length) > most:
            raise _too_large(most, fix)
        deadline, complete = time.monotonic() + self._options.body_seconds, False

        async def read() -> Message:
            nonlocal complete, deadline
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                found.refusal = Problem(408, "the body came too slowly", "send it in smaller parts", "TooSlow")
                raise found.refusal from None
            found.received += len(message.get("body", b""))
            if found.received > most:
                found.refusal = _too_large(most, fix)
                raise found.refusal
            if is_upload and message.get("body"):
                # A large part may take long, but not stand still.
                deadline = time.monotonic() + self._options.body_seconds
            complete = not message.get("more_body", False)
            return message

        return read


def caller_of(scope: Any, needed: Scope) -> Caller:
    """Who asks, if they may do this.

    Raises:
        Problem: 403, the token lacks the scope; 401, it needs a token at all.
    """
    caller = scope["gb.caller"]
    assert isinstance(caller, Caller)
    if caller.may(needed):
        return caller
    if caller.token is None:
        fix = f"make one that may: gb token create NAME --scope {needed}"
        raise Problem(
            401, f"a token with the scope {needed} is needed", fix, "TokenNeeded", {"www-authenticate": "Bearer"}
        )
    fix = f"make one that may: gb token create NAME --scope {needed}"
    raise Problem(403, f"this token has no scope {needed}", fix, "ScopeMissing")


def _sender(send: Send, request_id: str, found: _Answer) -> Send:
    """What the app answers through: with the id, headers for browsers, and nothing where its request was refused."""

    async def write(message: Message) -> None:
        if found.refusal is not None and not found.started:
            return
        if message["type"] == "http.response.start":
            found.status, found.started = message["status"], True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = request_id
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body":
            found.sent += len(message.get("body", b""))
        await send(message)

    return write


def _too_large(most: int, fix: str) -> Problem:
    return Problem(
        413,
        f"the body is larger than {most:,} bytes, or does not say its length",
        fix,
        "TooLarge",
    )


def _log(scope: Any, request_id: str, found: _Answer) -> None:
    """One line of JSON: the path without its query, which may hold what is nobody's business, and the token's public id."""
    caller = found.caller
    entry = {
        "request_id": request_id,
        "address": (scope.get("client") or ("unknown",))[0],
        "token": caller.token.id if caller is not None and caller.token is not None else None,
        "method": scope["method"][:16],
        "path": scope["path"][:200],
        "status": found.status or None,
        "received": found.received,
        "sent": found.sent,
        "milliseconds": round((time.monotonic() - found.began) * 1000),
    }
    access_log.info("%s", json.dumps(entry))
