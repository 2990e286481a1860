"""Uploads of bars that can be interrupted: announce, send in parts, commit. Files and checks are `upload_store`'s.

The parts follow the protocol of tus: `HEAD` says how much has arrived, `PATCH` goes on from there. The commit decodes, validates
and stores all of it as one write, and says what became of every row.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations.

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as PathPart
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gb_pipeline.api.decode import NEEDED, decode
from gb_pipeline.api.formats import Format, choose_format, respond
from gb_pipeline.api.guard import caller_of
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.overview import document
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.tables import RESPONSES
from gb_pipeline.api.tokens import Scope
from gb_pipeline.api.upload_store import Upload, UploadStore
from gb_pipeline.errors import FormatRefused
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.market.symbol import source_name, symbol_code
from gb_pipeline.market.window import Window
from gb_pipeline.reading.lake import Lake

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_BLOCK = 1 << 20
_PARTS_TYPE = "application/offset+octet-stream"
_REFUSALS = {status: text for status, text in RESPONSES.items() if status != 200} | {
    409: {"description": "Not in this state"},
    415: {"description": "Not bytes of an upload"},
}
Id = Annotated[str, PathPart(pattern="^[0-9a-f]{32}$")]


class Announcement(BaseModel):
    """What will be uploaded: how many bytes, and which bars they are."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "length": 2346,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "format": "parquet",
                "source": "mine",
                "resolution": "1m",
                "symbol": "BTC-USD",
            }
        },
    )

    length: Annotated[int, Field(ge=1, le=1 << 50, description="Bytes.")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Of all bytes, hexadecimal.")]
    format: Literal["arrow", "parquet", "csv"]
    source: Annotated[str, Field(min_length=1, max_length=64, description="Under which it is stored.")]
    resolution: Annotated[str, Field(max_length=16)]
    symbol: Annotated[str | None, Field(max_length=200, description="Where there is no column `symbol`.")] = None
    calendar: Annotated[str, Field(max_length=64)] = "24/7"
    window: Annotated[
        tuple[str, str] | None, Field(description="What the bars are complete for; as in `Lake.put`.")
    ] = None
    decimals: Annotated[int | None, Field(ge=0, le=18)] = None
    rules: Annotated[
        dict[str, str | float | bool], Field(max_length=16, description="Further keywords of `Lake.put`, as text.")
    ] = {}

    def bars(self) -> dict[str, Any]:
        """Keywords of `Lake.put`, and `format`."""
        return self.model_dump(exclude={"length", "sha256", "window"}) | {
            "window": None if self.window is None else list(self.window)
        }


@router.post("", status_code=201, summary="Announce an upload", responses=_REFUSALS, response_class=Response)
def announce(
    request: Request,
    announcement: Announcement,
    idempotency_key: Annotated[str | None, Header(max_length=128, pattern="^[!-~]+$")] = None,
) -> Response:
    """Say what will come. The same `Idempotency-Key` with the same content is the same upload, also after it was committed."""
    owner = _owner(request)
    options: ServeOptions = request.app.state.options
    if announcement.length > options.most_upload_bytes:
        raise Problem(
            413, f"an upload has at most {options.most_upload_bytes:,} bytes", "send it as several uploads", "TooLarge"
        )
    # What cannot be stored is refused before anything is sent.
    source_name(announcement.source)
    if announcement.symbol is not None:
        symbol_code(announcement.symbol)
    uploads = _store(request)
    upload, new = uploads.create(owner, idempotency_key, announcement.length, announcement.sha256, announcement.bars())
    return document(_state(uploads, upload), 201 if new else 200, {"location": f"/v1/uploads/{upload.id}"})


@router.get("/{id}", summary="How far an upload is", responses=_REFUSALS, response_class=Response)
@router.head("/{id}", summary="How far an upload is", responses=_REFUSALS, response_class=Response)
def look(request: Request, id: Id) -> Response:
    """How many bytes have arrived, and, after its commit, what became of its rows."""
    uploads = _store(request)
    upload = uploads.find(id, _owner(request))
    return document(_state(uploads, upload), headers=_offsets(uploads, upload))


@router.patch("/{id}", status_code=204, summary="Send a part", responses=_REFUSALS, response_class=Response)
async def send(
    request: Request,
    id: Id,
    upload_offset: Annotated[int, Header(ge=0)],
    upload_checksum: Annotated[
        str | None, Header(max_length=80, description="`sha256 ` and the digest in Base64.")
    ] = None,
) -> Response:
    """Go on where `Upload-Offset` says, which is where the last part ended. What arrives before a connection breaks is kept."""
    if request.headers.get("content-type", "").split(";")[0] != _PARTS_TYPE:
        raise Problem(415, "a part of an upload has another type", f"send Content-Type: {_PARTS_TYPE}", "UnknownFormat")
    expected = _digest(upload_checksum)
    uploads = _store(request)
    upload = await run_in_threadpool(uploads.find, id, _owner(request))
    lock = uploads.locked(id)
    await run_in_threadpool(lock.__enter__)
    try:
        await _append(request, uploads, upload, upload_offset, expected)
    finally:
        lock.__exit__(None, None, None)
    return Response(status_code=204, headers=_offsets(uploads, upload))


async def _append(request: Request, uploads: UploadStore, upload: Upload, offset: int, expected: bytes | None) -> None:
    arrived = uploads.arrived(upload)
    if uploads.result(upload) is not None or offset != arrived:
        raise Problem(
            409,
            f"{arrived:,} bytes have arrived, and this part begins at {offset:,}",
            "go on at the offset that HEAD says",
            "WrongOffset",
            _offsets(uploads, upload),
        )
    digest = hashlib.sha256()
    with uploads.data(upload).open("ab") as file:
        held = bytearray()
        try:
            async for block in request.stream():
                if file.tell() + len(held) + len(block) > upload.length:
                    raise Problem(413, "more bytes than were announced", "announce another upload", "TooLarge")
                digest.update(block)
                held += block
                if len(held) >= _BLOCK:
                    await run_in_threadpool(file.write, bytes(held))
                    held.clear()
        except ClientDisconnect:
            raise Problem(400, "the connection broke", "go on at the offset that HEAD says", "Disconnected") from None
        finally:
            # A part that is proved by its checksum counts as a whole or not at all.
            if expected is None or digest.digest() == expected:
                file.write(held)
                file.flush()
                os.fsync(file.fileno())
        if expected is not None and digest.digest() != expected:
            file.flush()
            file.truncate(offset)
            raise Problem(400, "the checksum of this part differs", "send it again", "ChecksumMismatch")


@router.post("/{id}/commit", summary="Store an upload", responses=_REFUSALS, response_class=Response)
def commit(request: Request, id: Id) -> Response:
    """Decode, validate and store all of it at once. Again, it answers what the first commit stored."""
    uploads = _store(request)
    upload = uploads.find(id, _owner(request))
    options: ServeOptions = request.app.state.options
    lake: Lake = request.app.state.lake
    with uploads.locked(id):
        if uploads.result(upload) is None:
            uploads.check(upload)
            bars = dict(upload.bars)
            decode(
                uploads.data(upload),
                uploads.rows(upload),
                bars.pop("format"),
                most_rows=options.most_upload_rows,
                most_bytes=options.most_decode_bytes,
            )
            report = _put(lake, _read_rows(uploads.rows(upload)), bars)
            report.sessions_frame.write_ipc(uploads.table(upload, "sessions"))
            report.refused.write_ipc(uploads.table(upload, "refused"))
            uploads.finish(upload, _told(report))
    return document(_state(uploads, upload), headers=_offsets(uploads, upload))


def _read_rows(path: Path) -> pl.DataFrame:
    """What was decoded. Arrow has names and types that Polars does not take."""
    try:
        return pl.read_ipc(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise FormatRefused(
            f"the columns of the upload cannot be read: {str(error).splitlines()[0][:200]}", fix=NEEDED
        ) from error


def _put(lake: Lake, frame: pl.DataFrame, bars: dict[str, Any]) -> WriteReport:
    window, rules = bars.pop("window"), bars.pop("rules")
    return lake.put(frame, window=None if window is None else Window.of(*window), **bars, **rules)


@router.post("/{id}/{table}", summary="What became of an upload's rows", responses=RESPONSES, response_class=Response)
@router.get("/{id}/{table}", summary="What became of an upload's rows", responses=RESPONSES, response_class=Response)
def look_at_table(
    request: Request, id: Id, table: Literal["sessions", "refused"], format: Annotated[Format | None, Query()] = None
) -> Response:
    """After the commit: each session as it is now, or each refused row with its reasons."""
    uploads = _store(request)
    upload = uploads.find(id, _owner(request))
    if uploads.result(upload) is None:
        raise Problem(409, "the upload is not committed", f"POST /v1/uploads/{id}/commit", "UploadIncomplete")
    options: ServeOptions = request.app.state.options
    frame = pl.read_ipc(uploads.table(upload, table))
    return respond([frame], choose_format(request, format), most_json_rows=options.most_json_rows)


@router.delete("/{id}", status_code=204, summary="Forget an upload", responses=_REFUSALS, response_class=Response)
def forget(request: Request, id: Id) -> Response:
    """Bytes and result are removed; bars that it stored stay."""
    uploads = _store(request)
    uploads.remove(uploads.find(id, _owner(request)))
    return Response(status_code=204)


def _owner(request: Request) -> str:
    caller = caller_of(request.scope, Scope.WRITE)
    assert caller.token is not None
    return caller.token.id


def _store(request: Request) -> UploadStore:
    store: UploadStore = request.app.state.uploads
    return store


def _offsets(uploads: UploadStore, upload: Upload) -> dict[str, str]:
    return {"upload-offset": str(uploads.arrived(upload)), "upload-length": str(upload.length)}


def _state(uploads: UploadStore, upload: Upload) -> Mapping[str, Any]:
    return {
        "id": upload.id,
        "offset": uploads.arrived(upload),
        "length": upload.length,
        "created": upload.created,
        "result": uploads.result(upload),
    }


def _told(report: WriteReport) -> dict[str, Any]:
    counts = (
        "received",
        "stored",
        "unchanged",
        "quarantined",
        "duplicates",
        "restated",
        "withdrawn",
        "late",
        "bytes",
        "version",
    )
    return {
        "source": report.source,
        "resolution": report.resolution.value,
        "window": [report.window.start.isoformat(), report.window.end.isoformat()],
        **{name: getattr(report, name) for name in counts},
        "fingerprint": report.fingerprint,
        "counts": {code: asdict(counts) for code, counts in report.counts.items()},
        "unplaced": {code: asdict(rows) for code, rows in report.unplaced.items()},
        "missing": int(report.sessions_frame["missing"].sum()),
    }


def _digest(header: str | None) -> bytes | None:
    if header is None:
        return None
    kind, _, text = header.partition(" ")
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if kind != "sha256" or len(digest) != hashlib.sha256().digest_size:
        fix = "send `Upload-Checksum: sha256 ` and the digest in Base64"
        raise Problem(400, "the checksum cannot be read", fix, "WrongChecksum")
    return digest
