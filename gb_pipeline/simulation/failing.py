"""How a fault looks on the wire: broken, slow, endless and misdirected HTTP answers, and a certificate that nobody trusts.

`faults` chooses which request a fault hits, `server` serves whole answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import tempfile
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.errors import ConfigError
from gb_pipeline.simulation.faults import Fault
from gb_pipeline.simulation.response import Response

if TYPE_CHECKING:
    from aiohttp import web

# A name that no resolver ever knows (RFC 2606): a client that follows it leaves loopback, and gets nowhere.
ELSEWHERE = "https://elsewhere.invalid"
_FLOOD_ROWS = b'{"t":1704067200000,"o":"1.0","c":"1.0"},' * 25_000


async def fail(  # noqa: PLR0911 - one return per fault
    request: web.Request, fault: Fault, get_response: Callable[[], Awaitable[Response]]
) -> web.StreamResponse:
    """Answer a request as its fault says.

    Args:
        request: as it came.
        fault: what happens to it.
        get_response: gives the true response, where the fault needs it.
    """
    from aiohttp import web

    if fault.action != "slow":
        await asyncio.sleep(fault.delay)
    match fault.action:
        case "hang":
            await asyncio.sleep(3600)
        case "reset":
            _reset(request)
            return web.Response(status=500)
        case "redirect":
            location_headers = {"Location": ELSEWHERE + request.path_qs, **fault.headers}
            return web.Response(status=fault.status or 302, headers=location_headers)
        case "flood":
            return await _flood(request, fault)
        case "answer" if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            body = f"{status}: simulated" if fault.body is None else fault.body
            headers = {"Content-Type": "text/html" if body.startswith("<") else "application/json", **fault.headers}
            return web.Response(status=status, body=body.encode(), headers=headers)
        case "cut":
            response = await get_response()
            return respond(replace(response, body=response.body[: len(response.body) // 2]))
        case "truncate" | "slow":
            return await _piecemeal(request, await get_response(), fault)
    return respond(await get_response())


def respond(response: Response) -> web.Response:
    """A whole answer."""
    from aiohttp import web

    headers = dict(response.headers)
    return web.Response(status=response.status, text=response.body, content_type=response.content_type, headers=headers)


def untrusted_tls() -> ssl.SSLContext:
    """A server's side of TLS for 127.0.0.1, with a key of its own that nobody signed; both are forgotten afterwards.

    Raises:
        ConfigError: the library that makes certificates is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise ConfigError("no certificate can be made", fix="install `cryptography`, or serve without TLS") from None

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL only reads files.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        file.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(file)
    return context


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    # Without lingering, closing sends RST instead of FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _flood(request: web.Request, fault: Fault) -> web.StreamResponse:
    """The beginning of a list that goes on, and on; compressed where the fault's headers say so."""
    from aiohttp import web

    response = web.StreamResponse(
        status=fault.status or 200, headers={"Content-Type": "application/json", **fault.headers}
    )
    packed = response.headers.get("Content-Encoding", "") == "gzip"
    packer = zlib.compressobj(1, wbits=31)
    await response.prepare(request)
    remaining = fault.size
    # A client that has had enough hangs up.
    with contextlib.suppress(ConnectionError):
        await response.write(packer.compress(b"[") if packed else b"[")
        while remaining > 0:
            chunk = _FLOOD_ROWS[:remaining]
            remaining -= len(chunk)
            # An empty chunk would end the body.
            if data := packer.compress(chunk) if packed else chunk:
                await response.write(data)
        if packed:
            await response.write(packer.flush())
        await response.write_eof()
    return response


async def _piecemeal(request: web.Request, whole: Response, fault: Fault) -> web.StreamResponse:
    from aiohttp import web

    body = whole.body.encode()
    headers = {"Content-Type": whole.content_type, **whole.headers, "Content-Length": str(len(body))}
    response = web.StreamResponse(status=whole.status, headers=headers)
    await response.prepare(request)
    if fault.action == "truncate":
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
    size = max(1, -(-len(body) // 10))
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(body), size):
            await asyncio.sleep(fault.delay / 10)
            await response.write(body[at : at + size])
    return response
