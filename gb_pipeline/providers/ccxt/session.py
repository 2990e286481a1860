"""This module makes aiohttp's session strict for ccxt: how large an answer may be, and where a redirect may lead.

What an answer means is decided by `client`. Vendors without ccxt have `providers.http`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from gb_pipeline.errors import PermanentVendorError, TransientVendorError
from gb_pipeline.providers.http.client import MOST_BYTES
from gb_pipeline.providers.http.redaction import scrub

if TYPE_CHECKING:
    import aiohttp


def strict_session(connector: aiohttp.BaseConnector, *, trust_env: bool, here_only: bool) -> aiohttp.ClientSession:
    """A session whose answers have a bearable size and come from the host that was asked.

    Args:
        connector: of the session that it replaces.
        trust_env: whether proxies of the environment count.
        here_only: refuse every redirect, not only those to another host.

    Raises:
        PermanentVendorError: from a request: more bytes than any answer has.
        TransientVendorError: from a request: a redirect that is not followed.
    """
    import aiohttp

    async def refuse_redirect(_session: Any, _context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        answer = redirect.response
        place = urljoin(str(answer.url), answer.headers.get("Location", ""))
        target = urlsplit(place)
        elsewhere = target.hostname != answer.url.host or (answer.url.scheme == "https" and target.scheme != "https")
        if here_only or elsewhere:
            answer.close()
            raise TransientVendorError(
                f"{answer.url.host} redirects to {scrub(place)}",
                fix="redirects to elsewhere are not followed; a proxy or a login page of the network may be in between",
            )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse_redirect)
    return aiohttp.ClientSession(
        connector=connector, trust_env=trust_env, response_class=_capped_response_class(), trace_configs=[trace]
    )


@lru_cache(maxsize=1)
def _capped_response_class() -> type[aiohttp.ClientResponse]:
    import aiohttp

    class Capped(aiohttp.ClientResponse):
        """An answer that is cut off, with an error, where no answer is that long; decompressed bytes count."""

        async def read(self) -> bytes:
            if self._body is None:
                size, chunks = 0, []
                try:
                    async for chunk in self.content.iter_any():
                        size += len(chunk)
                        if size > MOST_BYTES:
                            raise PermanentVendorError(
                                f"{self.url.host} answered more than {MOST_BYTES // 2**20} MB and was cut off",
                                fix="ask for a shorter window; if it happens again, the vendor is broken",
                            )
                        chunks.append(chunk)
                except BaseException:
                    self.close()
                    raise
                self._body = b"".join(chunks)
            return await super().read()

    return Capped
