"""Downloads that go on where they broke off: a range of pieces of an answer in Arrow, by the headers that HTTP has for it.

`Range: pieces=7-` with the `ETag` of the first answer as `If-Range` asks for the pieces that are left. Each is one batch of the
stream, so whoever has seven batches has seven pieces. None of these is read again, and what was stored meanwhile changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gb_pipeline.api.downloads import Download, moment_of
from gb_pipeline.api.formats import MEDIA_TYPES, Format, respond
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem

_RANGE = re.compile(r"pieces=(\d{1,9})-")
PIECES: dict[int | str, dict[str, Any]] = {
    206: {
        "description": "The pieces that are left of a download in Arrow",
        "content": {MEDIA_TYPES[Format.ARROW]: {"schema": {"type": "string", "format": "binary"}}},
    },
    416: {
        "description": "There is no such piece",
        "content": {"application/problem+json": {"schema": {"type": "object"}}},
    },
}


def respond_pieces(
    request: Request,
    plan: Callable[[Mapping[str, Any]], Download],
    question: Mapping[str, Any],
    options: ServeOptions,
) -> Response:
    """An answer in Arrow: all of it, or what is left of one that broke off.

    Args:
        request: with `Range` and `If-Range`, or without.
        plan: cuts a question.
        question: keywords of `Lake.bars`.
        options: of the server.

    Raises:
        Problem: 416, the download has no such piece.
        GbError: as `Lake.bars`.
    """
    asked, tag = _RANGE.fullmatch(request.headers.get("range", "")), request.headers.get("if-range", "")
    then = moment_of(tag)
    if asked is not None and then is not None:
        download = plan({**question, "as_of": then})
        if download.tag == tag:
            return _respond_rest(download, int(asked[1]), options)
    download = plan(question)
    headers = _headers(download) if download.tag else {}
    return respond(download.frames(0), Format.ARROW, most_json_rows=options.most_json_rows, headers=headers)


def _headers(download: Download) -> dict[str, str]:
    return {"etag": download.tag, "accept-ranges": "pieces", "x-pieces": str(download.count)}


def _respond_rest(download: Download, first: int, options: ServeOptions) -> Response:
    if first >= download.count:
        raise Problem(
            416, f"the download has {download.count} pieces, and none from number {first} on", "ask for all of it", "NoSuchPiece",
            {"content-range": f"pieces */{download.count}"},
        )  # fmt: skip
    headers = {**_headers(download), "content-range": f"pieces {first}-{download.count - 1}/{download.count}"}
    frames = download.frames(first)
    return respond(frames, Format.ARROW, most_json_rows=options.most_json_rows, status=206, headers=headers)
