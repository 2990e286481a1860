"""This module sends GET requests to every vendor that needs no library of its own, and accepts only strict answers.

An answer is whole, of a bearable size and from the host that was asked. How often and how fast is decided by `transport`; what an
answer means is each vendor's own to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gb_pipeline.errors import ConfigError, PermanentVendorError, TransientVendorError, VendorUnreachable
from gb_pipeline.providers.http.redaction import hide, scrub
from gb_pipeline.providers.http.responses import broken_body, read_json, status_error
from gb_pipeline.providers.http.transport import Transport

if TYPE_CHECKING:
    import httpx

# A month of one symbol's minutes is 6 MB of JSON; whatever is ten times that is no answer to anything we ask.
MOST_BYTES = 64 * 2**20
# Once each: what is packed twice makes a gigabyte of a kilobyte before anybody can count it.
_ENCODINGS = "gzip, deflate"


def _without_queries(record: logging.LogRecord) -> bool:
    record.msg, record.args = scrub(record.getMessage()), ()
    return True


# They log addresses with their queries, which is where some vendors want the key, and where redirects repeat it.
for _logger in ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_logger).addFilter(_without_queries)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer with a status below 300, or with one that was asked for."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not UTF-8 shows as the replacement character."""
        return self.body.decode("utf-8", errors="replace")


class HttpClient:
    """Requests to one vendor, each admitted, timed and counted by its transport.

    Args:
        who: the vendor, for messages.
        transport: pace, patience and counts.
        base_url: a simulated vendor on loopback, to which every request then goes: the real host becomes the first segment
            of the path. The real vendor by default.
        headers: sent with every request; credentials belong here or in `params`.
        secrets: texts that must not appear in any message.

    Attributes:
        transport: as given.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> client = HttpClient("example", Transport("example"))
        >>> reply = await client.get("https://api.example.com/v1/bars", {"symbol": "AAPL"})
    """

    def __init__(
        self,
        who: str,
        transport: Transport,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        """Nothing is opened before the first request."""
        self._who, self.transport = who, transport
        self._base = loopback(base_url) if base_url else None
        self._headers = dict(headers or {})
        self._secrets = tuple(secret for secret in secrets if secret)
        transport.secrets = tuple(dict.fromkeys((*transport.secrets, *self._secrets)))
        self._client: httpx.AsyncClient | None = None

    async def get(self, url: str, params: Mapping[str, str] | None = None, *, accept: Collection[int] = ()) -> Reply:
        """One request, not repeated: `Transport.call` repeats.

        Args:
            url: `https://host/path`, with a query or without.
            params: added to the query.
            accept: statuses of 400 and above that are answers as well, such as 404 for what a vendor does not list.

        Raises:
            TransientVendorError: no connection, no trusted certificate, silence, half an answer, a redirect, or a status that
                may pass.
            PermanentVendorError: a status that will not pass, or more bytes than any answer has.
        """
        return await self._send("GET", url, params, None, accept)

    async def _send(
        self, method: str, url: str, params: Mapping[str, str] | None, json: object, accept: Collection[int]
    ) -> Reply:
        import httpx

        self._client = self._client or httpx.AsyncClient(
            headers={"Accept-Encoding": _ENCODINGS, **self._headers},
            # Credentials never follow a redirect, and no vendor of ours sends one.
            follow_redirects=False,
            timeout=self.transport.policy.timeout,
            # A proxy of the environment is for the real vendor, never for loopback.
            trust_env=self._base is None,
        )
        await self.transport.admit()
        try:
            async with asyncio.timeout(self.transport.policy.timeout):
                request = self._client.build_request(method, self._route(url), params=params, json=json)
                return await self._read_whole(self._client, request, accept)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                await asyncio.to_thread(self.transport.unsent)
            raise self._connection_error(url, error) from None

    async def get_json(
        self, url: str, params: Mapping[str, str] | None = None, *, accept: Collection[int] = ()
    ) -> tuple[Any, Reply]:
        """The same, parsed: numbers with a fraction or exponent stay the vendor's own text.

        Raises:
            TransientVendorError: the body is no JSON object or list; otherwise as `get`.
        """
        return self._parse(await self.get(url, params, accept=accept))

    async def post_json(self, url: str, body: object, *, accept: Collection[int] = ()) -> tuple[Any, Reply]:
        """One POST of a question that changes nothing at the vendor, as JSON; answer and errors as of `get_json`."""
        return self._parse(await self._send("POST", url, None, body, accept))

    def _parse(self, reply: Reply) -> tuple[Any, Reply]:
        try:
            # What is read is what the vendor sent: a short key may also be a part of its numbers.
            return read_json(self._who, reply.status, reply.content_type, reply.text), reply
        except TransientVendorError:
            raise broken_body(self._who, reply.status, reply.content_type, self._hide(reply.text)) from None

    async def aclose(self) -> None:
        """Close connections; the client can be used again afterwards."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _read_whole(self, client: httpx.AsyncClient, request: httpx.Request, accept: Collection[int]) -> Reply:
        with self.transport.request() as received:
            async with contextlib.aclosing(await client.send(request, stream=True)) as answer:
                if answer.headers.get("content-encoding", "").strip().lower() not in {
                    "",
                    "identity",
                    "gzip",
                    "deflate",
                }:
                    raise TransientVendorError(
                        f"{self._who} packed its answer in a way that was not asked for",
                        fix="a proxy may be in between; the same call may succeed later",
                    )
                chunks: list[bytes] = []
                size = 0
                async for chunk in answer.aiter_bytes():
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise PermanentVendorError(
                            f"{self._who} answered more than {MOST_BYTES // 2**20} MB and was cut off",
                            fix="ask for a shorter window; if it happens again, the vendor is broken",
                        )
                    chunks.append(chunk)
                received(size)
                body = b"".join(chunks)
                reply = Reply(answer.status_code, answer.headers.get("content-type", ""), answer.headers, body)
        if reply.status in accept:
            return reply
        if reply.status >= 400:
            # `ratelimit-reset` is what the IETF's draft has for the same.
            wait = answer.headers.get("retry-after") or answer.headers.get("ratelimit-reset")
            raise status_error(self._who, reply.status, self._hide(reply.text), wait=wait)
        if reply.status >= 300:
            raise TransientVendorError(
                f"{self._who} redirects to {scrub(self._hide(answer.headers.get('location', 'nowhere')))}",
                fix="redirects are not followed; a proxy or a login page of the network may be in between",
            )
        return reply

    def _route(self, url: str) -> str:
        return url if self._base is None else re.sub(r"^https?://", self._base + "/", url)

    def _hide(self, text: str) -> str:
        return hide(text, self._secrets)

    def _connection_error(self, url: str, error: Exception) -> TransientVendorError:
        import httpx

        host = urlsplit(url).hostname
        place = host if self._base is None else f"{urlsplit(self._base).netloc} (in place of {host})"
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            limit = self.transport.policy.timeout
            return TransientVendorError(
                f"{place} did not answer within {limit:g} s", fix="raise `timeout_seconds`, or wait"
            )
        fix = "check the network, and the vendor's status page; the same call may succeed later"
        reason = self._hide(scrub(str(error))) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return TransientVendorError(
                f"the certificate of {place} is not trusted: {reason}",
                fix="somebody may listen in; check the machine's clock, its certificates and any proxy",
            )
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
            return TransientVendorError(f"{place} broke off before its answer was whole: {reason}", fix=fix)
        kind = VendorUnreachable if isinstance(error, httpx.ConnectError) else TransientVendorError
        return kind(f"{place} cannot be reached: {reason}", fix=fix)


def loopback(url: str) -> str:
    """The URL without a trailing slash, if it is on 127.0.0.1.

    Raises:
        ConfigError: it is somewhere else.
    """
    parts = urlsplit(url)
    here = parts.hostname in {"127.0.0.1", "localhost"} and parts.scheme in {"http", "https"}
    if not here or parts.username or parts.query:
        raise ConfigError(
            f"base_url {scrub(url)!r} is not a simulated vendor",
            fix="write http://127.0.0.1:PORT, or leave it out for the real one",
        )
    return f"{parts.scheme}://127.0.0.1{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"
