"""Sends bars in parts, goes on where a connection broke, and commits once."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.client.transport import Transport
from gb_pipeline.errors import GbError, ServerUnavailable
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.unplaced import UnplacedRows

_PART = 8 << 20
# In a row, without a byte that arrived.
_MOST_BREAKS = 5


def upload(
    transport: Transport, frame: pl.DataFrame, bars: Mapping[str, Any], *, part_bytes: int = _PART
) -> WriteReport:
    """Send a frame and store it.

    Args:
        transport: to the server.
        frame: as `Lake.put` takes it.
        bars: `source`, `resolution` and the further fields of an announcement.
        part_bytes: of one request.

    Raises:
        GbError: what `Lake.put` raises, or that the server cannot be reached; the same call again stores the bars once.
    """
    written = io.BytesIO()
    frame.write_ipc_stream(written, compat_level=pl.CompatLevel.oldest())
    body = written.getbuffer()
    announcement = {**bars, "format": "arrow", "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    # The announcement may be answered and the answer lost: with a key it is the same upload again.
    headers = {"content-type": "application/json", "idempotency-key": secrets.token_hex(16)}
    state = transport.ask("POST", "/uploads", json.dumps(announcement).encode(), headers).json()
    path = f"/uploads/{state['id']}"
    _send_parts(transport, path, body, int(state["offset"]), part_bytes)
    result = transport.ask("POST", f"{path}/commit").json()["result"]
    sessions, refused = (transport.table(f"{path}/{name}", {}) for name in ("sessions", "refused"))
    return _report(result, sessions, refused)


def _send_parts(transport: Transport, path: str, body: memoryview, offset: int, part_bytes: int) -> None:
    breaks = 0
    while offset < len(body):
        part = bytes(body[offset : offset + part_bytes])
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        headers = {
            "content-type": "application/offset+octet-stream",
            "upload-offset": str(offset),
            "upload-checksum": f"sha256 {digest}",
        }
        try:
            transport.once("PATCH", path, part, headers)
            offset += len(part)
            breaks = 0
        except (OSError, http.client.HTTPException, ServerUnavailable) as error:
            arrived = int(transport.ask("HEAD", path).headers["upload-offset"])
            breaks = 0 if arrived > offset else breaks + 1
            offset = arrived
            if breaks >= _MOST_BREAKS:
                raise _broken(transport, error) from None


def _broken(transport: Transport, error: Exception) -> GbError:
    if isinstance(error, GbError):
        return error
    return ServerUnavailable(f"{transport.url} breaks off every part of an upload", fix="try again later")


def _report(result: dict[str, Any], sessions: pl.DataFrame, refused: pl.DataFrame) -> WriteReport:
    start, end = (datetime.fromisoformat(text) for text in result["window"])
    unplaced = {
        code: UnplacedRows(**{**told, "years": None if told["years"] is None else tuple(told["years"])})
        for code, told in result["unplaced"].items()
    }
    return WriteReport(
        source=result["source"],
        resolution=Resolution.parse(result["resolution"]),
        window=Window(start, end),
        sessions_frame=sessions,
        counts={code: RowCounts(**counts) for code, counts in result["counts"].items()},
        restated=result["restated"],
        withdrawn=result["withdrawn"],
        bytes=result["bytes"],
        version=result["version"],
        late=result["late"],
        unplaced=unplaced,
        refused=refused,
    )
