"""This module says by which proxy a venue is reached, and why a connection to it failed: in plain words, and whether for good."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import picows

from gb_pipeline.collectors.venue import Venue
from gb_pipeline.errors import ConfigError, GbError, PermanentVendorError
from gb_pipeline.providers.http.redaction import hide, scrub

_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def proxy_of(url: str) -> str | None:
    """Of the environment, for the real venue; never for loopback."""
    parts = urlsplit(url)
    if parts.hostname in {None, "localhost", "127.0.0.1", "::1"} or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get("https" if parts.scheme == "wss" else "http")


def is_refusal(error: BaseException) -> bool:
    """Whether asking again is of no use until a person has changed something."""
    if isinstance(error, picows.WSInvalidStatusError) and error.response is not None:
        return int(error.response.status) in _REFUSED
    return isinstance(error, ConfigError | PermanentVendorError)


def explain(venue: Venue, error: BaseException, handshake_seconds: float) -> tuple[str, str]:
    """What happened, and what to do; no secret of the venue is in it."""
    if isinstance(error, GbError):
        return error.what, error.fix
    if isinstance(error, picows.WSInvalidStatusError) and error.response is not None:
        status = int(error.response.status)
        return f"the venue answered HTTP {status} instead of a websocket", venue.refused_handshake(status)
    if isinstance(error, TimeoutError):
        return (
            f"no connection within {handshake_seconds:g} s",
            "it is tried again; look at the network of this machine",
        )
    return (
        f"no connection: {type(error).__name__}: {scrub(hide(str(error), venue.secrets()))[:200]}",
        "it is tried again; see the venue's status page",
    )
