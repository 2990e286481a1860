"""This module serves the files of the page out of the installed package, with their hashes and the browser's rules for them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

# No script, style or picture but our own, none of them inside of a page, and no page may frame this one.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )
)  # fmt: skip
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
INDEX = "index.html"


@dataclass(frozen=True)
class Asset:
    """A file of the page.

    Attributes:
        body: its bytes.
        packed: the same by gzip.
        tag: its ETag, the beginning of its SHA-256.
        kind: its media type.
    """

    body: bytes
    packed: bytes
    tag: str
    kind: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        """Hash and pack a file; the same bytes always give the same."""
        kind = _TYPES.get("." + name.rpartition(".")[2], "application/octet-stream")
        return cls(body, gzip.compress(body, mtime=0), f'"{hashlib.sha256(body).hexdigest()[:32]}"', kind)


def load_assets() -> dict[str, Asset]:
    """Every file of the page by its path, such as `js/app.js`: about half a megabyte, read once.

    Example:
        >>> load_assets()["index.html"].kind
        'text/html; charset=utf-8'
    """
    return {name: Asset.of(name, file.read_bytes()) for name, file in _walk(files(__package__) / "static", "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif "." + entry.name.rpartition(".")[2] in _TYPES:
            yield prefix + entry.name, entry


def asset_response(asset: Asset, request: Request) -> Response:
    """The file, or 304 where the browser has it already: it asks each time, so a new version is seen at once."""
    headers = {**HEADERS, "etag": asset.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if asset.tag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, media_type=asset.kind, headers={**headers, "content-encoding": "gzip"})
    return Response(asset.body, media_type=asset.kind, headers=headers)
