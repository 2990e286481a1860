"""The route that saves runs of backtests: one request, one or many runs, as a stream of Arrow.

Nothing of it is believed: runs are read within bounded memory and prepared anew, see `research.results.receiving`.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations.

import asyncio

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gb_pipeline.api.guard import SAVE_RUNS_PATH, caller_of
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.overview import document
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.run_spool import RunSpool
from gb_pipeline.api.tables import RESPONSES
from gb_pipeline.api.tokens import Scope
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results.receiving import receive_runs
from gb_pipeline.research.results.sending import MEDIA_TYPE, SCHEMA
from gb_pipeline.research.results.writing import SaveReport

router = APIRouter(tags=["backtests"])
# Of large bodies so many are held at a time, and one is read.
_MOST_HELD = 4
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EXAMPLE = {"runs": [{"run": "momentum/1.0/2024-01-02", "outcome": "saved", "digest": _DIGEST}]}
_REPORT = {
    "type": "object",
    "required": ["run", "outcome", "digest"],
    "properties": {
        "run": {"type": "string", "description": "`strategy/version/run_id`."},
        "outcome": {
            "enum": ["saved", "unchanged", "refused"],
            "description": "`unchanged`: it is there with this content; `refused`: it is there with other content.",
        },
        "digest": {"type": "string", "description": "SHA-256 of the content that is there."},
    },
}
_RESPONSES = {
    **RESPONSES,
    200: {
        "description": "What became of each run, in their order; all are durable",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object", "required": ["runs"], "properties": {"runs": {"type": "array", "items": _REPORT}},
                },
                "example": _EXAMPLE,
            }
        },
    },
    415: {"description": "No stream of Arrow"},
}  # fmt: skip
_BODY = {
    "requestBody": {
        "required": True,
        "description": "An Arrow IPC stream, without compression and dictionaries, of up to 1,000 rows with the columns "
        + ", ".join(f"`{field.name}` ({field.type})" for field in SCHEMA)
        + ". `document` is JSON with any of the other fields of `BacktestRun`, as `/v1/run-document` has them; `equity`, `fills` "
        "and `positions` are Arrow IPC streams of the frames, or null.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class LargeBodies:
    """How many large bodies are held and read at a time."""

    def __init__(self) -> None:
        """None is."""
        self.held, self.read = asyncio.Semaphore(_MOST_HELD), asyncio.Semaphore(1)


@router.post(
    SAVE_RUNS_PATH, summary="Save runs", responses=_RESPONSES, response_class=Response, openapi_extra=_BODY
)  # fmt: skip
async def save(request: Request) -> Response:
    """Save runs durably. What is there with the same content is `unchanged`, so that the same may be sent again."""
    caller_of(request.scope, Scope.WRITE)
    if request.headers.get("content-type", "").split(";")[0].strip() != MEDIA_TYPE:
        raise Problem(415, "the runs have another type", f"send Content-Type: {MEDIA_TYPE}", "UnknownFormat")
    options: ServeOptions = request.app.state.options
    length = request.headers.get("content-length")
    if length is not None and int(length) <= options.most_body_bytes:
        reports = await run_in_threadpool(_save, request, await _body(request))
    else:
        large: LargeBodies = request.app.state.large_bodies
        async with large.held:
            body = await _body(request)
            async with large.read:
                reports = await run_in_threadpool(_save, request, body)
    told = [{"run": str(report.name), "outcome": report.outcome.value, "digest": report.digest} for report in reports]
    return document({"runs": told})


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise Problem(400, "the connection broke", "send the runs again", "Disconnected") from None


def _save(request: Request, body: bytes) -> list[SaveReport]:
    options: ServeOptions = request.app.state.options
    lake: Lake = request.app.state.lake
    spool: RunSpool = request.app.state.runs
    runs = receive_runs(
        body, lake.store.clock(), most_values=options.most_run_values, most_document=options.most_body_bytes
    )
    return spool.save(runs)
